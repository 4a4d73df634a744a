//! The model: a plain tree in memory that says what POSIX wants, and what is compared with it.
pub mod rng;
pub mod tree;
