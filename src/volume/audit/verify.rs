//! Reading the audit log back: is every line where it was written, as it was written.
use super::*;
use crate::volume::keys::Uuid;

/// What the log proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Lines in it.
    pub lines: usize,
    /// The first line (from 1) that does not follow the one before it.
    pub broken: Option<usize>,
    /// Lines whose MAC is right.
    pub sealed: usize,
    /// Lines whose MAC is wrong, or missing though what they tell of needs an unlocked volume.
    pub forged: Vec<usize>,
    /// Lines with a MAC of a volume that could not be unlocked.
    pub unknown: usize,
    /// Lines without a MAC: written while their volume was locked.
    pub open: usize,
    /// Number of the line whose SHA-256 is the one that was asked for.
    pub expected: Option<usize>,
    /// SHA-256 of the last line: kept elsewhere, it proves later that nothing before it was cut off.
    pub last: String,
}

impl Verified {
    /// Nothing is wrong with it.
    pub fn is_good(&self) -> bool {
        self.broken.is_none() && self.forged.is_empty()
    }
}

impl AuditLog {
    /// Follows the chain from the first line to the last. `key`: of a volume, where it can be unlocked; `expect`: a SHA-256
    /// noted earlier.
    pub fn verify(
        &self,
        key: &mut dyn FnMut(&Uuid) -> Option<Secret<32>>,
        expect: Option<&str>,
    ) -> io::Result<Verified> {
        let text = std::fs::read(&self.path)?;
        let mut found = Verified::default();
        let mut previous = chain(b"");
        for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            found.lines += 1;
            let record = std::str::from_utf8(line)
                .ok()
                .and_then(|line| codec::parse_json(line).ok());
            let linked = record.as_ref().and_then(|r| r["previous"].as_str());
            if linked != Some(&previous) {
                found.broken.get_or_insert(found.lines);
            }
            if let Some(record) = record {
                found.check_mac(record, key);
            }
            previous = chain(line);
            if expect == Some(&previous) {
                found.expected = Some(found.lines);
            }
        }
        found.last = previous;
        Ok(found)
    }
}

/// Whether a line tells of something that is done while the volume is locked. Any other line was written with a MAC:
/// without it, whoever can write the log took it off to chain the lines anew.
fn is_done_locked(record: &Json) -> bool {
    matches!(
        (record["action"].as_str(), record["result"].as_str()),
        (Some("recover"), Some("refused")) | (Some("erase" | "forget"), _)
    )
}

impl Verified {
    fn check_mac(&mut self, mut record: Json, key: &mut dyn FnMut(&Uuid) -> Option<Secret<32>>) {
        let told = record.as_object_mut().and_then(|line| line.remove("mac"));
        let Some(told) = told else {
            match is_done_locked(&record) {
                true => self.open += 1,
                false => self.forged.push(self.lines),
            }
            return;
        };
        let volume = record["volume"].as_str().and_then(uuid::parse);
        match volume.and_then(|volume| key(&volume)) {
            None => self.unknown += 1,
            Some(key) => {
                let right = mac(&key, &record);
                let told = told.as_str().unwrap_or_default();
                match digest::equal(told.as_bytes(), right.as_bytes()) {
                    true => self.sealed += 1,
                    false => self.forged.push(self.lines),
                }
            }
        }
    }
}
