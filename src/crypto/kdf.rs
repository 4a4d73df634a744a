//! Key derivation. Each use of HKDF has a purpose in [`Label`]: info = "cryptfs/v1/" + label + 0x00 + context.
use super::digest;
use super::secret::Secret;
use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::ops::RangeInclusive;
use zeroize::Zeroize;

/// What a derived key is for: the one table of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Wraps the VMK; context: volume UUID + SHA-256 of the slot's public bytes.
    Kek,
    /// Authenticates the header.
    HeaderMac,
    /// Wraps a FVEK; context: epoch as u16.
    FvekWrap,
    /// Chains the audit log.
    Audit,
    /// Authenticates session records.
    Session,
    /// Seals the recovery password kept in the header (escrow); context: slot UUID.
    Escrow,
    /// A file's two XTS keys; context: file id.
    Content,
    /// A file's tag keys; context: file id.
    Tag,
    /// Names of directory entries.
    Name,
    /// Symbolic link targets.
    Link,
    /// Extended attributes: values.
    Xattr,
    /// Extended attributes: names on the backing store.
    XattrName,
    /// An image's page keys; context: scope as u64.
    Page,
    /// An image's page tags; context: scope as u64.
    PageTag,
}

impl Label {
    /// The label's text, as it goes into HKDF's info.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Kek => "kek",
            Self::HeaderMac => "header-mac",
            Self::FvekWrap => "fvek-wrap",
            Self::Audit => "audit",
            Self::Session => "session",
            Self::Escrow => "escrow",
            Self::Content => "content",
            Self::Tag => "tag",
            Self::Name => "name",
            Self::Link => "link",
            Self::Xattr => "xattr",
            Self::XattrName => "xattr-name",
            Self::Page => "page",
            Self::PageTag => "page-tag",
        }
    }
}

/// HKDF's pseudo-random key: extracted once from a master secret, expanded once for each purpose.
///
/// Kept as the HMAC state that has absorbed it: an expansion is a copy of that state and a few compressions, so that keys for
/// each file cost well under a microsecond.
pub struct Prk(Box<Hmac<Sha256>>);

impl Prk {
    /// HKDF-Extract (RFC 5869, section 2.2).
    pub fn extract(salt: &[u8], ikm: &[u8]) -> Self {
        let mut prk = digest::mac(digest::keyed(salt), &[ikm]);
        let state = Box::new(digest::keyed(&prk));
        prk.zeroize();
        Self(state)
    }

    /// HKDF-Expand (RFC 5869, section 2.3) of `N` bytes for one purpose.
    pub fn expand<const N: usize>(&self, label: Label, context: &[&[u8]]) -> Secret<N> {
        const { assert!(N <= 255 * 32, "HKDF's counter is one byte") };
        let prefix: [&[u8]; 3] = [b"cryptfs/v1/", label.text().as_bytes(), &[0]];
        Secret::fill_with(|key| self.expand_info(&prefix, context, key))
    }

    /// HKDF-Expand with the info in two lists of parts; `key` has at most 255 * 32 bytes.
    ///
    /// Written here, not taken from the hkdf crate, because that leaves each block of output on the stack.
    fn expand_info(&self, prefix: &[&[u8]], context: &[&[u8]], key: &mut [u8]) {
        let mut block = hmac::digest::Output::<Sha256>::default();
        for (i, chunk) in key.chunks_mut(32).enumerate() {
            let mut hmac = (*self.0).clone();
            if i > 0 {
                hmac.update(&block);
            }
            for part in prefix.iter().chain(context) {
                hmac.update(part);
            }
            hmac.update(&[i as u8 + 1]);
            hmac::digest::FixedOutput::finalize_into(hmac, &mut block);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        block.as_mut_slice().zeroize();
    }
}

/// Rounds of PBKDF2 that are accepted: far above any sensible cost, and still no hang.
const PBKDF2_ITERATIONS: RangeInclusive<u32> = 1..=1 << 26;
/// Passes of Argon2id that are accepted.
const ARGON2_PASSES: RangeInclusive<u32> = 1..=64;
/// Lanes of Argon2id that are accepted.
const ARGON2_LANES: RangeInclusive<u32> = 1..=16;
/// The most memory, 4 GiB in KiB. The least is 8 KiB a lane (RFC 9106, section 3.1).
const ARGON2_MEMORY_KIB_MAX: u32 = 4 << 20;

/// How a credential is stretched before it becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// 32 random bytes need none.
    None,
    /// PBKDF2-HMAC-SHA-256 (RFC 8018).
    Pbkdf2 {
        /// Rounds.
        iterations: u32,
    },
    /// Argon2id version 0x13 (RFC 9106).
    Argon2id {
        /// Passes.
        passes: u32,
        /// Memory in KiB.
        memory_kib: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// The cost lies outside the bounds that are accepted before any work is done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("key derivation cost is out of bounds")]
pub struct CostOutOfBounds;

impl Stretch {
    /// What it costs, roughly, to choose what to try first: rounds of PBKDF2, or what takes as long.
    pub fn work(&self) -> u64 {
        match *self {
            Self::None => 0,
            Self::Pbkdf2 { iterations } => iterations.into(),
            Self::Argon2id {
                passes, memory_kib, ..
            } => u64::from(passes)
                .saturating_mul(memory_kib.into())
                .saturating_mul(2),
        }
    }

    /// True if the cost lies inside the bounds. Checked before any work, because the cost comes from a header that nothing
    /// has authenticated yet: a hostile one must not hang the machine or exhaust its memory.
    fn is_bounded(&self) -> bool {
        match *self {
            Self::None => true,
            Self::Pbkdf2 { iterations } => PBKDF2_ITERATIONS.contains(&iterations),
            Self::Argon2id {
                passes,
                memory_kib,
                lanes,
            } => {
                ARGON2_PASSES.contains(&passes)
                    && ARGON2_LANES.contains(&lanes)
                    && (8 * lanes..=ARGON2_MEMORY_KIB_MAX).contains(&memory_kib)
            }
        }
    }

    /// The stretched credential, 32 bytes. `Stretch::None` requires a credential of 32 bytes.
    ///
    /// The error also stands for memory that the system does not give.
    pub fn run(&self, credential: &[u8], salt: &[u8; 32]) -> Result<Secret<32>, CostOutOfBounds> {
        if !self.is_bounded() {
            return Err(CostOutOfBounds);
        }
        let mut done = Ok(());
        let stretched = Secret::fill_with(|key| match *self {
            Self::None if credential.len() == key.len() => key.copy_from_slice(credential),
            Self::None => done = Err(CostOutOfBounds),
            Self::Pbkdf2 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(credential, salt, iterations, key);
            }
            Self::Argon2id {
                passes,
                memory_kib,
                lanes,
            } => {
                let params = Params::new(memory_kib, passes, lanes, Some(key.len()));
                done = params
                    .map_err(|_| CostOutOfBounds)
                    .and_then(|params| argon2id(params, credential, salt, key));
            }
        });
        done.map(|()| stretched)
    }
}

/// Argon2id in memory of our own, because the crate does not wipe its own: the last blocks are one hash away from the key.
fn argon2id(
    params: Params,
    credential: &[u8],
    salt: &[u8; 32],
    key: &mut [u8; 32],
) -> Result<(), CostOutOfBounds> {
    let blocks = params.block_count();
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(blocks)
        .map_err(|_| CostOutOfBounds)?;
    memory.resize(blocks, argon2::Block::default());
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(credential, salt, key, &mut memory[..]);
    memory.iter_mut().for_each(Zeroize::zeroize);
    done.map_err(|_| CostOutOfBounds)
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    /// RFC 5869, appendix A.1 to A.3.
    #[test]
    fn hkdf_rfc5869() {
        let count = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let cases = [
            (
                vec![0x0b; 22],
                count(0, 0x0c),
                count(0xf0, 0xf9),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                count(0, 0x4f),
                count(0x60, 0xaf),
                count(0xb0, 0xff),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                 59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                 cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
            (
                vec![0x0b; 22],
                vec![],
                vec![],
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ];
        for (ikm, salt, info, expected) in cases {
            let expected = hex(expected);
            let mut key = vec![0; expected.len()];
            let (head, tail) = info.split_at(info.len() / 2);
            Prk::extract(&salt, &ikm).expand_info(&[head], &[tail], &mut key);
            assert_eq!(key, expected);
        }
    }

    #[test]
    fn labels_and_contexts_separate_keys() {
        let prk = Prk::extract(b"salt", b"secret");
        let a: Secret<32> = prk.expand(Label::Content, &[b"one"]);
        let b: Secret<32> = prk.expand(Label::Tag, &[b"one"]);
        let c: Secret<32> = prk.expand(Label::Content, &[b"two"]);
        let d: Secret<32> = prk.expand(Label::Content, &[b"o", b"ne"]);
        assert_ne!(a.expose(), b.expose());
        assert_ne!(a.expose(), c.expose());
        assert_eq!(a.expose(), d.expose());
    }

    /// RFC 7914, section 11: pins the crate, whose salt is shorter than ours.
    #[test]
    fn pbkdf2_rfc7914() {
        let mut key = [0; 64];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"passwd", b"salt", 1, &mut key);
        let expected = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
                        49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783";
        assert_eq!(key[..], hex(expected));
    }

    /// RFC 9106, section 5.3: pins the crate; the vector has a secret and associated data, which we do not use.
    #[test]
    fn argon2id_rfc9106() {
        let mut params = argon2::ParamsBuilder::new();
        let data = argon2::AssociatedData::new(&[4; 12]).unwrap();
        params.t_cost(3).m_cost(32).p_cost(4).data(data);
        let params = params.build().unwrap();
        let argon2 =
            Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let mut key = [0; 32];
        argon2
            .hash_password_into(&[1; 32], &[2; 16], &mut key)
            .unwrap();
        let expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
        assert_eq!(key[..], hex(expected));
    }

    #[test]
    fn costs_out_of_bounds_are_refused() {
        let argon = |passes, memory_kib, lanes| Stretch::Argon2id {
            passes,
            memory_kib,
            lanes,
        };
        let bad = [
            Stretch::Pbkdf2 { iterations: 0 },
            Stretch::Pbkdf2 {
                iterations: (1 << 26) + 1,
            },
            argon(0, 64, 1),
            argon(65, 64, 1),
            argon(1, 7, 1),
            argon(1, (4 << 20) + 1, 1),
            argon(1, 64, 0),
            argon(1, 1 << 20, 17),
            argon(u32::MAX, u32::MAX, u32::MAX),
        ];
        for stretch in bad {
            let refused = stretch.run(b"credential", &[0; 32]).map(drop);
            assert_eq!(refused, Err(CostOutOfBounds), "{stretch:?}");
        }
        assert!(argon(1, 8, 1).run(b"credential", &[0; 32]).is_ok());
    }

    #[test]
    fn no_stretching_takes_32_bytes_only() {
        assert_eq!(
            Stretch::None.run(&[7; 32], &[0; 32]).unwrap().expose(),
            &[7; 32]
        );
        assert!(Stretch::None.run(&[7; 31], &[0; 32]).is_err());
        assert!(Stretch::None.run(&[7; 33], &[0; 32]).is_err());
    }
}
