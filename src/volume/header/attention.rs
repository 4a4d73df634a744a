//! What the person should see to, as far as the header tells.
use super::*;

impl Header {
    /// Recovery passwords that are missing, never exported, used up or half replaced.
    pub fn attention(&self) -> Vec<String> {
        let password = |p: &&Protector| p.kind == ProtectorKind::RecoveryPassword;
        let passwords: Vec<_> = self.protectors().filter(password).collect();
        let mut out = Vec::new();
        if passwords.is_empty() {
            let text = "there is no recovery password: without the keyfile the data is lost";
            out.push(text.to_owned());
        }
        for slot in &passwords {
            let id = uuid::short(&slot.id);
            if let Some(old) = slot.replaces() {
                let old = uuid::short(&old);
                out.push(format!(
                    "the rotation of recovery password {old} is not finished: cryptfs key rotate --finish VOLUME"
                ));
            } else if slot.exported == 0 {
                out.push(format!(
                    "recovery password {id} was never exported: store it elsewhere with cryptfs recovery-keys"
                ));
            }
            let replaced = passwords.iter().any(|p| p.replaces() == Some(slot.id));
            if slot.state == ProtectorState::RotateDue && !replaced {
                out.push(format!(
                    "recovery password {id} was used or disclosed and should be replaced: cryptfs key rotate VOLUME"
                ));
            }
        }
        out
    }
}
