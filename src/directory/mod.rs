//! The file system behind a directory volume.
