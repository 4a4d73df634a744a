//! The daemon is killed (SIGKILL) while programs write: what fsync acknowledged is there after the next mount, which
//! takes the dead mount away by itself, and nothing that was there before is damaged.
use super::machine::Machine;
use crate::model::rng::Rng;
use crate::needs;
use cryptfs::image;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What one writer was told is durable: a file, how it began, and how far.
struct Promise {
    path: PathBuf,
    seed: u64,
    length: usize,
}

const STEP: usize = 3000;

/// Appends with fsync, file after file, until the mount is dead. Every fourth file replaces another by rename.
fn write(home: &Path, writer: u64, over: &AtomicBool) -> Vec<Promise> {
    let mut promises = Vec::new();
    for number in 0.. {
        let seed = writer << 32 | number << 1 | 1;
        let final_path = home.join(format!("{writer}-{}", number / 4));
        let path = if number % 4 == 3 {
            home.join(format!("{writer}.new"))
        } else {
            home.join(format!("{writer}-{number}-log"))
        };
        let bytes = Rng::bytes(seed, 6 * STEP);
        let Ok(file) = File::create(&path) else { break };
        let mut length = 0;
        let alive = bytes.chunks(STEP).all(|part| {
            let done = file.write_all_at(part, length as u64).is_ok() && file.sync_all().is_ok();
            length += if done { STEP } else { 0 };
            done
        });
        let made = length > 0 && File::open(home).and_then(|dir| dir.sync_all()).is_ok();
        if alive && number % 4 == 3 && fs::rename(&path, &final_path).is_ok() {
            promises.retain(|promise: &Promise| promise.path != final_path);
            if File::open(home).and_then(|dir| dir.sync_all()).is_ok() {
                promises.push(Promise {
                    path: final_path,
                    seed,
                    length,
                });
            }
        } else if made && number % 4 != 3 {
            promises.push(Promise { path, seed, length });
        }
        if !alive || over.load(Ordering::Relaxed) {
            break;
        }
    }
    promises
}

/// Reads what was promised; what lies behind it may be there or not, but must be what was written.
fn keep(promise: &Promise) {
    let got = fs::read(&promise.path)
        .unwrap_or_else(|error| panic!("{}: LOST: {error}", promise.path.display()));
    let want = Rng::bytes(promise.seed, 6 * STEP);
    assert!(
        got.len() >= promise.length,
        "{}: LOST: {} of {} bytes",
        promise.path.display(),
        got.len(),
        promise.length
    );
    assert!(
        want.starts_with(&got),
        "{}: other bytes",
        promise.path.display()
    );
}

#[test]
fn kill_the_daemon_under_load() {
    super::on_each_kind(&[], kill_rounds);
}

fn kill_rounds(machine: &Machine) {
    let rounds = std::env::var("CRYPTFS_KILLS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(6);
    let mut rng = Rng::new(1);
    let (mut kept, mut count) = (Vec::new(), 0);
    for round in 0..rounds {
        let point = machine.mount();
        if round % 25 == 24 {
            // Before the volume is full.
            count += kept.len();
            for promise in kept.drain(..) {
                keep(&promise);
                fs::remove_file(&promise.path).expect("remove");
            }
        }
        let home = point.join(format!("round {round}"));
        fs::create_dir(&home).expect("mkdir");
        File::open(&point)
            .and_then(|dir| dir.sync_all())
            .expect("fsync");
        let over = AtomicBool::new(false);
        let promises: Vec<Promise> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    scope.spawn({
                        let (home, over) = (&home, &over);
                        move || write(home, writer, over)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(20 + rng.below(300)));
            machine.kill_daemon();
            over.store(true, Ordering::Relaxed);
            writers
                .into_iter()
                .flat_map(|writer| writer.join().expect("a writer"))
                .collect()
        });
        assert!(
            fs::read_dir(&home).is_err(),
            "the mount is dead, and the directory below it is not shown"
        );
        machine.mount();
        promises.iter().for_each(keep);
        kept.extend(promises);
        machine.umount();
    }
    machine.mount();
    kept.iter().for_each(keep);
    machine.umount();
    count += kept.len();
    assert!(count > 0, "no writer was promised anything");
    eprintln!("{rounds} kills, {count} promises kept");
}

/// The first page of an image's log lost after a crash: told, and with what to do; then the image goes on without it.
#[test]
fn a_hole_in_the_log_is_told_and_put_right() {
    if !needs::fuse() {
        return;
    }
    let machine = Machine::new(&["--image", "--size", "32M"]);
    let point = machine.mount();
    for number in 0..3 {
        let file = File::create(point.join(number.to_string())).expect("create");
        file.sync_all().expect("fsync");
    }
    machine.kill_daemon();
    let file = File::options().write(true).open(machine.volume());
    let at = image::layout::LOG * image::layout::PAGE as u64;
    let zeroed = file
        .expect("open")
        .write_all_at(&[0; image::layout::PAGE], at);
    zeroed.expect("write");
    let run = |words: &[&str]| {
        let mut command = machine.cryptfs(words);
        if words == ["mount"] {
            command.arg(machine.volume()).arg(&point);
        } else {
            command.arg(machine.volume());
        }
        let said = command.output().expect("cryptfs");
        let text = [said.stdout, said.stderr].concat();
        (
            said.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let (code, said) = run(&["mount"]);
    assert!(code != Some(0) && said.contains("check --repair"), "{said}");
    let (code, said) = run(&["check"]);
    assert!(code == Some(4) && said.contains("log"), "{said}");
    let (code, said) = run(&["check", "--repair"]);
    assert!(code == Some(1) && said.contains("put right"), "{said}");
    let point = machine.mount();
    assert!(!point.join("2").exists());
    machine.umount();
}
