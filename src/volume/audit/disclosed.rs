//! Whether a secret of a volume was ever shown, by what the log says.
use super::*;

impl AuditLog {
    /// Returns true if the log has a line about this volume that says "disclosed". The lines are
    /// not verified: whoever can write the log can also remove what the keystore keeps.
    pub fn was_disclosed(&self, volume: &Uuid) -> bool {
        let volume = uuid::text(volume);
        let disclosed = |line: &[u8]| {
            let text = std::str::from_utf8(line).ok();
            let line = text.and_then(|text| codec::parse_json(text).ok());
            line.is_some_and(|line| {
                line["volume"] == volume
                    && line["result"]
                        .as_str()
                        .is_some_and(|r| r.contains("disclosed"))
            })
        };
        let text = std::fs::read(&self.path).unwrap_or_default();
        text.split(|&b| b == b'\n').any(disclosed)
    }
}
