//! The command line: one file a command. Parses, calls, prints.
//!
//! Secrets never come from arguments or the environment, and leave only on standard output, after the audit log.
/// Prints a line of a result; `?` on it, so that a full disk or a closed pipe is an error and not a panic.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::message::out(format_args!($($text)*)) };
}

mod ask;
mod audit;
mod backup;
mod bench;
mod check;
mod deliver;
mod doctor;
mod erase;
mod forget;
mod header;
mod init;
mod keeper;
mod key;
mod kit;
mod known;
pub mod message;
mod mount;
mod owners;
mod progress;
mod protect;
mod recover;
mod recovery_keys;
mod rehearsal;
mod report;
mod resize;
mod sheet;
mod size;
mod snapshot;
mod status;
mod umount;
#[cfg(feature = "fuse")]
mod whereabouts;

pub use message::{Code, Error, Result};

use crate::volume::Keystore;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Encrypted filesystem that unlocks itself, and that you get back by hand when it does not.
#[derive(Parser)]
#[command(
    name = "cryptfs",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Where the keystore is [default: CRYPTFS_KEYSTORE, else /var/lib/cryptfs (root) or ~/.local/share/cryptfs]
    #[arg(long, global = true, value_name = "DIR")]
    pub keystore: Option<PathBuf>,
}

impl Common {
    fn keystore(&self) -> Result<Keystore> {
        Ok(Keystore::open(self.keystore.as_deref())?)
    }

    fn make_keystore(&self) -> Result<Keystore> {
        Ok(Keystore::create(self.keystore.as_deref())?)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Make a volume, its keyfile and its recovery password
    Init(init::InitArgs),
    /// Mount a volume; nothing has to be typed
    Mount(mount::MountArgs),
    /// Unmount
    Umount(umount::UmountArgs),
    /// Unlock by hand with the recovery password, and let this computer unlock by itself again
    Recover(recover::RecoverArgs),
    /// Show the recovery passwords of the volumes that this keystore knows
    RecoveryKeys(recovery_keys::RecoveryKeysArgs),
    /// List, add, replace and remove key protectors
    Key(key::KeyArgs),
    /// Show how volumes are protected
    Status(status::StatusArgs),
    /// Explain, step by step, why a volume unlocks by itself or does not
    Doctor(doctor::DoctorArgs),
    /// Verify every header copy, name and byte of a volume
    Check(check::CheckArgs),
    /// Write a recovery kit: rebuilds the header, opens nothing without the recovery password
    Kit(kit::KitArgs),
    /// Save the header, or put a saved one back
    Header(header::HeaderArgs),
    /// Keep states of an image, and give them up
    Snapshot(snapshot::SnapshotArgs),
    /// Copy an image, mounted or not, as it is at one moment
    Backup(backup::BackupArgs),
    /// Give an image another size
    Resize(resize::ResizeArgs),
    /// Prove the audit log
    Audit(audit::AuditArgs),
    /// State the facts that auditors ask about
    Report(report::ReportArgs),
    /// Destroy every key protector: nobody can read the volume any more
    Erase(erase::EraseArgs),
    /// Remove what the keystore keeps of a volume that is gone
    Forget(forget::ForgetArgs),
    /// Measure the cipher, the tags and the sealing of names on this computer
    Bench(bench::BenchArgs),
}

/// Runs `cryptfs`.
pub fn main() -> ExitCode {
    start(|| {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        if let Some(form) = mount::helper_form(&arguments) {
            return form.and_then(|(args, common)| mount::run(&args, &common));
        }
        let cli: Cli = parsed(arguments);
        let common = &cli.common;
        match cli.command {
            Command::Init(args) => init::run(&args, common),
            Command::Mount(args) => mount::run(&args, common),
            Command::Umount(args) => umount::run(&args),
            Command::Recover(args) => recover::run(&args, common),
            Command::RecoveryKeys(args) => recovery_keys::run(&args, common),
            Command::Key(args) => key::run(&args, common),
            Command::Status(args) => status::run(&args, common),
            Command::Doctor(args) => doctor::run(&args, common),
            Command::Check(args) => check::run(&args, common),
            Command::Kit(args) => kit::run(&args, common),
            Command::Header(args) => header::run(&args, common),
            Command::Snapshot(args) => snapshot::run(&args, common),
            Command::Backup(args) => backup::run(&args, common),
            Command::Resize(args) => resize::run(&args, common),
            Command::Audit(args) => audit::run(&args, common),
            Command::Report(args) => report::run(&args, common),
            Command::Erase(args) => erase::run(&args, common),
            Command::Forget(args) => forget::run(&args, common),
            Command::Bench(args) => bench::run(&args),
        }
    })
}

/// Unlock a volume with its recovery password and copy everything out, without FUSE: for a rescue system.
#[derive(Parser)]
#[command(name = "cryptfs-recover", version, max_term_width = 100)]
struct RecoverCli {
    #[command(flatten)]
    args: recover::RescueArgs,
    #[command(flatten)]
    common: Common,
}

/// Runs `cryptfs-recover`.
pub fn recover_main() -> ExitCode {
    start(|| {
        let cli: RecoverCli = parsed(std::env::args_os().collect());
        recover::rescue(&cli.args, &cli.common)
    })
}

/// Parses arguments. Wrong ones end the program with [`Code::Usage`]: the exit code that clap would
/// choose is an answer of `status --check`.
fn parsed<T: Parser>(arguments: Vec<OsString>) -> T {
    T::try_parse_from(arguments).unwrap_or_else(|said| {
        if !said.use_stderr() {
            let _ = said.print();
            std::process::exit(0);
        }
        if said.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let _ = said.print();
            std::process::exit(Code::Usage as i32);
        }
        message::error(&misused(&said));
        std::process::exit(Code::Usage as i32)
    })
}

/// Turns an error of clap's, which repeats arguments as they are, into one of ours.
fn misused(said: &clap::Error) -> Error {
    let text = said.to_string();
    let (what, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let what = what.trim_end().trim_start_matches("error: ");
    let what = match said.kind() {
        ErrorKind::MissingRequiredArgument => what.replace("\n ", ""),
        _ => what.replace('\n', "\\012"),
    };
    let line = |start: &str| {
        let mut lines = rest.lines().map(str::trim_start);
        lines
            .find_map(|line| line.strip_prefix(start))
            .map(str::trim)
    };
    let hint = match (line("tip:"), line("Usage:")) {
        (Some(tip), _) => tip.to_owned(),
        (None, Some(usage)) => format!("the form is {usage}"),
        (None, None) => "cryptfs --help lists the commands".to_owned(),
    };
    Error::told(Code::Usage, what, &hint)
}

/// Keys are going to be in memory: no core dumps, and no debugger of the same user.
fn start(run: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    crate::sys::descriptors::remember_inherited();
    crate::sys::interrupt::survive_file_size_limit();
    let hardened = crate::sys::harden::no_core_dumps().map_err(Error::io(Path::new("core dumps")));
    match hardened.and_then(|()| run()) {
        Ok(code) => code,
        Err(error) => {
            message::error(&error);
            error.code().into()
        }
    }
}
