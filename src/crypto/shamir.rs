//! A secret split into parts of which any k give it back, and k-1 say nothing (A. Shamir, "How to share a secret", 1979): byte
//! by byte, polynomials over GF(2^8) with the polynomial of AES. No tables and no branches on secret bytes.
use super::secret::Secret;
use zeroize::Zeroize;

/// One part: where the polynomials were evaluated (never 0), and their values.
pub struct Part<const N: usize> {
    /// 1 to 255.
    pub x: u8,
    /// As long as the secret.
    pub y: Secret<N>,
}

/// Splits into `count` parts, any `threshold` of which give the secret back. Both at least 1, `threshold` at most `count`.
pub fn split<const N: usize>(secret: &Secret<N>, threshold: u8, count: u8) -> Vec<Part<N>> {
    // Coefficients of x, x^2 ...: random, and as many as the threshold needs.
    let above: Vec<Secret<N>> = (1..threshold).map(|_| Secret::random()).collect();
    let part = |x| Part {
        x,
        y: Secret::fill_with(|y: &mut [u8; N]| {
            for (i, byte) in y.iter_mut().enumerate() {
                // Horner's rule, the highest coefficient first.
                for coefficient in above.iter().rev() {
                    *byte = multiply(*byte ^ coefficient.expose()[i], x);
                }
                *byte ^= secret.expose()[i];
            }
        }),
    };
    (1..=count).map(part).collect()
}

/// The secret, from as many parts as the threshold, or more. `None` where two parts have the same place, or one has 0. Parts
/// of different secrets, or too few, give noise.
pub fn combine<const N: usize>(parts: &[&Part<N>]) -> Option<Secret<N>> {
    let distinct = |(i, part): (usize, &&Part<N>)| {
        part.x != 0 && parts[..i].iter().all(|before| before.x != part.x)
    };
    if parts.is_empty() || !parts.iter().enumerate().all(distinct) {
        return None;
    }
    Some(Secret::fill_with(|secret: &mut [u8; N]| {
        for part in parts {
            // Lagrange's polynomial of this part at 0; minus is plus here.
            let mut weight = 1;
            for other in parts.iter().filter(|other| other.x != part.x) {
                weight = multiply(weight, multiply(other.x, inverse(other.x ^ part.x)));
            }
            for (byte, y) in secret.iter_mut().zip(part.y.expose()) {
                *byte ^= multiply(*y, weight);
            }
        }
    }))
}

/// Modulo x^8 + x^4 + x^3 + x + 1.
fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= a & 0u8.wrapping_sub(b & 1);
        a = (a << 1) ^ (0x1b & 0u8.wrapping_sub(a >> 7));
        b >>= 1;
    }
    a.zeroize();
    product
}

/// a^254.
fn inverse(a: u8) -> u8 {
    let mut power = a;
    let mut product = 1;
    for _ in 0..7 {
        power = multiply(power, power);
        product = multiply(product, power);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, sections 4.2 and 4.2.1.
    #[test]
    fn the_field_is_the_one_of_aes() {
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        assert!((1..=255).all(|a| multiply(a, inverse(a)) == 1));
    }

    #[test]
    fn every_choice_of_enough_parts_gives_the_secret_and_fewer_do_not() {
        for (threshold, count) in [(1, 1), (2, 3), (3, 5), (5, 5)] {
            let secret = Secret::<16>::random();
            let parts = split(&secret, threshold, count);
            for chosen in 1..1u32 << count {
                let some: Vec<_> = parts
                    .iter()
                    .filter(|p| chosen >> (p.x - 1) & 1 == 1)
                    .collect();
                let whole = combine(&some).expect("distinct");
                let enough = some.len() >= usize::from(threshold);
                assert_eq!(whole.expose() == secret.expose(), enough, "{chosen:b}");
            }
            assert!(combine(&[&parts[0], &parts[0]]).is_none());
        }
    }

    /// Two parts of one secret: the line through (1, y1) and (2, y2) at 0, by hand.
    #[test]
    fn a_line_by_hand() {
        let part = |x, y| Part {
            x,
            y: Secret::<1>::fill_with(|byte| byte[0] = y),
        };
        // f(x) = 0x2a + 0x35 x
        let (one, two) = (part(1, 0x2a ^ 0x35), part(2, 0x2a ^ 0x6a));
        assert_eq!(combine(&[&one, &two]).expect("distinct").expose(), &[0x2a]);
    }
}
