//! The model: random operations give on every kind of volume what they give on a plain tree in memory.
//!
//! ```text
//!   ops ──> run ──> Direct(Tree)      the oracle
//!                └> Direct(volume)    through the trait, or
//!                   Mounted(dir)      through system calls under a mount point
//!           compare: each answer, and every few steps the whole tree
//! ```
mod cases;
mod compare;
mod direct;
mod faults;
mod generate;
mod listing;
mod mounted;
mod ops;
pub mod rng;
mod run;
mod subject;
mod threads;
pub mod tree;

pub use compare::Rules;
pub use direct::Direct;
pub use mounted::Mounted;
pub use ops::Profile;
pub use run::{Case, check};
pub use subject::Subject;
