//! `cryptfs status`: how volumes are protected, in BitLocker's words.
use super::known::{Subject, skipped, subjects};
use super::{Common, Error, Result, key, message, rehearsal};
use crate::codec::{Json, json, json_text};
use crate::crypto::tag::Algorithm;
use crate::crypto::xts::Cipher;
use crate::printable::{exact, printable};
use crate::volume::error::{date_or_never, kind_name};
use crate::volume::header::Header;
use crate::volume::keystore::Protection;
use crate::volume::same_disk::{SameDisk, same_disk, tears_units};
use crate::volume::{self, CopyReport, Keystore, Kind, ProtectorKind, Rollback, uuid};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cryptfs status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// The volume; without one, all that the keystore knows
    pub volume: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Say it by the exit code: 0 protected, 1 not, 2 suspended, 3 locked, 4 attention
    #[arg(long)]
    pub check: bool,
}

/// What `--check` answers. The worst of several volumes counts. Suspension (2) does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Protected,
    Attention,
    Locked,
    Unprotected,
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Self::Protected => 0,
            Self::Unprotected => 1,
            Self::Locked => 3,
            Self::Attention => 4,
        }
    }
}

/// Everything that is said of a volume.
struct Status {
    path: PathBuf,
    header: Header,
    copies: Vec<CopyReport>,
    mounted: bool,
    /// Why it does not unlock by itself.
    locked: Option<String>,
    keystore: Option<(PathBuf, SameDisk)>,
    /// How its keyfile is kept there.
    form: Option<Protection>,
    /// Bytes that the disk writes at a time, where that is less than a unit.
    tears: Option<u32>,
}

/// Runs `cryptfs status`.
pub fn run(args: &StatusArgs, common: &Common) -> Result<ExitCode> {
    let keystore = Keystore::open(common.keystore.as_deref());
    let named = args.volume.as_deref();
    let named = named.map(|path| mounted_there(path).unwrap_or_else(|| path.to_owned()));
    let volumes = subjects(named.as_slice(), &keystore)?;
    // Monitoring must not take an empty answer for a good one.
    let mut worst = match volumes.is_empty() {
        true => Verdict::Unprotected,
        false => Verdict::Protected,
    };
    let mut records = Vec::new();
    for volume in &volumes {
        match look(volume, &keystore) {
            Ok(status) => {
                worst = worst.max(status.verdict());
                records.push(status.record());
                if !args.json {
                    status.print()?;
                }
            }
            // Several volumes: the one whose disk is away does not hide the others.
            Err(error) if args.volume.is_none() || args.check => {
                worst = Verdict::Unprotected;
                records.push(json!({"volume": volume.name(), "error": error.to_string()}));
                skipped(&error);
            }
            Err(error) => return Err(error),
        }
    }
    if args.json {
        outln!("{}", json_text(&Json::Array(records)))?;
    } else if volumes.is_empty() {
        match &keystore {
            Ok(_) => message::note("the keystore knows no volume"),
            Err(error) => message::note(error),
        }
    }
    Ok(if args.check {
        worst.code().into()
    } else {
        ExitCode::SUCCESS
    })
}

/// The volume that is mounted on a path that was named, if one is.
#[cfg(feature = "fuse")]
fn mounted_there(path: &Path) -> Option<PathBuf> {
    super::whereabouts::at(path).map(|mounted| mounted.about.path)
}

#[cfg(not(feature = "fuse"))]
fn mounted_there(_: &Path) -> Option<PathBuf> {
    None
}

fn look(volume: &Subject, keystore: &volume::Result<Keystore>) -> Result<Status> {
    let opened = volume.open()?;
    let mut status = Status {
        path: opened.place().path().to_owned(),
        header: opened.header().clone(),
        copies: opened.copies().to_vec(),
        mounted: opened.place().is_mounted(),
        locked: None,
        keystore: None,
        form: None,
        tears: tears_units(opened.place(), opened.header()),
    };
    let keystore = match keystore {
        Ok(keystore) => keystore,
        Err(error) => {
            status.locked = Some(error.to_string());
            return Ok(status);
        }
    };
    let disks = same_disk(keystore.as_fd(), opened.place().as_fd());
    status.keystore = Some((keystore.path().to_owned(), disks));
    status.form = keystore.protection(&status.header.uuid);
    match opened.unlock_auto(keystore, Rollback::Refuse) {
        Ok(volume) => {
            status.header = volume.header().clone();
            status.copies = volume.copies().to_vec();
            let opened = rehearsal::open_file_system(&volume, keystore);
            status.locked = opened.err().map(|error| error.to_string());
        }
        Err(error) => status.locked = Some(Error::from(error).to_string()),
    }
    Ok(status)
}

impl Status {
    fn verdict(&self) -> Verdict {
        if self.locked.is_some() {
            return Verdict::Locked;
        }
        match self.attention().is_empty() {
            true => Verdict::Protected,
            false => Verdict::Attention,
        }
    }

    /// What the person should see to.
    fn attention(&self) -> Vec<String> {
        let mut out: Vec<_> = self
            .copies
            .iter()
            .filter(|copy| !copy.is_good())
            .map(|copy| format!("header copy {copy}: the next mount repairs it"))
            .collect();
        out.extend(self.header.attention());
        out
    }

    fn good(&self) -> usize {
        self.copies.iter().filter(|copy| copy.is_good()).count()
    }

    fn print(&self) -> Result<()> {
        let header = &self.header;
        let kind = match header.kind {
            Kind::Directory => "directory",
            Kind::Image => "image",
        };
        outln!("Volume {}", message::named(&self.path, &header.label))?;
        outln!("    Volume ID:          {}", uuid::text(&header.uuid))?;
        outln!(
            "    Kind:               {kind}, made on {}",
            header.computer
        )?;
        outln!("    Encryption Method:  {}", method(&self.header))?;
        outln!("    Protection Status:  Protection On")?;
        outln!("    Lock Status:        {}", self.lock_status())?;
        match &self.locked {
            None => outln!("    Automatic Unlock:   Enabled")?,
            Some(why) => outln!("    Automatic Unlock:   Not possible: {why}")?,
        }
        outln!(
            "    Header Copies:      {} of {} good",
            self.good(),
            self.copies.len()
        )?;
        match &self.keystore {
            None => outln!("    Keystore:           none")?,
            Some((path, disks)) => outln!(
                "    Keystore:           {} ({})",
                printable(path),
                disks_name(*disks)
            )?,
        }
        if let Some(form) = self.form {
            outln!(
                "    Keyfile:            {}: {}",
                form.name(),
                form.explained()
            )?;
        }
        if let Some(size) = self.tears {
            outln!(
                "    Disk:               writes {size} bytes at a time: a power cut may tear a unit"
            )?;
        }
        outln!("    Key Protectors:")?;
        for slot in header.protectors() {
            outln!(
                "        {:17}  {}  {}",
                kind_name(slot.kind),
                uuid::text(&slot.id),
                slot.description
            )?;
            if slot.kind == ProtectorKind::RecoveryPassword {
                let (exported, verified) =
                    (date_or_never(slot.exported), date_or_never(slot.verified));
                outln!("            exported {exported}, last verified {verified}")?;
            }
        }
        for text in self.attention() {
            outln!("    Attention:          {text}")?;
        }
        Ok(())
    }

    fn lock_status(&self) -> &'static str {
        if self.mounted {
            "Unlocked (mounted)"
        } else {
            "Locked"
        }
    }

    fn record(&self) -> Json {
        let header = &self.header;
        let copies = self.copies.iter().map(|copy| {
            json!({"name": copy.name, "good": copy.is_good(), "state": copy.state.to_string()})
        });
        json!({
            "volume": exact(&self.path),
            "volume_id": uuid::text(&header.uuid),
            "label": header.label,
            "computer": header.computer,
            "kind": match header.kind { Kind::Directory => "directory", Kind::Image => "image" },
            "encryption_method": method(&self.header),
            "protection_status": "on",
            "lock_status": if self.mounted { "unlocked" } else { "locked" },
            "mounted": self.mounted,
            "automatic_unlock": self.locked.is_none(),
            "automatic_unlock_error": self.locked,
            "header_sequence": header.sequence,
            "header_copies": copies.collect::<Json>(),
            "keystore": self.keystore.as_ref().map(|(path, _)| exact(path)),
            "keystore_on_same_disk": self.keystore.as_ref().and_then(|(_, disks)| match disks {
                SameDisk::Same => Some(true),
                SameDisk::Different => Some(false),
                SameDisk::CannotTell => None,
            }),
            "keyfile_protection": self.form.map(Protection::name),
            "power_cut_may_tear_units": self.tears.is_some(),
            "key_protectors": header.protectors().map(key::record).collect::<Json>(),
            "attention": self.attention(),
            "check": self.verdict().code(),
        })
    }
}

/// Cipher and authenticator.
pub fn method(header: &Header) -> String {
    let cipher = match header.cipher {
        Cipher::XtsAes256 => "XTS-AES-256",
        Cipher::XtsAes128 => "XTS-AES-128",
    };
    let tag = match header.tag {
        Algorithm::PolyvalAes256 => "AES-256 POLYVAL",
        Algorithm::HmacSha256 => "HMAC-SHA-256/128",
    };
    format!("{cipher}, {tag}")
}

fn disks_name(disks: SameDisk) -> &'static str {
    match disks {
        SameDisk::Same => "on the same disk as the volume",
        SameDisk::Different => "on another disk than the volume",
        SameDisk::CannotTell => "cannot tell whether on the same disk",
    }
}
