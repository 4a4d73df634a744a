//! Mount options: the list after `-o`, as people type it, fstab stores it and mount(8) passes it on.
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::mount::MountFlags;

/// How a volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// What `df` and `mount` show as the source; by default the volume's path.
    pub source: Option<OsString>,
    /// The file system type is `fuse.` and this.
    pub subtype: OsString,
    /// Flags of the mount itself.
    pub flags: MountFlags,
    /// Other users than the one who mounts may enter (where the modes let them).
    pub allow_other: bool,
    /// `allow_other` also where other users reach the backing directory or image file.
    pub others_reach_ciphertext: bool,
    /// The mount point may hold files, which the mount hides.
    pub nonempty: bool,
    /// Change the flags of a mount that exists (mount(8) `-o remount`).
    pub remount: bool,
    /// The flags that were mentioned; a remount leaves the others as they are.
    pub mentioned: MountFlags,
    /// Threads that serve requests.
    pub threads: usize,
    /// Write the request counters to the log at the end.
    pub stats: bool,
    /// The daemon's log, instead of syslog.
    pub log: Option<PathBuf>,
    /// The keystore, instead of the user's or the system's.
    pub keystore: Option<PathBuf>,
    /// Show this snapshot of an image, which cannot be changed.
    pub snapshot: Option<OsString>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            source: None,
            subtype: "cryptfs".into(),
            flags: MountFlags::NOSUID | MountFlags::NODEV,
            allow_other: false,
            others_reach_ciphertext: false,
            nonempty: false,
            remount: false,
            mentioned: MountFlags::empty(),
            threads: 2,
            stats: false,
            log: None,
            keystore: None,
            snapshot: None,
        }
    }
}

/// What mount(8) repeats from mountinfo when it remounts; nobody may choose these.
const REPEATED: &[&[u8]] = &[
    b"user_id",
    b"group_id",
    b"rootmode",
    b"max_read",
    b"blksize",
];

/// An option that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Nobody knows it.
    #[error("unknown mount option '{0}'")]
    Unknown(String),
    /// It wants a value, or another one.
    #[error("mount option '{0}' needs {1}")]
    Value(String, &'static str),
    /// `allow_root`: the kernel answers other users from its caches, so a daemon cannot tell them from root.
    #[error("mount option 'allow_root' cannot be enforced")]
    AllowRoot,
}

impl OptionError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "the options are listed in cryptfs(1)",
            Self::Value(..) => "write it as name=value",
            Self::AllowRoot => "use allow_other, and the mode of the volume's root directory",
        }
    }
}

/// Flag options: name, flag, and whether the name sets it.
const FLAGS: &[(&str, MountFlags, bool)] = &[
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
];

/// Words for mount(8), for boot scripts, or for what is the case anyway.
const IGNORED: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "nofail",
    "_netdev",
    "default_permissions",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "diratime",
    "nodiratime",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
];

impl MountOptions {
    /// Whether nothing may be changed.
    pub fn read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY) || self.snapshot.is_some()
    }

    /// Adds what `list`, separated by commas, says. A backslash takes the next character as it is.
    ///
    /// # Errors
    /// An option is unknown, or its value makes no sense.
    pub fn add(&mut self, list: &OsStr) -> Result<(), OptionError> {
        let list = split(list.as_bytes());
        self.remount |= list.iter().any(|option| option == b"remount");
        list.iter()
            .filter(|option| !option.is_empty())
            .try_for_each(|option| self.add_one(option))
    }

    fn add_one(&mut self, option: &[u8]) -> Result<(), OptionError> {
        let text = || String::from_utf8_lossy(option).into_owned();
        if let Some(equals) = option.iter().position(|&b| b == b'=') {
            let (name, value) = (&option[..equals], OsStr::from_bytes(&option[equals + 1..]));
            return self
                .add_value(name, value)
                .ok_or_else(|| OptionError::Unknown(text()))?;
        }
        if let Some(&(_, flag, set)) = FLAGS.iter().find(|(name, ..)| name.as_bytes() == option) {
            self.flags.set(flag, set);
            self.mentioned |= flag;
            return Ok(());
        }
        match option {
            b"allow_other" => self.allow_other = true,
            b"others_reach_ciphertext" => self.others_reach_ciphertext = true,
            b"allow_root" => return Err(OptionError::AllowRoot),
            b"nonempty" => self.nonempty = true,
            b"remount" => {}
            b"stats" => self.stats = true,
            _ if IGNORED.iter().any(|name| name.as_bytes() == option) || is_comment(option) => {}
            b"fsname" | b"subtype" | b"threads" | b"log" | b"keystore" | b"snapshot" => {
                return Err(OptionError::Value(text(), "a value"));
            }
            _ => return Err(OptionError::Unknown(text())),
        }
        Ok(())
    }

    /// `None`: there is no such option.
    fn add_value(&mut self, name: &[u8], value: &OsStr) -> Option<Result<(), OptionError>> {
        match name {
            b"fsname" => self.source = Some(value.to_owned()),
            b"subtype" => self.subtype = value.to_owned(),
            b"log" => self.log = Some(value.into()),
            b"keystore" => self.keystore = Some(value.into()),
            b"snapshot" => {
                self.snapshot = Some(value.to_owned());
                self.flags |= MountFlags::RDONLY;
            }
            b"threads" => match value.to_str().and_then(|v| v.parse().ok()) {
                Some(threads @ 1..=64) => self.threads = threads,
                _ => {
                    return Some(Err(OptionError::Value(
                        "threads".into(),
                        "a number from 1 to 64",
                    )));
                }
            },
            _ if is_comment(name) || self.remount && REPEATED.contains(&name) => {}
            _ => return None,
        }
        Some(Ok(()))
    }
}

/// Words that are for others: `x-systemd.automount`, `comment=...`.
fn is_comment(option: &[u8]) -> bool {
    option.starts_with(b"x-") || option.starts_with(b"X-") || option == b"comment"
}

fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut options = vec![Vec::new()];
    let mut bytes = list.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, options.last_mut()) {
            (b',', _) => options.push(Vec::new()),
            (b'\\', Some(last)) => last.extend(bytes.next()),
            (_, Some(last)) => last.push(byte),
            (_, None) => {}
        }
    }
    options
}

/// The inverse of the backslash rule of [`MountOptions::add`], which fusermount3 shares.
pub(super) fn escape(value: &OsStr) -> OsString {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    OsString::from_vec(escaped)
}

/// The words for the flags of a mount in mountinfo.
pub(super) fn flags_of(mount: &crate::sys::mountinfo::Mount) -> MountFlags {
    let set = FLAGS
        .iter()
        .filter(|&&(name, _, set)| set && mount.has_option(name));
    set.fold(MountFlags::empty(), |flags, &(_, flag, _)| flags | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, OptionError> {
        let mut options = MountOptions::default();
        options.add(OsStr::new(list)).map(|()| options)
    }

    #[test]
    fn nosuid_and_nodev_unless_told_otherwise() {
        assert_eq!(
            parse("").unwrap().flags,
            MountFlags::NOSUID | MountFlags::NODEV
        );
        assert_eq!(parse("dev,suid,ro").unwrap().flags, MountFlags::RDONLY);
    }

    #[test]
    fn the_last_word_wins() {
        assert!(!parse("ro,rw").unwrap().flags.contains(MountFlags::RDONLY));
        assert!(parse("rw,ro").unwrap().flags.contains(MountFlags::RDONLY));
    }

    #[test]
    fn a_backslash_keeps_a_comma() {
        assert_eq!(
            parse(r"fsname=/a\,b\\,ro").unwrap().source.unwrap(),
            r"/a,b\"
        );
        assert_eq!(escape(OsStr::new(r"/a,b\")), r"/a\,b\\");
    }

    #[test]
    fn words_of_fstab_are_ignored() {
        let noise = "defaults,_netdev,nofail,noauto,users,x-systemd.automount,x-gvfs-show=1,comment=mine,,relatime";
        assert_eq!(parse(noise), Ok(MountOptions::default()));
    }

    #[test]
    fn a_remount_takes_what_mount_repeats() {
        let options = parse("ro,user_id=0,max_read=4096,remount").unwrap();
        assert!(options.remount && options.mentioned == MountFlags::RDONLY);
        assert!(parse("ro,user_id=0").is_err());
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert_eq!(
            parse("ro,colour"),
            Err(OptionError::Unknown("colour".into()))
        );
        assert_eq!(parse("uid=7"), Err(OptionError::Unknown("uid=7".into())));
        assert_eq!(parse("allow_root"), Err(OptionError::AllowRoot));
        assert!(matches!(parse("threads=0"), Err(OptionError::Value(..))));
        assert!(matches!(parse("threads"), Err(OptionError::Value(..))));
    }
}
