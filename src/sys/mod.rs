//! Raw system calls, and programs that get secrets: a leaf, with the XTS kernel the only unsafe code.
#[allow(unsafe_code)]
pub mod account;
pub mod creds;
#[allow(unsafe_code)]
pub mod descriptors;
#[allow(unsafe_code)]
pub mod fuse;
pub mod harden;
#[allow(unsafe_code)]
pub mod interrupt;
#[allow(unsafe_code)]
pub mod lock;
pub mod locks;
pub mod log;
pub mod mountinfo;
#[allow(unsafe_code)]
pub mod process;
pub mod program;
pub mod secret_service;
pub mod tpm2;
pub mod umask;
