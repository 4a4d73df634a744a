//! `cryptfs init`: make a volume.
use super::deliver::DeliverArgs;
use super::sheet::Sheet;
use super::{Code, Common, Error, Result, message, protect};
use crate::crypto::tag::Algorithm;
use crate::crypto::xts::Cipher;
use crate::image::OpenError;
use crate::printable::printable;
use crate::volume::audit::{AuditLog, Event};
use crate::volume::header::NameEncoding;
use crate::volume::keystore::Protection;
use crate::volume::same_disk::tears_units;
use crate::volume::{CreateOptions, Created, Keystore, Site, Volume, create, date, kit, uuid};
use crate::{directory, image, recover};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `cryptfs init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// A new or empty directory; with --image a new file, or a block device
    pub volume: PathBuf,
    /// The volume's name, for people
    #[arg(long, default_value = "")]
    pub label: String,
    /// Content cipher
    #[arg(long, value_enum, default_value_t = CipherName::XtsAes256)]
    pub cipher: CipherName,
    /// Authenticator of content
    #[arg(long, value_enum, default_value_t = TagName::Polyval)]
    pub tag: TagName,
    /// Spelling of names in a directory volume; base32hex for stores that ignore case
    #[arg(long, value_enum, default_value_t = NamesName::Base64url)]
    pub names: NamesName,
    /// Do not keep the recovery password sealed in the header: recovery-keys cannot show it later
    #[arg(long)]
    pub no_escrow: bool,
    /// Print nothing; the recovery password then stands only in the escrow
    #[arg(short, long)]
    pub quiet: bool,
    /// Write a recovery kit to this file
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    /// How the keystore is to keep the keyfile
    #[arg(long, value_name = "FORM", default_value = "file", value_parser = protect::parser())]
    pub protect: Protection,
    #[command(flatten)]
    pub deliver: DeliverArgs,
    /// All in one file or block device, which hides names, sizes and the shape of the tree as well
    #[arg(long)]
    pub image: bool,
    /// The image file's size, as in 20G (powers of 1024)
    #[arg(long, requires = "image", value_parser = super::size::parse, value_name = "SIZE")]
    pub size: Option<u64>,
    /// Take the image file's space now, and keep it when files are removed
    #[arg(long, requires = "image")]
    pub preallocate: bool,
    /// Take a block device that holds something: what it holds is lost
    #[arg(long, requires = "image")]
    pub overwrite: bool,
    /// PBKDF2 rounds of the recovery password (for tests)
    #[arg(long, hide = true, default_value_t = crate::volume::create::ITERATIONS, value_parser = clap::value_parser!(u32).range(1000..))]
    pub pbkdf2_iterations: u32,
}

/// The content ciphers.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(missing_docs)]
pub enum CipherName {
    #[value(name = "xts-aes-256")]
    XtsAes256,
    #[value(name = "xts-aes-128")]
    XtsAes128,
}

/// The authenticators.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(missing_docs)]
pub enum TagName {
    Polyval,
    Hmac,
}

/// The spellings of names.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(missing_docs)]
pub enum NamesName {
    Base64url,
    Base32hex,
}

impl InitArgs {
    fn options(&self) -> CreateOptions {
        CreateOptions {
            site: match self.image {
                false => Site::Directory,
                true => Site::Image {
                    size: self.size,
                    preallocate: self.preallocate,
                    overwrite: self.overwrite,
                },
            },
            cipher: match self.cipher {
                CipherName::XtsAes256 => Cipher::XtsAes256,
                CipherName::XtsAes128 => Cipher::XtsAes128,
            },
            tag: match self.tag {
                TagName::Polyval => Algorithm::PolyvalAes256,
                TagName::Hmac => Algorithm::HmacSha256,
            },
            name_encoding: match self.names {
                NamesName::Base64url => NameEncoding::Base64Url,
                NamesName::Base32hex => NameEncoding::Base32Hex,
            },
            label: self.label.clone(),
            escrow: self.deliver.escrow(self.no_escrow),
            iterations: self.pbkdf2_iterations,
            remark: self.deliver.remark(),
            protection: self.protect,
        }
    }
}

/// Runs `cryptfs init`.
pub fn run(args: &InitArgs, common: &Common) -> Result<ExitCode> {
    if args.quiet && !args.deliver.elsewhere() && !args.deliver.escrow(args.no_escrow) {
        let message = "--quiet without escrow would leave nobody with the recovery password";
        return Err(Error::told(Code::Usage, message, "leave one of them out"));
    }
    check_size(args)?;
    if let Some(path) = args.kit.as_ref().filter(|path| path.exists()) {
        let message = format!("{} exists", printable(path));
        return Err(Error::told(
            Code::Place,
            message,
            "name a file that does not exist",
        ));
    }
    args.deliver.check(&args.volume)?;
    let keystore = common.make_keystore()?;
    let log = AuditLog::of(&keystore);
    log.probe()?;
    let mut made = create(&args.volume, &args.options(), &keystore)?;
    // A volume whose password nobody got would be one that nobody can recover: it is taken back.
    let handed_over =
        format(&made.volume).and_then(|()| hand_over(args, &mut made, &keystore, &log));
    if let Err(error) = handed_over {
        made.discard(&keystore);
        return Err(error);
    }
    warn_about_disks(&made.volume, &keystore);
    if !args.quiet {
        let path = message::typed(&args.volume);
        message::hint(format_args!(
            "mount it with cryptfs mount {path} MOUNTPOINT"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs the new volume, and gives the person its recovery password in every form that was asked for.
fn hand_over(
    args: &InitArgs,
    made: &mut Created,
    keystore: &Keystore,
    log: &AuditLog,
) -> Result<()> {
    let event = Event {
        action: "init",
        volume: &made.volume.header().uuid,
        protector: Some(&made.password_id),
        result: if args.quiet && !args.deliver.elsewhere() {
            "created"
        } else {
            "created, disclosed"
        },
    };
    log.append_sealed(&made.volume.audit_key(), &event)?;
    let header = made.volume.header();
    let sheet = Sheet {
        volume: made.volume.place().path(),
        header,
        id: &made.password_id,
        password: &made.recovery_password,
    };
    if !args.quiet {
        outln!(
            "Volume:             {}",
            printable(made.volume.place().path())
        )?;
        outln!("Volume ID:          {}", uuid::text(&header.uuid))?;
        args.deliver.print(&sheet)?;
        outln!(
            "Keyfile:            {}",
            printable(&keystore.keyfile_path(&header.uuid))
        )?;
        message::note(
            "keep the recovery password elsewhere: without it and without the keyfile the data is lost",
        );
    }
    args.deliver.write(&sheet)?;
    if !args.quiet || args.deliver.elsewhere() {
        // Shown: from now on the volume no longer asks to have its password exported.
        let id = made.password_id;
        made.volume
            .annotate(Some(keystore), &id, |p| p.exported = date::now())?;
    }
    if let Some(path) = &args.kit {
        let bytes = kit::write(made.volume.header_bytes());
        super::kit::write_new(path, &bytes, made.volume.place().owner())?;
    }
    Ok(())
}

/// That an image may have the size that was asked for: before anything is made.
fn check_size(args: &InitArgs) -> Result<()> {
    use image::layout::{LARGEST, SMALLEST, pages};
    match args.size.map(pages) {
        Some(pages) if !(SMALLEST..=LARGEST).contains(&pages) => {
            Err(recover::Error::Image(OpenError::Size).into())
        }
        _ => Ok(()),
    }
}

/// Makes the file system.
fn format(volume: &Volume) -> Result<()> {
    let place = volume.place();
    let Some(size) = place.length() else {
        let made = directory::format(place.as_fd(), &volume.keys()?);
        return Ok(made.map_err(recover::Error::from)?);
    };
    let fd = place.as_fd().try_clone_to_owned();
    let owner = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let keys = Arc::new(volume.keys()?);
    let made = image::format(fd.map_err(Error::io(place.path()))?, size, keys, owner);
    Ok(made.map_err(recover::Error::from)?)
}

fn warn_about_disks(volume: &Volume, keystore: &Keystore) {
    message::one_disk(volume, keystore);
    if let Some(size) = tears_units(volume.place(), volume.header()) {
        message::warning(format_args!(
            "the disk writes {size} bytes at a time: a power cut may tear the 4096-byte unit being written (it is noticed)"
        ));
        message::hint(
            "an image never writes over what is in use: cryptfs init --image; nor does ext4 that is mounted with data=journal",
        );
    }
}
