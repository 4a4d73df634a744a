//! The command line: one file a command.
use std::process::ExitCode;

/// Runs `cryptfs`.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}

/// Runs `cryptfs-recover`.
pub fn recover_main() -> ExitCode {
    ExitCode::FAILURE
}
