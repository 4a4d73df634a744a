//! `cryptfs key rotate`: pending, delivered, proven; then the old one is removed from every copy.
use super::super::deliver::DeliverArgs;
use super::super::sheet::Sheet;
use super::super::{Code, Error, ask, protect};
use super::add::Costs;
use super::*;
use crate::volume::Credential;
use crate::volume::keystore::Protection;
use crate::volume::rotate::NewPassword;

/// Arguments of `cryptfs key rotate`.
#[derive(Args, Clone, Debug)]
pub struct RotateArgs {
    /// The volume
    pub volume: PathBuf,
    /// The recovery password to replace, by the beginning of its ID, where there are several
    pub id: Option<String>,
    /// Read the new recovery password, as it was stored elsewhere, to prove it; then remove the old one
    #[arg(long, conflicts_with = "id")]
    pub finish: bool,
    /// The new one was split: read its shares
    #[arg(long, requires = "finish")]
    pub shares: bool,
    /// Replace this computer's keyfile instead
    #[arg(long, conflicts_with_all = ["id", "finish", "passphrase"])]
    pub keyfile: bool,
    /// How the keystore is to keep the new keyfile; otherwise as it did before
    #[arg(long, value_name = "FORM", requires = "keyfile", value_parser = protect::parser())]
    pub protect: Option<Protection>,
    /// Replace the passphrase instead
    #[arg(long, conflicts_with_all = ["id", "finish"])]
    pub passphrase: bool,
    /// Do not keep the new recovery password sealed in the header
    #[arg(long)]
    pub no_escrow: bool,
    /// Read the passphrase, or the recovery password that is to be proven, from this file descriptor
    #[arg(long, value_name = "N")]
    pub fd: Option<u32>,
    #[command(flatten)]
    pub deliver: DeliverArgs,
    #[command(flatten)]
    pub costs: Costs,
}

/// Runs `cryptfs key rotate`.
pub fn run(args: &RotateArgs, common: &Common) -> Result<()> {
    args.deliver.check(&args.volume)?;
    let (keystore, mut volume) = unlock(&args.volume, common)?;
    if args.keyfile {
        let id = volume.rotate_keyfile(&keystore, args.protect)?;
        log(&keystore, &volume, "key rotate", &id, "keyfile replaced")?;
        return outln!(
            "keyfile {} replaces this computer's old one",
            uuid::text(&id)
        );
    }
    if args.passphrase {
        let typed = ask::new_passphrase(args.fd)?;
        let stretch = args.costs.passphrase();
        let id = volume.set_passphrase(&keystore, typed.bytes(), stretch, true)?;
        message::unkept(&mut volume);
        log(&keystore, &volume, "key rotate", &id, "passphrase replaced")?;
        return outln!("passphrase {} replaces the old one", uuid::text(&id));
    }
    if !args.finish {
        begin(args, &keystore, &mut volume)?;
        if !ask::is_interactive() {
            message::hint(format_args!(
                "store it, then prove it with cryptfs key rotate --finish{} {}; until then the old one stays",
                args.deliver.shares(),
                message::typed(&args.volume)
            ));
            return Ok(());
        }
        message::note("type it as it was stored; control-C: later, with --finish");
    }
    finish(args, &keystore, &mut volume)
}

fn begin(args: &RotateArgs, keystore: &Keystore, volume: &mut Volume) -> Result<()> {
    let like = NewPassword {
        escrow: args.deliver.escrow(args.no_escrow),
        iterations: args.costs.pbkdf2_iterations,
        remark: args.deliver.remark(),
    };
    let begun = volume.begin_rotation(keystore, args.id.as_deref(), like)?;
    let said = "added, disclosed";
    let handed = log(keystore, volume, "key rotate", &begun.new, said)
        .and_then(|()| outln!("Replaces:           {}", uuid::text(&begun.old)))
        .and_then(|()| {
            args.deliver.hand_over(&Sheet {
                volume: volume.place().path(),
                header: volume.header(),
                id: &begun.new,
                password: &begun.password,
            })
        });
    or_take_back(keystore, volume, &begun.new, handed)?;
    volume.delivered(keystore, &begun.new)?;
    message::unkept(volume);
    Ok(())
}

/// A drill may have proven it already; else it is typed.
fn finish(args: &RotateArgs, keystore: &Keystore, volume: &mut Volume) -> Result<()> {
    let under_way = volume.rotations();
    if under_way.is_empty() {
        return Err(crate::volume::Error::NoRotation.into());
    }
    let proven = match &under_way[..] {
        [(id, true)] => *id,
        _ => {
            let ids: Vec<_> = under_way.iter().map(|(id, _)| uuid::text(id)).collect();
            message::note(format_args!("password ID {}", ids.join(" or ")));
            let password = match args.shares || args.deliver.split.is_some() {
                true => ask::shares(args.fd)?,
                false => ask::recovery_password(args.fd)?,
            };
            let opened = Locked::open(&args.volume)?.unlock(Credential::Recovery(&password))?;
            *opened.opened_with()
        }
    };
    if !under_way.iter().any(|(id, _)| *id == proven) {
        let message = format!(
            "this is recovery password {}, not the new one",
            uuid::short(&proven)
        );
        return Err(Error::told(Code::WrongKey, message, "type the new one"));
    }
    let old = volume.finish_rotation(keystore, &proven)?;
    log(keystore, volume, "key rotate", &proven, "proven")?;
    log(keystore, volume, "key rotate", &old, "removed")?;
    outln!("recovery password {} is proven", uuid::text(&proven))?;
    tell_removed("recovery password", &old)
}
