//! `cryptfs`: parse, run, print the error, exit.
use std::process::ExitCode;

fn main() -> ExitCode {
    cryptfs::cli::main()
}
