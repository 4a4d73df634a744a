//! AES by the processor's instructions, one block at a time: what the kernels of [`super::xts`] and [`super::tag`] on wide
//! registers need besides their own passes over the data.
//!
//! No `unsafe` here: these functions can be called only from code that was built for, or has detected, the instructions.
use std::arch::x86_64::*;

/// Key expansion (FIPS 197, section 5.2) to `R` round keys: 15 for AES-256, 11 for AES-128.
///
/// A word stands in all four columns of a register, where ShiftRows changes nothing: the last round of the cipher is then
/// SubWord, with the round constant as its key. The instruction made for this takes several times as long as a round.
#[target_feature(enable = "avx2,aes")]
pub(super) fn expand<const R: usize>(key: &[u8], schedule: &mut [__m128i; R]) {
    let (registers, _) = key.as_chunks();
    for (round, register) in schedule.iter_mut().zip(registers) {
        *round = block(u128::from_le_bytes(*register));
    }
    let last = _mm_set1_epi32(0x0f0e_0d0c);
    let last_rotated = _mm_set1_epi32(0x0c0f_0e0d);
    let mut constant = 1;
    for i in registers.len()..R {
        let before = schedule[i - 1];
        let word = if i % registers.len() == 0 {
            let word = _mm_shuffle_epi8(before, last_rotated);
            let substituted = _mm_aesenclast_si128(word, _mm_set1_epi32(constant));
            // Ten constants at most; the last two leave the byte and come back by AES's polynomial.
            constant = (constant << 1) ^ ((constant >> 7) * 0x11b);
            substituted
        } else {
            _mm_aesenclast_si128(_mm_shuffle_epi8(before, last), _mm_setzero_si128())
        };
        // Each word gets all words before it in its register.
        let mut words = schedule[i - registers.len()];
        words = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
        words = _mm_xor_si128(words, _mm_slli_si128::<8>(words));
        schedule[i] = _mm_xor_si128(words, word);
    }
}

/// One block through the cipher.
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn encrypt<const R: usize>(schedule: &[__m128i; R], block: __m128i) -> __m128i {
    let mut block = _mm_xor_si128(block, schedule[0]);
    for key in &schedule[1..R - 1] {
        block = _mm_aesenc_si128(block, *key);
    }
    _mm_aesenclast_si128(block, schedule[R - 1])
}

/// A number in a register, its lowest byte first.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn block(number: u128) -> __m128i {
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

/// The number in a register, as [`block`] puts it there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn number(block: __m128i) -> u128 {
    let halves = [_mm_cvtsi128_si64(block), _mm_extract_epi64::<1>(block)];
    let [low, high] = halves.map(|half| u128::from(half.cast_unsigned()));
    low | high << 64
}
