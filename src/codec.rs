//! The one door to serde and bincode.
//!
//! bincode 2.0.1 is frozen (RUSTSEC-2025-0141: unmaintained). It is used for records that were authenticated before
//! they come here and for nothing else: bytes that an attacker may have made never reach it.
