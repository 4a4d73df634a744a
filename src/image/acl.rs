//! POSIX ACLs as Linux keeps them (acl(5), linux/posix_acl_xattr.h), as far as a file system has to understand them: the
//! mode bits and the access ACL always say the same, and a directory's default ACL is passed on.
//!
//! Value: version 2 (4), then entries of tag (2), permissions (2), id (4), little-endian.

/// The attribute that holds the access ACL.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute that holds the default ACL.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

#[derive(Clone, Copy)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// A valid ACL: it has the three base entries, and a mask if it names anybody.
pub struct Acl(Vec<Entry>);

impl Acl {
    /// Reads one; `None` if it is not valid.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION || !rest.len().is_multiple_of(8) {
            return None;
        }
        let entries: Vec<_> = rest
            .chunks_exact(8)
            .map(|e| Entry {
                tag: u16::from_le_bytes([e[0], e[1]]),
                permissions: u16::from_le_bytes([e[2], e[3]]),
                id: u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
            })
            .collect();
        let count = |tag| entries.iter().filter(|entry| entry.tag == tag).count();
        let known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER];
        let named = count(USER) + count(GROUP) > 0;
        let valid = entries
            .iter()
            .all(|entry| known.contains(&entry.tag) && entry.permissions <= 7)
            && [USER_OBJ, GROUP_OBJ, OTHER]
                .iter()
                .all(|tag| count(*tag) == 1)
            && (count(MASK) == 1 || count(MASK) == 0 && !named);
        valid.then_some(Self(entries))
    }

    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            bytes.extend(entry.tag.to_le_bytes());
            bytes.extend(entry.permissions.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes
    }

    fn entry(&mut self, tag: u16) -> Option<&mut u16> {
        let found = self.0.iter_mut().find(|entry| entry.tag == tag);
        found.map(|entry| &mut entry.permissions)
    }

    /// The entry behind the mode's group bits.
    fn group(&mut self) -> Option<&mut u16> {
        let tag = if self.is_minimal() { GROUP_OBJ } else { MASK };
        self.entry(tag)
    }

    /// True if the mode bits say it all.
    pub fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// The nine permission bits that belong to it.
    pub fn mode(&mut self) -> u32 {
        let user = self.entry(USER_OBJ).map_or(0, |p| *p);
        let group = self.group().map_or(0, |p| *p);
        let other = self.entry(OTHER).map_or(0, |p| *p);
        u32::from(user) << 6 | u32::from(group) << 3 | u32::from(other)
    }

    /// After a chmod.
    pub fn set_mode(&mut self, mode: u32) {
        let bits = |shift: u32| (mode >> shift & 7) as u16;
        self.entry(USER_OBJ).into_iter().for_each(|p| *p = bits(6));
        self.group().into_iter().for_each(|p| *p = bits(3));
        self.entry(OTHER).into_iter().for_each(|p| *p = bits(0));
    }

    /// Of a default ACL: the access ACL of something made with this mode (the umask does not count), and its mode.
    pub fn inherited(mut self, mode: u32) -> (Self, u32) {
        let allowed = self.mode() & mode;
        self.set_mode(allowed);
        (self, mode & !0o777 | allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Acl {
        let entries = entries.iter().map(|(tag, permissions, id)| Entry {
            tag: *tag,
            permissions: *permissions,
            id: *id,
        });
        Acl(entries.collect())
    }

    #[test]
    fn mode_and_acl_say_the_same() {
        let none = u32::MAX;
        let entries = [
            (USER_OBJ, 7, none),
            (USER, 6, 1000),
            (GROUP_OBJ, 5, none),
            (MASK, 6, none),
            (OTHER, 4, none),
        ];
        let mut one = Acl::parse(&acl(&entries).encode()).unwrap();
        assert_eq!(one.mode(), 0o764);
        one.set_mode(0o610);
        assert_eq!(one.mode(), 0o610);
        assert_eq!(
            one.entry(GROUP_OBJ).copied(),
            Some(5),
            "the mask stands for the group"
        );
        let (inherited, mode) = acl(&entries).inherited(0o2640);
        assert_eq!(
            (mode, Acl::parse(&inherited.encode()).unwrap().mode()),
            (0o2640, 0o640)
        );
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        for bad in [
            &[][..],
            &[(USER_OBJ, 7, 0), (GROUP_OBJ, 7, 0)],
            &[
                (USER_OBJ, 7, 0),
                (USER, 7, 1),
                (GROUP_OBJ, 7, 0),
                (OTHER, 0, 0),
            ],
            &[(USER_OBJ, 8, 0), (GROUP_OBJ, 7, 0), (OTHER, 0, 0)],
            &[
                (USER_OBJ, 7, 0),
                (GROUP_OBJ, 7, 0),
                (OTHER, 0, 0),
                (3, 0, 0),
            ],
        ] {
            assert!(Acl::parse(&acl(bad).encode()).is_none());
        }
        assert!(Acl::parse(&[2, 0, 0, 0, 1]).is_none());
    }
}
