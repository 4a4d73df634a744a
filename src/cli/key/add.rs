//! `cryptfs key add` and `cryptfs key enrol`.
use super::super::deliver::DeliverArgs;
use super::super::sheet::Sheet;
use super::super::{Code, Error, ask, kit, protect};
use super::*;
use crate::crypto::kdf::Stretch;
use crate::printable::printable;
use crate::volume::Credential;
use crate::volume::create::ITERATIONS;
use crate::volume::keystore::{self, Protection};
use crate::volume::rotate::PASSPHRASE;

/// Arguments of `cryptfs key add`.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// The volume
    pub volume: PathBuf,
    /// Do not keep the recovery password sealed in the header
    #[arg(long, conflicts_with_all = ["passphrase", "computer"])]
    pub no_escrow: bool,
    /// A passphrase instead of a recovery password
    #[arg(long, conflicts_with = "computer")]
    pub passphrase: bool,
    /// Read the passphrase from this file descriptor
    #[arg(long, value_name = "N", requires = "passphrase")]
    pub fd: Option<u32>,
    /// A keyfile for the computer of this name instead; cryptfs key enrol takes it there, once
    #[arg(long, value_name = "NAME", requires = "keyfile")]
    pub computer: Option<String>,
    /// Where to write that keyfile; must not exist
    #[arg(long, value_name = "FILE", requires = "computer")]
    pub keyfile: Option<PathBuf>,
    #[command(flatten)]
    pub deliver: DeliverArgs,
    #[command(flatten)]
    pub costs: Costs,
}

/// Key derivation costs, for tests.
#[derive(Args, Clone, Debug)]
pub struct Costs {
    /// PBKDF2 rounds
    #[arg(long, hide = true, default_value_t = ITERATIONS, value_parser = clap::value_parser!(u32).range(1000..))]
    pub pbkdf2_iterations: u32,
    /// Memory of Argon2id in KiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(64..))]
    pub argon2_memory: Option<u32>,
}

impl Costs {
    /// How a passphrase is stretched.
    pub fn passphrase(&self) -> Stretch {
        match self.argon2_memory {
            None => PASSPHRASE,
            Some(memory_kib) => Stretch::Argon2id {
                passes: 3,
                memory_kib,
                lanes: 4,
            },
        }
    }
}

/// Arguments of `cryptfs key enrol`.
#[derive(Args, Clone, Debug)]
pub struct EnrolArgs {
    /// The volume
    pub volume: PathBuf,
    /// The keyfile that cryptfs key add --computer wrote
    pub keyfile: PathBuf,
    /// How the keystore is to keep the new keyfile
    #[arg(long, value_name = "FORM", value_parser = protect::parser())]
    pub protect: Option<Protection>,
}

/// Runs `cryptfs key add`.
pub fn add(args: &AddArgs, common: &Common) -> Result<()> {
    args.deliver.check(&args.volume)?;
    let (keystore, mut volume) = unlock(&args.volume, common)?;
    if args.passphrase {
        let typed = ask::new_passphrase(args.fd)?;
        let stretch = args.costs.passphrase();
        let id = volume.set_passphrase(&keystore, typed.bytes(), stretch, false)?;
        let logged = log(&keystore, &volume, "key add", &id, "passphrase added");
        or_take_back(&keystore, &mut volume, &id, logged)?;
        message::unkept(&mut volume);
        return outln!("passphrase {} opens the volume", uuid::text(&id));
    }
    if let (Some(computer), Some(file)) = (&args.computer, &args.keyfile) {
        return add_computer(&keystore, &mut volume, computer, file);
    }
    let rounds = args.costs.pbkdf2_iterations;
    let (id, password) = volume.add_recovery_password(
        Some(&keystore),
        args.deliver.escrow(args.no_escrow),
        rounds,
        &args.deliver.remark(),
    )?;
    let handed = log(&keystore, &volume, "key add", &id, "added, disclosed").and_then(|()| {
        args.deliver.hand_over(&Sheet {
            volume: volume.place().path(),
            header: volume.header(),
            id: &id,
            password: &password,
        })
    });
    or_take_back(&keystore, &mut volume, &id, handed)?;
    volume.delivered(&keystore, &id)?;
    message::unkept(&mut volume);
    let path = message::typed(&args.volume);
    let shares = args.deliver.shares();
    message::hint(format_args!(
        "prove it with cryptfs recover --verify{shares} {path}"
    ));
    Ok(())
}

fn add_computer(
    keystore: &Keystore,
    volume: &mut Volume,
    computer: &str,
    file: &Path,
) -> Result<()> {
    if file.exists() {
        let message = format!("{} exists", printable(file));
        return Err(Error::told(
            Code::Place,
            message,
            "name a file that does not exist",
        ));
    }
    let keyfile = volume.add_computer(keystore, computer)?;
    let said = "keyfile for another computer, disclosed";
    let written = log(keystore, volume, "key add", &keyfile.slot, said).and_then(|()| {
        kit::write_new(file, keyfile.encode().expose(), volume.place().owner()).map(drop)
    });
    or_take_back(keystore, volume, &keyfile.slot, written)?;
    message::unkept(volume);
    outln!(
        "keyfile {} for {computer} written to {}; whoever has it opens the volume",
        uuid::text(&keyfile.slot),
        printable(file)
    )?;
    message::hint("there: cryptfs key enrol VOLUME FILE, which spends it; then destroy the file");
    Ok(())
}

/// Runs `cryptfs key enrol`: the keyfile that travelled is replaced by one that never left this computer.
pub fn enrol(args: &EnrolArgs, common: &Common) -> Result<()> {
    let keystore = common.make_keystore()?;
    AuditLog::of(&keystore).probe()?;
    let travelled = keystore::keyfile_at(&args.keyfile).map_err(|error| match error {
        // On a stick without modes chmod has no effect.
        crate::volume::Error::Mode { .. } => {
            let from = message::typed(&args.keyfile);
            let volume = message::typed(&args.volume);
            let hint = format!(
                "install -m 600 {from} ~/cryptfs.key && cryptfs key enrol {volume} ~/cryptfs.key; then destroy both"
            );
            Error::told(Code::Keystore, error.to_string(), &hint)
        }
        error => error.into(),
    })?;
    let locked = Locked::open(&args.volume)?;
    let mut volume = locked.unlock(Credential::Keyfile(&travelled.key, &travelled.slot))?;
    let mine = volume.enrol(&keystore, args.protect)?;
    log(&keystore, &volume, "key enrol", &mine, "enrolled")?;
    log(&keystore, &volume, "key enrol", &travelled.slot, "spent")?;
    let own = keystore.keyfile_path(&volume.header().uuid);
    outln!(
        "this computer unlocks the volume by itself (keyfile {})",
        printable(&own)
    )?;
    message::one_disk(&volume, &keystore);
    message::hint(format_args!(
        "{} opens nothing any more: destroy it",
        printable(&args.keyfile)
    ));
    Ok(())
}
