//! What every kind of volume shares: the header, its key protectors, the keystore, the keys.
//!
//! ```text
//! create ──────────────────────────────┐
//! Locked::open ── unlock(credential) ──┴─> Volume ── into_opened ──> Opened   (for recover, without a keystore)
//! Mountable::open: the same by the keystore, with the mount lock and the repair of header copies
//! ```
//!
//! A [`Volume`] holds the VMK and changes headers; an [`Opened`] only has the content keys.
pub mod audit;
pub mod copies;
pub mod create;
pub mod date;
mod durable;
mod enrol;
pub mod erase;
pub mod error;
pub mod header;
pub mod kept;
pub mod keyfile;
pub mod keys;
pub mod keystore;
pub mod kit;
mod layout;
pub mod locked;
mod new_file;
pub mod opened;
mod owner;
pub mod passphrase;
pub mod place;
pub mod protector;
pub mod recovery_password;
mod resize;
pub mod rotate;
pub mod same_disk;
pub mod share;
pub mod site;
pub mod state;
pub mod unlocked;
pub mod uuid;
mod vmk;

pub use copies::{CopyReport, CopyState, Spare};
pub use create::{CreateOptions, Created, create};
pub use error::{Error, Result};
pub use header::{Header, Kind};
pub use keystore::{Keystore, Seat};
pub use locked::{Locked, Rollback, Swapped};
pub use new_file::write_beside;
pub use opened::{Belongs, MountOptions, Mountable, Opened, Witness};
pub use place::{Access, MountLock, Place};
pub use protector::{Credential, Protector, ProtectorKind, ProtectorState};
pub use recovery_password::RecoveryPassword;
pub use site::Site;
pub use unlocked::Volume;
pub use vmk::Vmk;

#[cfg(test)]
mod tests;
