//! Unlocking by hand and copying out.
