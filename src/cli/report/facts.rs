//! The facts about one volume, and who asks for each.
use super::super::known::Subject;
use super::super::{Error, key, rehearsal, status};
use super::*;
use crate::printable::{exact, printable};
use crate::volume::audit::AuditLog;
use crate::volume::error::{date_or_never, kind_name};
use crate::volume::keystore::Protection;
use crate::volume::same_disk::{SameDisk, same_disk};
use crate::volume::{Header, ProtectorKind, ProtectorState, Rollback, uuid};

/// What is known of a volume.
pub struct Facts {
    pub path: PathBuf,
    pub label: String,
    header: Header,
    mounted: bool,
    /// Why it does not unlock by itself: then the header is as it lies there, unauthenticated.
    locked: Option<String>,
    copies: (usize, usize),
    disks: Option<SameDisk>,
    form: Option<Protection>,
    log: Option<PathBuf>,
}

impl Facts {
    /// Looks at a volume and at the keystore.
    pub fn of(volume: &Subject, keystore: Option<&Keystore>) -> Result<Self> {
        let opened = volume.open()?;
        let good = opened.copies().iter().filter(|copy| copy.is_good()).count();
        let mut facts = Self {
            path: opened.place().path().to_owned(),
            label: opened.header().label.clone(),
            header: opened.header().clone(),
            mounted: opened.place().is_mounted(),
            locked: Some("there is no keystore".to_owned()),
            copies: (good, opened.copies().len()),
            disks: keystore.map(|k| same_disk(k.as_fd(), opened.place().as_fd())),
            form: keystore.and_then(|k| k.protection(&opened.header().uuid)),
            log: keystore.map(|k| AuditLog::of(k).path().to_owned()),
        };
        if let Some(keystore) = keystore {
            match opened.unlock_auto(keystore, Rollback::Refuse) {
                Ok(volume) => {
                    facts.header = volume.header().clone();
                    let opened = rehearsal::open_file_system(&volume, keystore);
                    facts.locked = opened.err().map(|error| error.to_string());
                }
                Err(error) => facts.locked = Some(Error::from(error).to_string()),
            }
        }
        Ok(facts)
    }

    /// Who asks, what, and the fact.
    pub fn rows(&self) -> Vec<(&'static str, &'static str, String)> {
        const SC28: &str = "NIST 800-53 SC-28; HIPAA 164.312(a)(2)(iv)";
        const SC13: &str = "NIST 800-53 SC-13; PCI DSS 3.6.1";
        const SC12: &str = "NIST 800-53 SC-12; PCI DSS 3.7";
        vec![
            (SC28, "Is the data encrypted at rest", self.protected()),
            (SC13, "By what", status::method(&self.header)),
            (
                SC13,
                "Key lengths",
                "VMK and FVEK 256 bits, random; wrapped by AES-256-KW (RFC 3394); derived by HKDF-SHA-256".to_owned(),
            ),
            (
                "HIPAA 164.312(c)(1)",
                "Is a change of stored data noticed",
                "each 4 KiB unit is authenticated; not noticed: an older version of a unit or file put back, a file deleted \
                 or exchanged whole"
                    .to_owned(),
            ),
            (
                "PCI DSS 3.6.1.2",
                "Where are keys kept, in which form",
                self.keys(),
            ),
            ("PCI DSS 3.5.1.2, 3.6.1.3", "Are keys and data on different disks", self.disks()),
            ("PCI DSS 3.5.1.2", "Does it unlock without anyone's doing", self.automatic()),
            (SC12, "What opens it", self.protectors()),
            (SC12, "Are keys replaced when due", self.due()),
            ("NIST 800-53 SC-12(1)", "Is a recovery key kept elsewhere, and proven", self.recovery()),
            ("NIST 800-53 SC-12(1)", "Header copies", format!("{} of {} good", self.copies.0, self.copies.1)),
            (
                "NIST 800-53 MP-6; HIPAA 164.310(d)(2)(i)",
                "How is it sanitized",
                "cryptfs erase destroys every key protector (cryptographic erase, NIST SP 800-88); kits, backups and \
                 freed blocks have to be seen to as well"
                    .to_owned(),
            ),
            (
                "HIPAA 164.312(b); PCI DSS 10",
                "Who saw or changed a key",
                self.log.as_ref().map_or("no log".to_owned(), |path| {
                    format!("{}; proven by cryptfs audit verify", printable(path))
                }),
            ),
        ]
    }

    /// The same for programs.
    pub fn record(&self) -> Json {
        let rows = self.rows().into_iter().map(
            |(by, question, fact)| json!({"asked_by": by, "question": question, "fact": fact}),
        );
        json!({
            "volume": exact(&self.path),
            "volume_id": uuid::text(&self.header.uuid),
            "label": self.label,
            "authenticated": self.locked.is_none(),
            "encryption_method": status::method(&self.header),
            "automatic_unlock": self.locked.is_none(),
            "mounted": self.mounted,
            "keystore_on_same_disk": match self.disks {
                Some(SameDisk::Same) => Some(true),
                Some(SameDisk::Different) => Some(false),
                Some(SameDisk::CannotTell) | None => None,
            },
            "key_protectors": self.header.protectors().map(key::record).collect::<Json>(),
            "facts": rows.collect::<Json>(),
        })
    }

    fn protected(&self) -> String {
        let now = if self.mounted {
            "now mounted: readable by whom the operating system lets"
        } else {
            "now locked"
        };
        format!("yes, contents and names; {now}")
    }

    fn keys(&self) -> String {
        let keyfile = match self.form {
            Some(form) => format!("a keyfile, kept as {}: {}", form.name(), form.explained()),
            None => "no keyfile on this computer".to_owned(),
        };
        format!("in the header, wrapped; {keyfile}; never in clear on the volume")
    }

    fn disks(&self) -> String {
        match self.disks {
            None => "there is no keystore",
            Some(SameDisk::Same) => "NO: keystore and volume lie on the same disk",
            Some(SameDisk::Different) => "yes",
            Some(SameDisk::CannotTell) => "cannot be told from here",
        }
        .to_owned()
    }

    fn automatic(&self) -> String {
        match &self.locked {
            None => "yes, by the keystore; that alone does not satisfy 3.5.1.2".to_owned(),
            Some(why) => format!("no: {why}"),
        }
    }

    fn protectors(&self) -> String {
        let one = |slot: &crate::volume::Protector| {
            let (kind, id) = (kind_name(slot.kind), uuid::short(&slot.id));
            let (state, made) = (key::state_name(slot.state), date_or_never(slot.created));
            format!("{kind} {id} ({state}, made {made})")
        };
        let all: Vec<_> = self.header.protectors().map(one).collect();
        all.join("; ")
    }

    fn due(&self) -> String {
        let due = |p: &&crate::volume::Protector| {
            p.state == ProtectorState::RotateDue || p.replaces().is_some()
        };
        match self.header.protectors().filter(due).count() {
            0 => "none is due".to_owned(),
            n => format!("{n} due or under way: cryptfs key rotate"),
        }
    }

    fn recovery(&self) -> String {
        let passwords = self
            .header
            .protectors()
            .filter(|p| p.kind == ProtectorKind::RecoveryPassword);
        let all: Vec<_> = passwords
            .map(|p| {
                let (exported, verified) = (date_or_never(p.exported), date_or_never(p.verified));
                format!(
                    "{}: exported {exported}, last proven {verified}",
                    uuid::short(&p.id)
                )
            })
            .collect();
        match all.is_empty() {
            true => "there is no recovery password".to_owned(),
            false => all.join("; "),
        }
    }
}
