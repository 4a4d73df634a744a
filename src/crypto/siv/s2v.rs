//! S2V (RFC 5297, section 2.4): one value from a vector of strings, by CMAC (RFC 4493).
use aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
    consts::U16,
};
use aes::{Aes256Enc, Block};
use zeroize::Zeroize;

/// Strings of associated data: with the text they are 127, the most that RFC 5297 allows.
const MAX_ASSOCIATED: usize = 126;

/// The MAC key, expanded, and what depends on nothing else. The cipher wipes itself on drop.
pub(super) struct S2v {
    cipher: Aes256Enc,
    /// CMAC's K1, for a last block that is whole.
    whole: [u8; 16],
    /// CMAC's K2, for a last block that is not.
    partial: [u8; 16],
    /// CMAC of the zero block: where S2V begins.
    zero: [u8; 16],
}

impl S2v {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let cipher = Aes256Enc::new(key.into());
        let encrypted = |block: [u8; 16]| {
            let mut block = Block::from(block);
            cipher.encrypt_block(&mut block);
            block.into()
        };
        let whole = double(encrypted([0; 16]));
        Self {
            whole,
            partial: double(whole),
            // Of a whole zero block only K1 is left to cipher.
            zero: encrypted(whole),
            cipher,
        }
    }

    /// The value of `associated`, then `text`.
    ///
    /// # Panics
    /// If `associated` has more than 126 strings.
    pub(super) fn run(&self, associated: &[&[u8]], text: &[u8]) -> [u8; 16] {
        assert!(associated.len() <= MAX_ASSOCIATED, "RFC 5297, section 2.4");
        let mut sum = self.zero;
        self.cipher.encrypt_with_backend(Run {
            keys: self,
            associated,
            text,
            sum: &mut sum,
        });
        sum
    }
}

impl Drop for S2v {
    fn drop(&mut self) {
        self.whole.zeroize();
        self.partial.zeroize();
        self.zero.zeroize();
    }
}

/// All of S2V as one call of the cipher: what a call prepares costs more than a block.
struct Run<'a> {
    keys: &'a S2v,
    associated: &'a [&'a [u8]],
    text: &'a [u8],
    sum: &'a mut [u8; 16],
}

impl BlockSizeUser for Run<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Run<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        let Self {
            keys,
            associated,
            text,
            sum,
        } = self;
        let cmac = Cmac { keys, cipher };
        for string in associated {
            *sum = double(*sum);
            xor(sum, &cmac.finish([0; 16], string));
        }
        if text.len() < 16 {
            *sum = double(*sum);
            xor(sum, &padded(text));
            *sum = cmac.finish([0; 16], sum);
            return;
        }
        // The sum goes over the last sixteen bytes, which may lie in two blocks: those are copied.
        let (head, tail) = text.split_at(text.len() - 16 - text.len() % 16);
        let mut end = [0; 32];
        let end = &mut end[..tail.len()];
        end.copy_from_slice(tail);
        xor(&mut end[tail.len() - 16..], sum);
        *sum = cmac.finish(cmac.chain([0; 16], head.as_chunks().0), end);
    }
}

/// CMAC inside a call of the cipher.
struct Cmac<'a, B> {
    keys: &'a S2v,
    cipher: &'a B,
}

impl<B: BlockCipherEncBackend<BlockSize = U16>> Cmac<'_, B> {
    /// CMAC of a message whose first blocks brought the chain to `state`; `rest` is empty only if the whole message is.
    #[inline(always)]
    fn finish(&self, state: [u8; 16], rest: &[u8]) -> [u8; 16] {
        let (head, last) = rest.split_at(rest.len().saturating_sub(1) / 16 * 16);
        let mut state = self.chain(state, head.as_chunks().0);
        let (last, subkey) = match last.first_chunk() {
            Some(block) => (*block, &self.keys.whole),
            None => (padded(last), &self.keys.partial),
        };
        xor(&mut state, subkey);
        self.chain(state, &[last])
    }

    /// CBC-MAC from `state` on.
    #[inline(always)]
    fn chain(&self, state: [u8; 16], blocks: &[[u8; 16]]) -> [u8; 16] {
        let mut state = Block::from(state);
        for block in blocks {
            xor(&mut state, block);
            self.cipher.encrypt_block((&mut state).into());
        }
        state.into()
    }
}

/// Multiplies by x in CMAC's field, whose highest bit comes first, without a branch on secret bits.
fn double(block: [u8; 16]) -> [u8; 16] {
    let block = u128::from_be_bytes(block);
    let carry = ((block as i128) >> 127) as u128;
    ((block << 1) ^ (carry & 0x87)).to_be_bytes()
}

/// Fewer than sixteen bytes made a block: a one bit, then zeros.
fn padded(bytes: &[u8]) -> [u8; 16] {
    let mut block = [0; 16];
    block[..bytes.len()].copy_from_slice(bytes);
    block[bytes.len()] = 0x80;
    block
}

/// As far as the shorter one goes.
pub(super) fn xor(into: &mut [u8], from: &[u8]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into ^= from;
    }
}
