//! SHA-256 (FIPS 180-4) and HMAC-SHA-256 (FIPS 198-1).
use super::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 over the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HMAC-SHA-256 over the parts, one after the other.
pub fn hmac_sha256(key: &Secret<32>, parts: &[&[u8]]) -> [u8; 32] {
    mac(keyed(key.expose()), parts)
}

/// Compares in constant time.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // By words: each comparison ends at a barrier against the optimiser, which is dear by bytes.
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
    let mut same = a_rest.ct_eq(b_rest);
    for (a, b) in a.iter().zip(b) {
        same &= u64::from_ne_bytes(*a).ct_eq(&u64::from_ne_bytes(*b));
    }
    same.into()
}

/// HMAC with its key absorbed: cloning it spares the two compressions that the key costs.
pub(super) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)")
}

/// The full output for the parts, one after the other.
pub(super) fn mac(mut hmac: Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        Mac::update(&mut hmac, part);
    }
    hmac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    /// FIPS 180-4's examples: one block, two blocks.
    #[test]
    fn sha256_examples() {
        let abc = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(&[b"a", b"", b"bc"])[..], abc);
        let two = hex("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        let text = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(sha256(&[text])[..], two);
    }

    /// RFC 4231, test cases 1, 2, 3 and 6 (a key shorter, and one longer, than a block).
    #[test]
    fn hmac_rfc4231() {
        let cases: [(&[u8], &[u8], &str); 4] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, data, expected) in cases {
            let (head, tail) = data.split_at(3);
            assert_eq!(mac(keyed(key), &[head, tail])[..], hex(expected));
        }
    }

    #[test]
    fn equal_wants_the_same_bytes_and_length() {
        assert!(equal(b"tag", b"tag"));
        assert!(!equal(b"tag", b"tab"));
        assert!(!equal(b"tag", b"tags"));
        let text: [u8; 19] = std::array::from_fn(|i| i as u8);
        for length in 0..=text.len() {
            assert!(equal(&text[..length], &{ text }[..length]));
            assert_eq!(equal(&text, &text[..length]), length == text.len());
            for byte in 0..length {
                let mut other = text;
                other[byte] ^= 1;
                assert!(
                    !equal(&text[..length], &other[..length]),
                    "{length}, {byte}"
                );
            }
        }
    }
}
