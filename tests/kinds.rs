//! The kinds of volume that the suites run on. A new kind implements [`VolumeKind`] and stands in [`ALL`]; model, hostile
//! and program tests then run on it by the same code.
use crate::model::Rules;
use cryptfs::crypto::secret::Secret;
use cryptfs::crypto::tag::Algorithm;
use cryptfs::crypto::xts::Cipher;
use cryptfs::directory::backing::Backing;
use cryptfs::directory::name::{DirId, NameEncoding};
use cryptfs::directory::{self, Directory, Options};
use cryptfs::fs::{Damage, FileSystem, Result};
use cryptfs::image::{self, Image, OpenError};
use cryptfs::volume::keys::Keys;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A kind of volume. Keys are the same in every test: what unlocks them is tested elsewhere.
pub trait VolumeKind: Sync {
    /// For reports.
    fn name(&self) -> &'static str;
    /// Makes an empty volume in an empty directory.
    fn create(&self, dir: &Path);
    /// The same, as small as it can be: for tests that go through every byte.
    fn create_small(&self, dir: &Path) {
        self.create(dir);
    }
    /// Opens the volume in a directory.
    fn open(&self, dir: &Path, read_only: bool) -> Result<Arc<dyn FileSystem>>;
    /// Where it may differ from the oracle.
    fn rules(&self) -> Rules;
    /// What it does not notice.
    fn blind(&self) -> Blind;
}

/// What a kind of volume does not notice by design, as its format says. Nothing of it: `Blind::default()`.
#[derive(Clone, Copy, Default)]
pub struct Blind {
    /// All content lies in one backing file: damage may be an error anywhere, but wrong nowhere.
    pub one_file_for_all: bool,
    /// A file that was cut to nothing.
    pub emptied_files: bool,
    /// Files that changed places as a whole.
    pub exchanged_files: bool,
    /// Units of a sparse file that were zeroed: they read as a hole.
    pub zeroed_units_of_sparse_files: bool,
    /// A directory whose long name lies in a file of its own is not found when that file is damaged.
    pub long_directory_names: bool,
}

/// All of them.
pub const ALL: [&dyn VolumeKind; 2] = [&DirectoryVolume, &ImageVolume];

/// One backing file for each file.
pub struct DirectoryVolume;

impl DirectoryVolume {
    /// Opens with a backing store of the test's choice (one that records).
    pub fn open_on(&self, dir: &Path, read_only: bool, backing: Backing) -> Result<Directory> {
        let root = std::fs::File::open(dir)?;
        let options = Options {
            root: DirId([5; 12]),
            encoding: NameEncoding::Base64Url,
            read_only,
        };
        Directory::open(root.into(), keys(), options, backing)
    }
}

impl VolumeKind for DirectoryVolume {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn create(&self, dir: &Path) {
        std::fs::create_dir(dir.join(".cryptfs")).expect("make .cryptfs");
        let root = std::fs::File::open(dir).expect("open");
        directory::format(root.as_fd(), &keys()).expect("format");
    }

    fn open(&self, dir: &Path, read_only: bool) -> Result<Arc<dyn FileSystem>> {
        Ok(Arc::new(self.open_on(
            dir,
            read_only,
            Backing::default(),
        )?))
    }

    fn rules(&self) -> Rules {
        Rules {
            exchange_directories: false,
            ctime: false, // a release records the length in unit 0
            ..Rules::default()
        }
    }

    fn blind(&self) -> Blind {
        Blind {
            one_file_for_all: false,
            emptied_files: true,
            exchanged_files: true,
            zeroed_units_of_sparse_files: true,
            long_directory_names: true,
        }
    }
}

/// One file.
pub struct ImageVolume;

impl ImageVolume {
    /// The image's name in its directory.
    pub const NAME: &str = "volume.img";

    /// Makes an image of so many bytes.
    pub fn format(&self, dir: &Path, size: u64) {
        let path = dir.join(Self::NAME);
        let file = std::fs::File::create_new(path).expect("make the image");
        file.set_len(size).expect("set the image's size");
        drop(file);
        let who = (rustix::process::getuid(), rustix::process::getgid());
        let owner = (who.0.as_raw(), who.1.as_raw());
        image::format(self.fd(dir).into(), size, keys(), owner).expect("format the image");
    }

    /// The image, open for reading and writing.
    pub fn fd(&self, dir: &Path) -> std::fs::File {
        let mut how = std::fs::File::options();
        let opened = how.read(true).write(true).open(dir.join(Self::NAME));
        opened.expect("open the image")
    }

    /// Opens it with options of the test's choice.
    pub fn open_on(&self, dir: &Path, options: &image::Options) -> Result<Image, OpenError> {
        Image::open(self.fd(dir).into(), keys(), options)
    }
}

impl VolumeKind for ImageVolume {
    fn name(&self) -> &'static str {
        "image"
    }

    fn create(&self, dir: &Path) {
        self.format(dir, 64 << 20);
    }

    fn create_small(&self, dir: &Path) {
        self.format(dir, 8 << 20);
    }

    fn open(&self, dir: &Path, read_only: bool) -> Result<Arc<dyn FileSystem>> {
        let mut seen = SEEN.lock();
        let newest = seen.get_or_insert_default().entry(dir.to_owned());
        let newest = newest.or_default();
        let options = image::Options {
            read_only,
            expected_generation: *newest,
            ..image::Options::default()
        };
        match self.open_on(dir, &options) {
            Ok(image) => {
                *newest = image.generation();
                Ok(Arc::new(image))
            }
            Err(OpenError::Fs(error)) => Err(error),
            Err(_) => Err(Damage::Missing.into()),
        }
    }

    fn rules(&self) -> Rules {
        Rules::default()
    }

    /// Nothing, but that the damage of one page may keep the rest from being found.
    fn blind(&self) -> Blind {
        Blind {
            one_file_for_all: true,
            ..Blind::default()
        }
    }
}

/// The generations that were seen, as a keystore remembers them.
static SEEN: Mutex<Option<HashMap<PathBuf, u64>>> = Mutex::new(None);

/// The keys of every test volume.
pub fn keys() -> Arc<Keys> {
    let fvek = Secret::fill_with(|bytes| bytes.fill(7));
    let session = Secret::fill_with(|bytes| bytes.fill(9));
    let keys = Keys::derive(
        &[1; 16],
        Cipher::XtsAes256,
        Algorithm::PolyvalAes256,
        &[(1, fvek)],
        session,
    );
    Arc::new(keys.expect("one FVEK"))
}
