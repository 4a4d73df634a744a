//! Keys in memory.
use std::fmt;
use zeroize::Zeroize;

/// `N` secret bytes: boxed, filled in place, wiped on drop, never printed, compared or copied.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// A secret whose bytes `fill` writes in place.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut bytes = Box::new([0; N]);
        fill(&mut bytes);
        Self(bytes)
    }

    /// A secret from the system's random number generator.
    pub fn random() -> Self {
        Self::fill_with(|bytes| super::random::fill(bytes))
    }

    /// The one way in.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({N} bytes)")
    }
}
