//! The targets of tests/fuzz under libFuzzer, one at a time: see Cargo.toml beside.
#![no_main]
#![allow(missing_docs, unreachable_pub)]
mod sealed;
mod targets;

use std::fs;
use targets::Target;

thread_local! {
    static TARGET: Target = chosen();
}

/// The target that CRYPTFS_FUZZ names. Its seeds go to the corpus, the first directory of the command line.
fn chosen() -> Target {
    let name = std::env::var("CRYPTFS_FUZZ").unwrap_or_default();
    let mut all = targets::all();
    let Some(at) = all.iter().position(|target| target.name == name) else {
        let names: Vec<_> = all.iter().map(|target| target.name).collect();
        eprintln!("CRYPTFS_FUZZ is one of: {}", names.join(", "));
        std::process::exit(2);
    };
    let target = all.swap_remove(at);
    if let Some(corpus) = std::env::args().skip(1).find(|word| !word.starts_with('-')) {
        for (number, seed) in target.seeds.iter().enumerate() {
            let _ = fs::write(format!("{corpus}/seed-{number}"), seed);
        }
    }
    target
}

libfuzzer_sys::fuzz_target!(
    init: TARGET.with(|_| ()),
    |bytes: &[u8]| TARGET.with(|target| (target.run)(bytes))
);
