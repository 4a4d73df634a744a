//! Every header copy that there is.
use crate::volume::keys::Uuid;
use crate::volume::{Error, Keystore, Locked, Place, Result, Spare, kit, uuid};
use std::path::Path;

/// Where to look beside the volume itself.
#[derive(Default)]
pub struct Search<'a> {
    /// A keystore, for the headers that it keeps.
    pub keystore: Option<&'a Keystore>,
    /// A kit or a header backup: its name for messages, and its bytes.
    pub kit: Option<(String, Vec<u8>)>,
    /// Which of the keystore's volumes it is, by the beginning of its ID, where the volume cannot say any more.
    pub id: Option<&'a str>,
}

/// Opens a volume with all copies of its header.
pub fn find(path: &Path, search: &Search<'_>) -> Result<Locked> {
    let mut spares = Vec::new();
    let mut of_kit = None;
    if let Some((name, bytes)) = &search.kit {
        let kit = kit::read(bytes).map_err(|why| Error::Kit(format!("{name}: {why}")))?;
        of_kit = Some(kit.header.uuid);
        spares.push(Spare {
            name: name.clone(),
            bytes: kit.bytes,
        });
    }
    let found = Locked::open_with(path, &spares);
    let Some(keystore) = search.keystore else {
        return found;
    };
    let known = match &found {
        Ok(locked) => locked.volumes().iter().map(|header| header.uuid).collect(),
        Err(Error::HeaderLost { .. } | Error::NotAVolume(_)) if of_kit.is_some() => {
            of_kit.into_iter().collect()
        }
        Err(Error::HeaderLost { .. } | Error::NotAVolume(_)) => {
            last_seen_at(path, keystore, search.id)
        }
        Err(_) => return found,
    };
    let place = Place::open(path)?;
    for id in &known {
        // What is kept of this place before what is kept of a copy of the volume, which may have changed since.
        let mut saved = keystore.headers_at(&keystore.seat(id, &place));
        if saved.is_empty() {
            saved = keystore.headers(id);
        }
        for bytes in saved {
            let name = format!("keystore's copy of volume {}", uuid::short(id));
            spares.push(Spare { name, bytes });
        }
    }
    if spares.is_empty() {
        found
    } else {
        Locked::open_with(path, &spares)
    }
}

/// The keystore's volumes that were last seen at this path, or whose ID begins as asked.
fn last_seen_at(path: &Path, keystore: &Keystore, id: Option<&str>) -> Vec<Uuid> {
    let here = std::path::absolute(path).ok();
    // A keystore that cannot be listed helps as little as none.
    let mut volumes = keystore.volumes().unwrap_or_default();
    volumes.retain(|volume| match id {
        Some(prefix) => uuid::has_prefix(volume, prefix),
        None => here
            .as_ref()
            .is_some_and(|here| keystore.places(volume).contains(here)),
    });
    volumes
}
