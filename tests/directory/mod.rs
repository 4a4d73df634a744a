//! The directory layer through its trait: content against a plain byte vector, the eight rules of the format, and files that
//! are open without its knowledge.
mod checked;
mod content;
mod repair;
mod rules;
mod together;
mod unopened;

use cryptfs::crypto::secret::Secret;
use cryptfs::crypto::tag::Algorithm;
use cryptfs::crypto::xts::Cipher;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::name::{DirId, NameEncoding};
use cryptfs::directory::{Directory, Options};
use cryptfs::fs::Caller;
use cryptfs::volume::keys::Keys;
use std::path::Path;
use std::sync::Arc;

/// Keys that are the same in every test.
pub fn keys() -> Arc<Keys> {
    let fvek = Secret::fill_with(|bytes| bytes.fill(7));
    let session = Secret::fill_with(|bytes| bytes.fill(9));
    Arc::new(
        Keys::derive(
            &[1; 16],
            Cipher::XtsAes256,
            Algorithm::PolyvalAes256,
            &[(1, fvek)],
            session,
        )
        .expect("one FVEK"),
    )
}

/// Opens (and the first time makes) a tree under `path`.
pub fn open_with(path: &Path, read_only: bool, backing: Backing) -> Directory {
    std::fs::create_dir_all(path.join(".cryptfs")).expect("make .cryptfs");
    let root = std::fs::File::open(path).expect("open the backing directory");
    let options = Options {
        root: DirId([5; 12]),
        encoding: NameEncoding::Base64Url,
        read_only,
    };
    Directory::open(root.into(), keys(), options, backing).expect("open the tree")
}

/// The same, plainly.
pub fn open(path: &Path) -> Directory {
    open_with(path, false, Backing::default())
}

/// The user that runs the tests.
pub fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0o022,
    }
}
