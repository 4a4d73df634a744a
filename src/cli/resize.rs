//! `cryptfs resize`: another size for an image.
use super::keeper::{self, Keeper, Kept};
use super::progress::{Bar, Scaled};
use super::{Code, Common, Error, Result, message};
use crate::fs;
use crate::image::layout::{self, PAGE};
use crate::printable::printable;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cryptfs resize`.
#[derive(Args, Clone, Debug)]
pub struct ResizeArgs {
    /// The image; it must not be mounted
    pub volume: PathBuf,
    /// The new size, as in 20G; a block device's is its own
    #[arg(value_parser = super::size::parse)]
    pub size: Option<u64>,
}

/// Runs `cryptfs resize`.
pub fn run(args: &ResizeArgs, common: &Common) -> Result<ExitCode> {
    let keystore = common.keystore()?;
    let Kept { mut volume, keeper } = keeper::open(&args.volume, &keystore)?;
    let Keeper::Here { image, .. } = &keeper else {
        let path = volume.place().path().to_owned();
        return Err(crate::volume::Error::AlreadyMounted(path).into());
    };
    let file = volume.place().length().unwrap_or(0);
    let old = image.size();
    let new = match (args.size, volume.place().is_device()) {
        (Some(size), false) => size / PAGE as u64 * PAGE as u64,
        (None, true) => file / PAGE as u64 * PAGE as u64,
        (None, false) => {
            let path = message::typed(&args.volume);
            return Err(Error::told(
                Code::Usage,
                "an image file needs a size",
                &format!("say how large it is to be, as in cryptfs resize {path} 20G"),
            ));
        }
        (Some(_), true) => return Err(crate::volume::Error::DeviceSize.into()),
    };
    if !(layout::SMALLEST..=layout::LARGEST).contains(&layout::pages(new)) {
        return Err(crate::recover::Error::from(crate::image::OpenError::Size).into());
    }
    if new > old {
        volume.lengthen(old, new)?;
    }
    let bar = Bar::bytes("moving");
    let resized = image.resize(new, &Scaled(&bar, PAGE as u64));
    bar.end();
    resized.map_err(refused)?;
    if new <= old && !volume.place().is_device() {
        volume.shorten(new)?;
    }
    keeper.close(&keystore)?;
    outln!("{} has {new} bytes now", printable(&args.volume)).map(|()| ExitCode::SUCCESS)
}

fn refused(error: fs::Error) -> Error {
    match error {
        fs::Error::NotSupported => Error::told(
            Code::Failure,
            "snapshots hold pages where they are: an image that has any does not become smaller",
            "delete them with cryptfs snapshot delete",
        ),
        fs::Error::NoSpace => Error::told(
            Code::Failure,
            "what the image holds does not fit into that size",
            "choose a larger one; what was moved is as good as before",
        ),
        other => other.into(),
    }
}
