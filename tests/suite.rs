//! One binary, so that the suite stays quick to build.

mod vectors;
