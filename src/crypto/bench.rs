//! Speed of the primitives on this machine, for `cryptfs bench`: one core, data units as directory volumes have them.
use super::secret::Secret;
use super::siv::Siv;
use super::tag::{Algorithm, TagKey};
use super::xts::{Cipher, XtsKey};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes at a time: the ciphertext in a unit of a directory volume.
pub const UNIT: usize = 4064;
/// A name of usual length, padded.
const NAME: usize = 32;
/// Calls between two looks at the clock.
const BATCH: u32 = 64;

/// What each primitive does in a second: its name, and bytes per second. Takes about `each` for every line.
pub fn run(each: Duration) -> Vec<(String, f64)> {
    let mut results = Vec::new();
    let mut out = vec![0; UNIT];
    for cipher in [Cipher::XtsAes256, Cipher::XtsAes128] {
        // Random keys are equal once in 2^128 times, and then the line is missing.
        let key = Secret::random();
        let fused = XtsKey::new(cipher, &key).ok();
        let portable = XtsKey::portable(cipher, &key).ok();
        let same = fused.as_ref().map(XtsKey::kernel_name) == Some("portable");
        for xts in fused.into_iter().filter(|_| !same).chain(portable) {
            let name = |verb| format!("{} {verb} ({})", xts_name(cipher), xts.kernel_name());
            let src = vec![0x5a; UNIT];
            let speed = measure(each, UNIT, |i| xts.encrypt(i, &src, black_box(&mut out)));
            results.push((name("encrypt"), speed));
            let speed = measure(each, UNIT, |i| xts.decrypt(i, &src, black_box(&mut out)));
            results.push((name("decrypt"), speed));
        }
    }
    for (algorithm, name) in [
        (Algorithm::PolyvalAes256, "tag POLYVAL+AES-256"),
        (Algorithm::HmacSha256, "tag HMAC-SHA-256"),
    ] {
        let key = Secret::random();
        let fused = TagKey::new(algorithm, &key);
        let portable = TagKey::portable(algorithm, &key);
        let same = fused.kernel_name() == "portable";
        for key in Some(fused).filter(|_| !same).into_iter().chain([portable]) {
            let speed = measure(each, UNIT, |i| {
                black_box(key.tag(i, &[0; 16], black_box(&out)));
            });
            results.push((format!("{name} ({})", key.kernel_name()), speed));
        }
    }
    let siv = Siv::new(&Secret::random());
    let speed = measure(each, NAME, |i| {
        black_box(siv.seal(&[&i.to_le_bytes()], black_box(&out[..NAME])));
    });
    results.push(("name sealing AES-256-SIV".to_owned(), speed));
    results
}

fn xts_name(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::XtsAes256 => "XTS-AES-256",
        Cipher::XtsAes128 => "XTS-AES-128",
    }
}

/// Bytes per second of `work`, which handles `bytes` for each number that it gets.
fn measure(each: Duration, bytes: usize, mut work: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    let mut calls = 0;
    loop {
        for _ in 0..BATCH {
            work(calls);
            calls += 1;
        }
        let elapsed = start.elapsed();
        if elapsed >= each {
            return calls as f64 * bytes as f64 / elapsed.as_secs_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primitive_has_a_line() {
        let results = run(Duration::from_millis(1));
        assert!(results.iter().all(|(_, speed)| *speed > 0.0));
        for name in ["XTS-AES-256", "XTS-AES-128", "POLYVAL", "HMAC", "SIV"] {
            assert!(results.iter().any(|(line, _)| line.contains(name)));
        }
    }
}
