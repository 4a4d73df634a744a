//! XTS fused with VAES on 256-bit registers (Zen 3, Ice Lake and later): cipher and tweaks in one pass over the data.
//!
//! Sixteen blocks are in flight, two in each of eight registers, which hides the latency of a round. Sixteen tweaks stand in
//! eight registers beside them; multiplying all by x^16 moves them on to the next sixteen blocks, with one carry-less product
//! for each register to fold what falls out at the top. The chain of 254 doublings, which costs as much as AES when it is
//! walked block by block, shrinks to sixteen steps of eight independent products.
//!
//! A unit that is no multiple of sixteen blocks has no tail: the second window starts so that the last one ends with the unit,
//! and a few blocks of the first are computed twice, to the same result. That needs `src` and `dst` apart, as references are.
//!
//! With [`crate::crypto::tag`]'s vpclmul the only module outside sys with `unsafe`: loads and stores, and the calls from code
//! that was built for any x86-64.
#![allow(unsafe_code)]
use super::super::aesni;
use super::{Kernel, advance};
use std::arch::x86_64::*;
use zeroize::Zeroize;

/// Registers of data, and of tweaks.
const LANES: usize = 8;
/// Bytes in flight.
const WINDOW: usize = 32 * LANES;
/// x^128 modulo the field's polynomial (IEEE 1619, section 5.2).
const POLYNOMIAL: i64 = 0x87;

/// Both keys, expanded to `R` round keys: 15 for AES-256, 11 for AES-128. Each data round key stands twice, for the two blocks
/// of a register: made once here, no copy of it is left on the stack.
///
/// A value exists only where the processor has every instruction that the methods use: see [`Vaes::new`].
pub(super) struct Vaes<const R: usize> {
    encrypt: [__m256i; R],
    decrypt: [__m256i; R],
    tweak: [__m128i; R],
}

impl<const R: usize> Vaes<R> {
    /// Expands the keys in place, or `None` if this processor lacks an instruction.
    pub(super) fn new(data: &[u8], tweak: &[u8]) -> Option<Box<Self>> {
        let able = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        able.then(|| {
            // SAFETY: every feature that `expanded` enables was detected above.
            unsafe { Self::expanded(data, tweak) }
        })
    }

    #[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
    fn expanded(data: &[u8], tweak: &[u8]) -> Box<Self> {
        let mut keys = Box::new(Self {
            encrypt: [_mm256_setzero_si256(); R],
            decrypt: [_mm256_setzero_si256(); R],
            tweak: [_mm_setzero_si128(); R],
        });
        // The tweak key's place serves the data key first: nothing is left behind.
        aesni::expand(data, &mut keys.tweak);
        for i in 0..R {
            let key = keys.tweak[i];
            keys.encrypt[i] = _mm256_broadcastsi128_si256(key);
            // The equivalent inverse cipher (FIPS 197, section 5.3.5): backwards, all but the outer two transformed.
            let outer = i == 0 || i == R - 1;
            let inverse = if outer { key } else { _mm_aesimc_si128(key) };
            keys.decrypt[R - 1 - i] = _mm256_broadcastsi128_si256(inverse);
        }
        aesni::expand(tweak, &mut keys.tweak);
        keys
    }

    /// Lengths are whole blocks and equal, as [`super::XtsKey`] has checked.
    #[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
    fn run<const ENCRYPT: bool>(&self, unit: u64, block: usize, src: &[u8], dst: &mut [u8]) {
        let mut tweaks = self.first_tweaks(unit, block);
        if src.len() < WINDOW {
            let mut scratch = [0; WINDOW];
            scratch[..src.len()].copy_from_slice(src);
            let mut out = [0; WINDOW];
            self.window::<ENCRYPT>(&tweaks, &scratch, &mut out);
            dst.copy_from_slice(&out[..src.len()]);
            scratch.zeroize();
            out.zeroize();
            return;
        }
        let (first, _) = src.split_first_chunk().expect("a window, as checked above");
        let (out, _) = dst
            .split_first_chunk_mut()
            .expect("as long as src, which has a window");
        self.window::<ENCRYPT>(&tweaks, first, out);
        let overlapped = src.len() % WINDOW;
        let start = if overlapped == 0 {
            next_window(&mut tweaks);
            WINDOW
        } else {
            skip_blocks(&mut tweaks, overlapped / 16);
            overlapped
        };
        let (sources, _) = src[start..].as_chunks::<WINDOW>();
        let (outs, _) = dst[start..].as_chunks_mut::<WINDOW>();
        for (source, out) in sources.iter().zip(outs) {
            self.window::<ENCRYPT>(&tweaks, source, out);
            next_window(&mut tweaks);
        }
    }

    /// Sixteen blocks through the cipher.
    #[inline]
    #[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
    fn window<const ENCRYPT: bool>(
        &self,
        tweaks: &[__m256i; LANES],
        src: &[u8; WINDOW],
        dst: &mut [u8; WINDOW],
    ) {
        let keys = if ENCRYPT {
            &self.encrypt
        } else {
            &self.decrypt
        };
        let (src, _) = src.as_chunks::<32>();
        let (dst, _) = dst.as_chunks_mut::<32>();
        let mut lanes = [_mm256_setzero_si256(); LANES];
        for i in 0..LANES {
            // SAFETY: src[i] is 32 readable bytes; the load wants no alignment.
            let text = unsafe { _mm256_loadu_si256(src[i].as_ptr().cast()) };
            lanes[i] = _mm256_xor_si256(_mm256_xor_si256(text, tweaks[i]), keys[0]);
        }
        for key in &keys[1..R - 1] {
            for lane in &mut lanes {
                *lane = if ENCRYPT {
                    _mm256_aesenc_epi128(*lane, *key)
                } else {
                    _mm256_aesdec_epi128(*lane, *key)
                };
            }
        }
        for i in 0..LANES {
            // The last round adds its key last, so the tweak can ride on it.
            let key = _mm256_xor_si256(keys[R - 1], tweaks[i]);
            let text = if ENCRYPT {
                _mm256_aesenclast_epi128(lanes[i], key)
            } else {
                _mm256_aesdeclast_epi128(lanes[i], key)
            };
            // SAFETY: dst[i] is 32 writable bytes; the store wants no alignment.
            unsafe { _mm256_storeu_si256(dst[i].as_mut_ptr().cast(), text) };
        }
    }

    /// The tweaks of sixteen blocks from `block` on: T, T x, ..., T x^15, where T = AES(Key2, unit) x^block.
    #[target_feature(enable = "avx2,aes,vaes,vpclmulqdq")]
    fn first_tweaks(&self, unit: u64, block: usize) -> [__m256i; LANES] {
        let first = aesni::encrypt(&self.tweak, aesni::block(unit.into()));
        let first = moved(first, block);
        let twice = _mm256_broadcastsi128_si256(first);
        let mut tweaks = [_mm256_blend_epi32::<0xf0>(twice, times_x::<1, 63>(twice)); LANES];
        // By doubling the distance, three products deep instead of seven.
        tweaks[1] = times_x::<2, 62>(tweaks[0]);
        for i in 0..2 {
            tweaks[i + 2] = times_x::<4, 60>(tweaks[i]);
        }
        for i in 0..4 {
            tweaks[i + 4] = times_x::<8, 56>(tweaks[i]);
        }
        tweaks
    }
}

impl<const R: usize> Kernel for Vaes<R> {
    fn name(&self) -> &'static str {
        "vaes"
    }

    fn encrypt(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]) {
        // SAFETY: `self` exists, so `new` has detected the features.
        unsafe { self.run::<true>(unit, first_block, src, dst) }
    }

    fn decrypt(&self, unit: u64, first_block: usize, src: &[u8], dst: &mut [u8]) {
        // SAFETY: `self` exists, so `new` has detected the features.
        unsafe { self.run::<false>(unit, first_block, src, dst) }
    }
}

impl<const R: usize> Drop for Vaes<R> {
    fn drop(&mut self) {
        self.encrypt.zeroize();
        self.decrypt.zeroize();
        self.tweak.zeroize();
    }
}

/// A tweak moved on by any number of blocks, in the general registers: once in a run.
#[inline]
#[target_feature(enable = "avx2")]
fn moved(tweak: __m128i, blocks: usize) -> __m128i {
    aesni::block(advance(aesni::number(tweak), blocks))
}

/// Multiplies both tweaks of a register by x^N, 0 < N < 32; `REST` = 64 - N.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn times_x<const N: i32, const REST: i32>(tweaks: __m256i) -> __m256i {
    fold(
        _mm256_slli_epi64::<N>(tweaks),
        _mm256_srli_epi64::<REST>(tweaks),
    )
}

/// Moves all tweaks on by 1 to 15 blocks. Once in a unit.
#[target_feature(enable = "avx2,vpclmulqdq")]
fn skip_blocks(tweaks: &mut [__m256i; LANES], blocks: usize) {
    let left = _mm_cvtsi64_si128(blocks as i64);
    let rest = _mm_cvtsi64_si128(64 - blocks as i64);
    for tweak in tweaks {
        *tweak = fold(
            _mm256_sll_epi64(*tweak, left),
            _mm256_srl_epi64(*tweak, rest),
        );
    }
}

/// Puts a shifted register together: `low` is each half shifted left, `spilled` what fell out of each half. The lower half's
/// goes to the upper half, the upper half's returns as its product with the polynomial.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn fold(low: __m256i, spilled: __m256i) -> __m256i {
    let carried = _mm256_slli_si256::<8>(spilled);
    let reduced =
        _mm256_clmulepi64_epi128::<0x01>(spilled, _mm256_set_epi64x(0, POLYNOMIAL, 0, POLYNOMIAL));
    _mm256_xor_si256(_mm256_xor_si256(low, carried), reduced)
}

/// Moves all tweaks on by sixteen blocks. Two whole bytes: shifts of bytes cross the halves by themselves.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn next_window(tweaks: &mut [__m256i; LANES]) {
    let polynomial = _mm256_set_epi64x(0, POLYNOMIAL, 0, POLYNOMIAL);
    for tweak in tweaks {
        let spilled = _mm256_srli_si256::<14>(*tweak);
        let reduced = _mm256_clmulepi64_epi128::<0x00>(spilled, polynomial);
        *tweak = _mm256_xor_si256(_mm256_slli_si256::<2>(*tweak), reduced);
    }
}
