//! POLYVAL on carry-less products of 256-bit registers (VPCLMULQDQ: Zen 3, Ice Lake and later), and AES over it.
//!
//! A window of sixteen blocks lies in eight registers; the blocks are multiplied by H^16 down to H^1, with one reduction for
//! the sum of all. Only the first register waits for the value of the window before, so it comes last, and the products of
//! the others hide its latency.
//!
//! A product in POLYVAL's field is a b x^-128 modulo x^128 + x^127 + x^126 + x^121 + 1 (RFC 8452, section 3). With d = b x^-64,
//! made once for each power of the key, and a = a1 x^64 + a0, that is (a1 b + a0 d) x^-64: four products, and one more for
//! what is left of the reduction, x^-64 times the sum of a window.
//!
//! A unit of 254 blocks has no tail: with the two blocks before it, it comes out as sixteen windows. Other lengths begin with
//! a short window, and what is no whole register is multiplied by itself at the end.
//!
//! `unsafe` is here as it is in [`crate::crypto::xts`]'s vaes: a load, and the calls from code that was built for any x86-64.
#![allow(unsafe_code)]
use super::super::aesni;
use super::{Kernel, SIZE};
use std::arch::x86_64::*;
use zeroize::Zeroize;

/// Registers in a window.
const LANES: usize = 8;
/// x^63 + x^62 + x^57: the field's polynomial without its ends, by x^64 lower.
const POLYNOMIAL: i64 = 0xc200_0000_0000_0000_u64.cast_signed();

/// What a register of text is multiplied by: two powers of H, and d above of each.
type Power = [__m256i; 2];

/// The keys, expanded. A value exists only where the processor has every instruction that the methods use: see
/// [`Vpclmul::new`].
pub(super) struct Vpclmul {
    /// H^16 and H^15, H^14 and H^13, ..., H^2 and H.
    powers: [Power; LANES],
    aes: [__m128i; 15],
}

impl Vpclmul {
    /// Expands H and K in place, or `None` if this processor lacks an instruction.
    pub(super) fn new(h: &[u8; 16], k: &[u8; 32]) -> Option<Box<Self>> {
        let able = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("vpclmulqdq");
        able.then(|| {
            // SAFETY: every feature that `expanded` enables was detected above.
            unsafe { Self::expanded(h, k) }
        })
    }

    #[target_feature(enable = "avx2,aes,pclmulqdq,vpclmulqdq")]
    fn expanded(h: &[u8; 16], k: &[u8; 32]) -> Box<Self> {
        let mut keys = Box::new(Self {
            powers: [[_mm256_setzero_si256(); 2]; LANES],
            aes: [_mm_setzero_si128(); 15],
        });
        aesni::expand(k, &mut keys.aes);
        let h = _mm256_broadcastsi128_si256(aesni::block(u128::from_le_bytes(*h)));
        let h2 = reduced(products(h, power(h)));
        let powers = &mut keys.powers;
        powers[7] = power(_mm256_blend_epi32::<0xf0>(h2, h));
        // By doubling the distance, four products deep instead of fifteen.
        let h2 = power(h2);
        powers[6] = raised(&powers[7], &h2);
        let h4 = first_of_both(&powers[6]);
        for i in 4..6 {
            powers[i] = raised(&powers[i + 2], &h4);
        }
        let h8 = first_of_both(&powers[4]);
        for i in 0..4 {
            powers[i] = raised(&powers[i + 4], &h8);
        }
        keys
    }

    /// POLYVAL(H, start + text), the last block of it padded with zeros.
    #[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
    fn hash(&self, start: &[u8; 32], text: &[u8]) -> __m128i {
        let (lanes, rest) = text.as_chunks::<32>();
        let (first, windows) = lanes.split_at(lanes.len() % LANES);
        let powers = &self.powers[LANES - 1 - first.len()..];
        let mut sum = products(load(start), powers[0]);
        for (lane, power) in first.iter().zip(&powers[1..]) {
            sum = plus(sum, products(load(lane), *power));
        }
        let mut value = merged(sum);
        for window in windows.as_chunks::<LANES>().0 {
            let mut sum = [_mm256_setzero_si256(); 2];
            for i in (1..LANES).rev() {
                sum = plus(sum, products(load(&window[i]), self.powers[i]));
            }
            let lane = _mm256_xor_si256(load(&window[0]), value);
            value = merged(plus(sum, products(lane, self.powers[0])));
        }
        if !rest.is_empty() {
            // One block goes to the upper half, whose power is H: the zeros before it change nothing.
            let upper = rest.len() <= 16;
            let at = if upper { 16 } else { 0 };
            let mut lane = [0; 32];
            lane[at..at + rest.len()].copy_from_slice(rest);
            if upper {
                value = _mm256_permute2x128_si256::<0x08>(value, value);
            }
            let lane = _mm256_xor_si256(load(&lane), value);
            value = merged(products(lane, self.powers[LANES - 1]));
        }
        _mm256_castsi256_si128(value)
    }

    #[target_feature(enable = "avx2,aes,pclmulqdq,vpclmulqdq")]
    fn run(&self, start: &[u8; 32], ciphertext: &[u8]) -> [u8; SIZE] {
        aesni::number(aesni::encrypt(&self.aes, self.hash(start, ciphertext))).to_le_bytes()
    }
}

impl Kernel for Vpclmul {
    fn name(&self) -> &'static str {
        "vpclmul"
    }

    fn tag(&self, start: &[u8; 32], ciphertext: &[u8]) -> [u8; SIZE] {
        // SAFETY: `self` exists, so `new` has detected the features.
        unsafe { self.run(start, ciphertext) }
    }
}

impl Drop for Vpclmul {
    fn drop(&mut self) {
        self.powers.zeroize();
        self.aes.zeroize();
    }
}

/// Two blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn load(blocks: &[u8; 32]) -> __m256i {
    // SAFETY: `blocks` is 32 readable bytes; the load wants no alignment.
    unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
}

/// Both blocks times their powers, for [`reduced`]: the part at x^64, and the part below it.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn products(text: __m256i, [power, d]: Power) -> [__m256i; 2] {
    [
        _mm256_xor_si256(
            _mm256_clmulepi64_epi128::<0x10>(text, d),
            _mm256_clmulepi64_epi128::<0x11>(text, power),
        ),
        _mm256_xor_si256(
            _mm256_clmulepi64_epi128::<0x00>(text, d),
            _mm256_clmulepi64_epi128::<0x01>(text, power),
        ),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn plus(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
    [_mm256_xor_si256(a[0], b[0]), _mm256_xor_si256(a[1], b[1])]
}

/// x^-64 times what [`products`] gave: the part at x^64 comes out as it is.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn reduced([high, low]: [__m256i; 2]) -> __m256i {
    _mm256_xor_si256(high, lowered(low))
}

/// x^-64 times each half of a register. As 1 = x^128 + x^127 + x^126 + x^121, the lower 64 bits return at x^64, and as their
/// product with the rest of the polynomial.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn lowered(value: __m256i) -> __m256i {
    let exchanged = _mm256_shuffle_epi32::<0x4e>(value);
    let folded = _mm256_clmulepi64_epi128::<0x00>(value, _mm256_set1_epi64x(POLYNOMIAL));
    _mm256_xor_si256(exchanged, folded)
}

/// The sum of both halves, reduced, in the lower half; the upper one is zero.
#[inline]
#[target_feature(enable = "avx2,pclmulqdq,vpclmulqdq")]
fn merged([high, low]: [__m256i; 2]) -> __m256i {
    let sum = |value| {
        let upper = _mm256_extracti128_si256::<1>(value);
        _mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(value), upper))
    };
    reduced([sum(high), sum(low)])
}

/// A power with its d.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn power(h: __m256i) -> Power {
    [h, lowered(h)]
}

/// Both powers of a register times those of another.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn raised(powers: &Power, by: &Power) -> Power {
    power(reduced(products(powers[0], *by)))
}

/// The first power of a register, twice.
#[inline]
#[target_feature(enable = "avx2")]
fn first_of_both(powers: &Power) -> Power {
    powers.map(|both| _mm256_permute2x128_si256::<0x00>(both, both))
}
