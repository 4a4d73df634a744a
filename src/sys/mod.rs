//! Raw system calls: a leaf, with the XTS kernel the only unsafe code.
pub mod umask;
