//! `cryptfs-recover`: the `recover` command alone, without FUSE, for a rescue system.
use std::process::ExitCode;

fn main() -> ExitCode {
    cryptfs::cli::recover_main()
}
