//! What every kind of volume shares: the header, its key protectors, the keystore, the keys.
pub mod keys;
