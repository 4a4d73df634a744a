//! The salvage hint (man/cryptfs.5, "FILES"): what the unused payload of a file's last unit says of where the file was.
//!
//! Records at the payload's end, each `id of the directory (12), name, length of the name (1)`: the file's own last, before it
//! the one of the directory that it is in, and so on upwards as far as there is room. Read from the end; a length of 0 ends
//! it. It costs no space, is sealed with the unit, and is refreshed only together with real writes: it may be stale, and is
//! believed only where the backing names are lost.
use super::super::unit::PAYLOAD;

/// The longest trail of directories.
const LONGEST: usize = 1024;

/// One step of the trail: a name, and the id of the directory that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The directory.
    pub parent: [u8; 12],
    /// What is in it.
    pub name: Vec<u8>,
}

/// A hint: `trail` is that of the directory, empty where it is the root or not known.
pub fn hint(trail: &[u8], parent: [u8; 12], name: &[u8]) -> Vec<u8> {
    let length = [name.len() as u8]; // a name has at most 255 bytes
    let own = [&parent[..], name, &length].concat();
    match trail.len() + own.len() <= LONGEST {
        true => [trail, &own[..]].concat(),
        false => own,
    }
}

/// As much of a hint as fits into `room` bytes: whole records from its end.
pub fn fitting(hint: &[u8], room: usize) -> &[u8] {
    let mut start = hint.len();
    while let Some(record) = record(&hint[..start])
        && hint.len() - (start - record) <= room
    {
        start -= record;
    }
    &hint[start..]
}

/// The steps upwards from the file itself, as the payload of its last unit has them after the `valid` bytes of content.
pub fn read(payload: &[u8; PAYLOAD], valid: usize) -> Vec<Step> {
    let mut rest = payload.get(valid..).unwrap_or_default();
    let mut steps = Vec::new();
    while let Some(length) = record(rest) {
        let (before, step) = rest.split_at(rest.len() - length);
        if let Some((parent, name)) = step[..length - 1].split_first_chunk() {
            let (parent, name) = (*parent, name.to_vec());
            steps.push(Step { parent, name });
        }
        rest = before;
    }
    steps
}

/// The length of the record at the end of these bytes.
fn record(bytes: &[u8]) -> Option<usize> {
    let length = usize::from(*bytes.last()?);
    let whole = 12 + length + 1;
    (length > 0 && whole <= bytes.len()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(parent: u8, name: &str) -> Step {
        Step {
            parent: [parent; 12],
            name: name.into(),
        }
    }

    #[test]
    fn as_much_of_the_trail_as_there_is_room_for() {
        let dirs = hint(&hint(&[], [1; 12], b"home"), [2; 12], b"jane");
        let whole = hint(&dirs, [3; 12], b"letter");
        for valid in [
            0,
            PAYLOAD - whole.len(),
            PAYLOAD - 40,
            PAYLOAD - 19,
            PAYLOAD - 3,
        ] {
            let mut payload = [0; PAYLOAD];
            payload[..valid].fill(7);
            let fits = fitting(&whole, PAYLOAD - valid);
            payload[PAYLOAD - fits.len()..].copy_from_slice(fits);
            let all = [step(3, "letter"), step(2, "jane"), step(1, "home")];
            let wanted = match PAYLOAD - valid {
                0..19 => 0,
                19..36 => 1,
                36..53 => 2,
                _ => 3,
            };
            assert_eq!(read(&payload, valid), all[..wanted], "{valid}");
        }
    }

    #[test]
    fn whatever_stands_there_is_read_without_a_panic() {
        for byte in 0..=255 {
            for valid in [0, 1, PAYLOAD - 1, PAYLOAD] {
                read(&[byte; PAYLOAD], valid);
            }
        }
    }
}
