//! XTS over the `aes` crate's parallel blocks: for every machine without the fused kernel, and the yardstick of that kernel.
//!
//! Works in batches small enough for the L1 cache: all tweaks of a batch first (a chain of shifts that no cipher latency
//! interrupts), then exclusive or, cipher and exclusive or, each over the whole batch.
use super::{Kernel, advance};
use aes::cipher::{
    Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16,
};
use zeroize::Zeroize;

/// Blocks in a batch: 1 KiB.
const BATCH: usize = 64;

/// Both keys, expanded. `D` ciphers data, `T` the tweak; both wipe themselves on drop.
pub(super) struct Portable<D, T> {
    data: D,
    tweak: T,
}

impl<D, T> Portable<D, T>
where
    D: KeyInit + BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
    T: KeyInit + BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt,
{
    /// Expands the keys, each as long as its cipher wants.
    pub(super) fn new(data: &[u8], tweak: &[u8]) -> Self {
        let fits = "the caller cuts the keys by the cipher's size";
        Self {
            data: D::new_from_slice(data).expect(fits),
            tweak: T::new_from_slice(tweak).expect(fits),
        }
    }

    /// The tweak of a block: T x^block, where T = AES(Key2, unit).
    fn tweak(&self, unit: u64, block: usize) -> u128 {
        let mut first = Block::<T>::from(u128::from(unit).to_le_bytes());
        self.tweak.encrypt_block(&mut first);
        advance(u128::from_le_bytes(first.into()), block)
    }

    /// `src` and `dst` have the same length, a multiple of 16; `tweak` is the first block's.
    fn run(&self, mut tweak: u128, src: &[u8], dst: &mut [u8], cipher: impl Fn(&mut [Block<D>])) {
        let mut tweaks = [0; BATCH];
        let (src, _) = Block::<D>::slice_as_chunks(src);
        let (dst, _) = Block::<D>::slice_as_chunks_mut(dst);
        for (src, dst) in src.chunks(BATCH).zip(dst.chunks_mut(BATCH)) {
            for ((d, s), t) in dst.iter_mut().zip(src).zip(&mut tweaks) {
                *t = tweak;
                *d = (u128::from_le_bytes((*s).into()) ^ tweak)
                    .to_le_bytes()
                    .into();
                tweak = double(tweak);
            }
            cipher(dst);
            for (d, t) in dst.iter_mut().zip(&tweaks) {
                *d = (u128::from_le_bytes((*d).into()) ^ t).to_le_bytes().into();
            }
        }
        tweaks.zeroize();
    }
}

impl<D, T> Kernel for Portable<D, T>
where
    D: KeyInit
        + BlockSizeUser<BlockSize = U16>
        + BlockCipherEncrypt
        + BlockCipherDecrypt
        + Send
        + Sync,
    T: KeyInit + BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + Send + Sync,
{
    fn name(&self) -> &'static str {
        "portable"
    }

    fn encrypt(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]) {
        let tweak = self.tweak(unit, first_block);
        self.run(tweak, src, dst, |blocks| self.data.encrypt_blocks(blocks));
    }

    fn decrypt(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]) {
        let tweak = self.tweak(unit, first_block);
        self.run(tweak, src, dst, |blocks| self.data.decrypt_blocks(blocks));
    }
}

/// [`advance`] by one block, all that a chain needs; without a branch on secret bits.
pub(super) fn double(tweak: u128) -> u128 {
    let carry = ((tweak as i128) >> 127) as u128;
    (tweak << 1) ^ (carry & 0x87)
}
