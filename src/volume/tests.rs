//! Volumes on a real directory: made, opened, damaged, repaired.
use super::*;
use crate::crypto::secret::Secret;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct Bench {
    _dir: tempfile::TempDir,
    volume: PathBuf,
    keystore: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            volume: dir.path().join("volume"),
            keystore: dir.path().join("keys"),
            _dir: dir,
        }
    }

    fn keys(&self) -> Keystore {
        Keystore::create(Some(&self.keystore)).unwrap()
    }

    fn make(&self) -> Created {
        let options = CreateOptions {
            iterations: 1000,
            label: "test".to_owned(),
            ..CreateOptions::default()
        };
        create(&self.volume, &options, &self.keys()).unwrap()
    }

    fn auto(&self) -> Result<Volume> {
        Locked::open(&self.volume)?.unlock_auto(&self.keys(), Rollback::Refuse)
    }

    fn copies(&self) -> [PathBuf; 3] {
        ["cryptfs.volume", ".cryptfs/header.1", ".cryptfs/header.2"]
            .map(|name| self.volume.join(name))
    }
}

#[test]
fn made_and_opened_by_key_and_by_password() {
    let bench = Bench::new();
    let made = bench.make();
    let volume = bench.auto().unwrap();
    assert_eq!(volume.header(), made.volume.header());
    assert_eq!(volume.header().sequence, 1);
    let slot = volume
        .header()
        .protectors()
        .find(|p| p.id == made.password_id)
        .unwrap();
    let text = made.recovery_password.reveal().to_string();
    assert_eq!(volume.escrowed_in(slot).unwrap().reveal().to_string(), text);
    for offline in [false, true] {
        if offline {
            std::fs::rename(&bench.volume, bench.volume.with_extension("away")).unwrap();
        }
        let kept = kept::Kept::open(&bench.keys(), &made.volume.header().uuid).unwrap();
        let kept = kept.passwords[0].password.as_ref().unwrap();
        assert_eq!(kept.reveal().to_string(), text);
    }
    std::fs::rename(bench.volume.with_extension("away"), &bench.volume).unwrap();
    let locked = Locked::open(&bench.volume).unwrap();
    assert_eq!(locked.password_ids(), [made.password_id]);
    let volume = locked
        .unlock(Credential::Recovery(&made.recovery_password))
        .unwrap();
    assert_eq!(*volume.opened_with(), made.password_id);
    volume.into_opened().unwrap();
}

#[test]
fn any_one_or_two_copies_lost_are_repaired_and_three_come_back_from_the_keystore() {
    for lost in 1..8usize {
        let bench = Bench::new();
        let made = bench.make();
        let before = std::fs::read(bench.volume.join("cryptfs.volume")).unwrap();
        for (i, path) in bench
            .copies()
            .iter()
            .enumerate()
            .filter(|(i, _)| lost >> i & 1 == 1)
        {
            match i {
                0 => std::fs::write(path, &before[..100]).unwrap(),
                1 => std::fs::remove_file(path).unwrap(),
                _ => std::fs::write(path, vec![0; header::SIZE]).unwrap(),
            }
        }
        let spares;
        let locked = if lost == 7 {
            assert!(matches!(
                Locked::open(&bench.volume),
                Err(Error::HeaderLost { .. })
            ));
            let bytes = bench.keys().headers(&made.volume.header().uuid).remove(0);
            spares = [Spare {
                name: "keystore".to_owned(),
                bytes,
            }];
            Locked::open_with(&bench.volume, &spares).unwrap()
        } else {
            Locked::open(&bench.volume).unwrap()
        };
        let mut volume = locked.unlock_auto(&bench.keys(), Rollback::Refuse).unwrap();
        let repaired = volume.repair_copies().unwrap();
        assert_eq!(repaired.len(), lost.count_ones() as usize);
        for path in bench.copies() {
            assert_eq!(std::fs::read(path).unwrap(), before);
        }
        assert!(
            bench
                .auto()
                .unwrap()
                .copies()
                .iter()
                .all(CopyReport::is_good)
        );
    }
}

#[test]
fn a_forged_copy_with_a_higher_number_is_seen_and_repaired() {
    let bench = Bench::new();
    bench.make();
    let primary = bench.volume.join("cryptfs.volume");
    let good = std::fs::read(&primary).unwrap();
    let mut forged = good.clone();
    forged[32] = 99;
    let sum = crate::crypto::digest::sha256(&[&forged[..header::SIZE - 32]]);
    forged[header::SIZE - 32..].copy_from_slice(&sum);
    std::fs::write(&primary, &forged).unwrap();
    let mut volume = bench.auto().unwrap();
    assert_eq!(volume.copies()[0].state, CopyState::Forged);
    assert_eq!(volume.repair_copies().unwrap().len(), 1);
    assert_eq!(std::fs::read(&primary).unwrap(), good);
}

#[test]
fn a_removed_protector_does_not_open_an_old_copy() {
    let bench = Bench::new();
    let made = bench.make();
    let old = std::fs::read(bench.volume.join("cryptfs.volume")).unwrap();
    let mut volume = bench.auto().unwrap();
    let removed = made.password_id;
    volume
        .update(Some(&bench.keys()), |header, _| {
            header.slots.iter_mut().for_each(|slot| {
                if slot.as_ref().is_some_and(|p| p.id == removed) {
                    *slot = None;
                }
            });
            Ok(())
        })
        .unwrap();
    assert_eq!(
        bench.keys().headers(&volume.header().uuid).len(),
        1,
        "old copies revive it"
    );
    std::fs::write(bench.volume.join(".cryptfs/header.2"), old).unwrap();
    let locked = Locked::open(&bench.volume).unwrap();
    let error = locked
        .unlock(Credential::Recovery(&made.recovery_password))
        .unwrap_err();
    assert!(
        matches!(error, Error::ProtectorRemoved { id } if id == removed),
        "{error}"
    );
}

#[test]
fn a_rolled_back_header_stops_auto_unlock_and_there_is_a_way_on() {
    let bench = Bench::new();
    let made = bench.make();
    let old = std::fs::read(bench.volume.join("cryptfs.volume")).unwrap();
    let mut volume = bench.auto().unwrap();
    volume
        .annotate(Some(&bench.keys()), &made.password_id, |p| p.exported = 5)
        .unwrap();
    for path in bench.copies() {
        std::fs::write(path, &old).unwrap();
    }
    let error = bench.auto().unwrap_err();
    assert!(
        matches!(error, Error::RolledBack { found: 1, seen: 2 }),
        "{error}"
    );
    let locked = Locked::open(&bench.volume).unwrap();
    let volume = locked.unlock_auto(&bench.keys(), Rollback::Accept).unwrap();
    volume.remember(&bench.keys()).unwrap();
    bench.auto().unwrap();
}

#[test]
fn wrong_credentials_are_told_apart() {
    let (bench, other) = (Bench::new(), Bench::new());
    let (made, stranger) = (bench.make(), other.make());
    let locked = Locked::open(&bench.volume).unwrap();
    let error = locked
        .unlock(Credential::Recovery(&stranger.recovery_password))
        .unwrap_err();
    assert!(matches!(error, Error::WrongPassword { .. }), "{error}");
    assert!(error.to_string().contains(&uuid::short(&made.password_id)));
    let error = locked.unlock(Credential::Passphrase(b"x")).unwrap_err();
    assert!(matches!(
        error,
        Error::NoProtector(ProtectorKind::Passphrase)
    ));

    let key = bench.keys().keyfile_path(&made.volume.header().uuid);
    let theirs = other.keys().keyfile_path(&stranger.volume.header().uuid);
    let mine = std::fs::read(&key).unwrap();
    std::fs::copy(theirs, &key).unwrap();
    assert!(matches!(bench.auto(), Err(Error::KeyfileForeign { .. })));
    std::fs::write(&key, &mine[1..]).unwrap();
    assert!(matches!(bench.auto(), Err(Error::KeyfileDamaged(_))));
    std::fs::write(&key, &mine).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(bench.auto(), Err(Error::Mode { mode: 0o644, .. })));
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(bench.auto(), Err(Error::KeyfileMissing(_))));
    std::fs::set_permissions(&bench.keystore, PermissionsExt::from_mode(0o755)).unwrap();
    assert!(matches!(
        Keystore::open(Some(&bench.keystore)),
        Err(Error::Mode { .. })
    ));
}

#[test]
fn exchanged_groups_are_found() {
    let bench = Bench::new();
    let made = bench.make();
    let typed = made.recovery_password.swapped().nth(3).unwrap();
    let mut attempts = 0;
    let locked = Locked::open(&bench.volume).unwrap();
    let (_, swapped) = locked
        .unlock_recovery(&typed, &mut |i, _| attempts = i)
        .unwrap();
    assert_eq!(swapped, Swapped::Yes);
    assert!((1..=4).contains(&attempts));
}

#[test]
fn enrolling_again_replaces_this_keystores_keyfile() {
    let bench = Bench::new();
    let made = bench.make();
    let uuid = made.volume.header().uuid;
    std::fs::remove_file(bench.keys().keyfile_path(&uuid)).unwrap();
    for _ in 0..3 {
        let locked = Locked::open(&bench.volume).unwrap();
        let mut volume = locked
            .unlock(Credential::Recovery(&made.recovery_password))
            .unwrap();
        volume.enrol(&bench.keys(), None).unwrap();
        assert_eq!(volume.header().protectors().count(), 2);
        bench.auto().unwrap();
    }
}

#[test]
fn an_enrolment_cut_short_still_opens() {
    let bench = Bench::new();
    let made = bench.make();
    let uuid = made.volume.header().uuid;
    let key = bench.keys().keyfile_path(&uuid);
    let old = std::fs::read(&key).unwrap();
    bench.auto().unwrap().enrol(&bench.keys(), None).unwrap();
    // As if the power had gone between the header and the rename.
    std::fs::rename(&key, key.with_extension("key.new")).unwrap();
    std::fs::write(&key, old).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    bench.auto().unwrap();
}

#[test]
fn two_writers_do_not_lose_each_others_change() {
    let bench = Bench::new();
    let made = bench.make();
    let (mut one, mut other) = (bench.auto().unwrap(), bench.auto().unwrap());
    one.annotate(None, &made.password_id, |p| p.exported = 5)
        .unwrap();
    other
        .annotate(None, &made.password_id, |p| {
            p.state = ProtectorState::RotateDue
        })
        .unwrap();
    let header = bench.auto().unwrap().header().clone();
    let slot = header
        .protectors()
        .find(|p| p.id == made.password_id)
        .unwrap();
    assert_eq!(
        (header.sequence, slot.state),
        (3, ProtectorState::RotateDue)
    );
}

#[test]
fn only_an_empty_place_becomes_a_volume() {
    let bench = Bench::new();
    let again = || {
        create(&bench.volume, &CreateOptions::default(), &bench.keys())
            .err()
            .unwrap()
    };
    std::fs::create_dir(&bench.volume).unwrap();
    std::fs::write(bench.volume.join("file"), "x").unwrap();
    assert!(matches!(again(), Error::NotEmpty(_)));
    std::fs::remove_file(bench.volume.join("file")).unwrap();
    bench.make();
    assert!(matches!(again(), Error::AlreadyAVolume(_)));
    let plain = bench.keystore.join("plain");
    std::fs::write(&plain, "x").unwrap();
    assert!(matches!(
        create(&plain, &CreateOptions::default(), &bench.keys()),
        Err(Error::WrongType(_))
    ));
    assert!(matches!(
        Locked::open(&bench.keystore),
        Err(Error::NotAVolume(_))
    ));
    assert!(matches!(
        Locked::open(&bench.volume.join("none")),
        Err(Error::Missing(_))
    ));
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let bench = Bench::new();
    let keys = bench.keys();
    let options = CreateOptions {
        iterations: 0,
        ..CreateOptions::default()
    };
    assert!(matches!(
        create(&bench.volume, &options, &keys),
        Err(Error::Cost)
    ));
    assert!(!bench.volume.exists());
    let kept = std::fs::read_dir(&bench.keystore).unwrap();
    let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept, ["id"]); // the keystore's own, whatever volumes it knows
}

#[test]
fn one_writer_or_many_readers() {
    let bench = Bench::new();
    bench.make();
    let place = || Place::open(&bench.volume).unwrap();
    let writer = place().lock(Access::ReadWrite).unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        assert!(matches!(
            place().lock(access),
            Err(Error::AlreadyMounted(_))
        ));
    }
    drop(writer);
    let _readers = [
        place().lock(Access::ReadOnly).unwrap(),
        place().lock(Access::ReadOnly).unwrap(),
    ];
    assert!(matches!(
        place().lock(Access::ReadWrite),
        Err(Error::AlreadyMounted(_))
    ));
}

#[test]
fn mounting_repairs_and_keeps_the_state() {
    let bench = Bench::new();
    bench.make();
    std::fs::remove_dir_all(bench.volume.join(".cryptfs")).unwrap();
    let options = MountOptions {
        access: Access::ReadWrite,
        rollback: Rollback::Refuse,
    };
    let keys = bench.keys();
    let open = || Mountable::open(&bench.volume, &keys, options, &|_| Ok(true));
    let mut mount = open().unwrap();
    assert_eq!(mount.repaired.len(), 2);
    assert!(matches!(open(), Err(Error::AlreadyMounted(_))));
    mount.witness.saw(7, &keys).unwrap();
    drop(mount);
    let mount = open().unwrap();
    assert_eq!(mount.witness.generation(), 7);
    assert!(mount.repaired.is_empty());
    assert!(
        mount.warnings[0].contains("was never exported"),
        "{:?}",
        mount.warnings
    );
}

#[test]
fn a_newer_format_is_refused_and_not_repaired_away() {
    let bench = Bench::new();
    bench.make();
    let path = bench.volume.join(".cryptfs/header.1");
    let mut newer = std::fs::read(&path).unwrap();
    newer[8] = 2;
    let sum = crate::crypto::digest::sha256(&[&newer[..header::SIZE - 32]]);
    newer[header::SIZE - 32..].copy_from_slice(&sum);
    std::fs::write(&path, &newer).unwrap();
    assert!(matches!(bench.auto(), Err(Error::Unsupported(_))));
}

#[test]
fn kits_carry_the_header() {
    let bench = Bench::new();
    let made = bench.make();
    let bytes = kit::write(made.volume.header_bytes());
    assert_eq!(kit::read(&bytes).unwrap().bytes, made.volume.header_bytes());
    for i in (0..bytes.len()).step_by(97) {
        let mut bad = bytes.clone();
        bad[i] ^= 1;
        assert!(kit::read(&bad).is_err());
        assert!(kit::read(&bytes[..i]).is_err());
    }
}

#[test]
fn the_audit_log_is_a_chain() {
    let bench = Bench::new();
    let keys = bench.keys();
    let log = audit::AuditLog::of(&keys);
    let event = audit::Event {
        action: "erase", // done while the volume is locked, so without a MAC
        volume: &[1; 16],
        protector: None,
        result: "disclosed",
    };
    for _ in 0..3 {
        log.append(&event).unwrap();
    }
    let key = crate::crypto::secret::Secret::random();
    log.append_sealed(&key, &event).unwrap();
    let same = |_: &[u8; 16]| {
        Some(crate::crypto::secret::Secret::fill_with(|k| {
            *k = *key.expose()
        }))
    };
    let verify = |expect| log.verify(&mut { same }, expect).unwrap();
    let found = verify(None);
    assert!(found.is_good());
    assert_eq!((found.lines, found.open, found.sealed), (4, 3, 1));
    let noted = found.last;
    log.append(&event).unwrap();
    assert_eq!(verify(Some(&noted)).expected, Some(4));
    let text = std::fs::read_to_string(log.path()).unwrap();
    std::fs::write(log.path(), text.replacen("disclosed", "forgotten", 1)).unwrap();
    assert_eq!(verify(None).broken, Some(2));
    // A whole chain made anew lacks the key for its sealed lines.
    std::fs::write(
        log.path(),
        text.replacen("\"protector\":null", "\"protector\":0", 9),
    )
    .unwrap();
    assert_eq!(verify(None).forged, [4]);
    let other = log.verify(&mut |_| None, None).unwrap();
    assert_eq!((other.unknown, other.forged.len()), (1, 0));
    std::fs::remove_file(log.path()).unwrap();
    std::fs::create_dir(log.path()).unwrap();
    assert!(matches!(log.append(&event), Err(Error::Audit { .. })));
}

/// Two commands that were started from one state of the header: neither revives what the other removed.
#[test]
fn a_change_begins_from_the_newest_header() {
    let bench = Bench::new();
    let made = bench.make();
    let (mut one, mut other) = (bench.auto().unwrap(), bench.auto().unwrap());
    let (kept, _) = one
        .add_recovery_password(Some(&bench.keys()), true, 1000, "")
        .unwrap();
    let proven = |p: &mut Protector| p.state = ProtectorState::Active;
    one.annotate(Some(&bench.keys()), &kept, proven).unwrap();
    let removed = uuid::text(&made.password_id);
    one.remove_protector(Some(&bench.keys()), &removed).unwrap();
    let (added, _) = other
        .add_recovery_password(Some(&bench.keys()), true, 1000, "")
        .unwrap();
    let volume = bench.auto().unwrap();
    let ids: Vec<_> = volume.header().protectors().map(|p| p.id).collect();
    assert!(ids.contains(&kept) && ids.contains(&added) && !ids.contains(&made.password_id));
}

/// A lock on a directory keeps nobody out on network file systems.
#[test]
fn the_header_lock_is_on_a_file() {
    let bench = Bench::new();
    bench.make();
    let place = Place::open(&bench.volume).unwrap();
    let held = place.lock_header().unwrap();
    let file = std::fs::File::open(bench.volume.join(".cryptfs/header.lock")).unwrap();
    let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    assert_eq!(
        rustix::fs::flock(&file, how),
        Err(rustix::io::Errno::WOULDBLOCK)
    );
    drop(held);
    rustix::fs::flock(&file, how).unwrap();
}

/// The kernel gave the lock back when the process closed any other descriptor of the image.
#[test]
fn the_lock_of_an_images_header_outlives_other_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, vec![0; 1 << 16]).unwrap();
    let place = Place::open(&path).unwrap();
    let held = place.lock_header().unwrap();
    drop(Place::open(&path).unwrap());
    let other = std::fs::File::options().write(true).open(&path).unwrap();
    let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let refused = rustix::fs::fcntl_lock(&other, how);
    assert!(refused.is_err());
    drop(held);
    rustix::fs::fcntl_lock(&other, how).unwrap();
}

/// Old volumes took a passphrase as it was typed.
#[test]
fn a_passphrase_that_was_not_normalised_still_opens() {
    let bench = Bench::new();
    bench.make();
    let typed = "Ko\u{308}nigin der Nacht".as_bytes();
    let light = crate::crypto::kdf::Stretch::Argon2id {
        passes: 1,
        memory_kib: 64,
        lanes: 1,
    };
    let new = protector::NewProtector {
        credential: Credential::Passphrase(typed),
        stretch: light,
        state: ProtectorState::Active,
        escrow: false,
        host: [0; 16],
        description: "",
    };
    bench.auto().unwrap().add_protector(None, &new).unwrap();
    let locked = Locked::open(&bench.volume).unwrap();
    locked.unlock_passphrase(typed).unwrap();
    let wrong = locked.unlock_passphrase(b"something else").unwrap_err();
    assert!(matches!(wrong, Error::WrongPassphrase));
}

/// A copy that anyone may have put there does not hold up the right slot, and no slot takes minutes.
#[test]
fn slots_that_two_copies_have_are_tried_before_dear_ones_of_a_single_copy() {
    let bench = Bench::new();
    let made = bench.make();
    let path = bench.volume.join(".cryptfs/header.2");
    let mut hostile = std::fs::read(&path).unwrap();
    hostile[32] = 99;
    for slot in 0..12 {
        let at = 3072 + slot * 1024;
        let (id, cost) = ([slot as u8 + 1; 16], (1u32 << 26).to_le_bytes());
        hostile.copy_within(3072 + 1024..3072 + 2048, at);
        hostile[at + 4..at + 8].copy_from_slice(&cost);
        hostile[at + 16..at + 32].copy_from_slice(&id);
    }
    let sum = crate::crypto::digest::sha256(&[&hostile[..header::SIZE - 32]]);
    hostile[header::SIZE - 32..].copy_from_slice(&sum);
    std::fs::write(&path, &hostile).unwrap();
    let locked = Locked::open(&bench.volume).unwrap();
    let credential = Credential::Recovery(&made.recovery_password);
    let tries = locked.tried_in_order(&credential);
    assert_eq!(tries.len(), 13);
    assert_eq!(tries[0], made.password_id);
    let volume = locked.unlock(credential).unwrap();
    assert_eq!(volume.copies()[2].state, CopyState::Forged);
    // All of them, as nothing opens: none is worth starting on.
    let wrong = RecoveryPassword::random();
    let refused = locked.unlock(Credential::Recovery(&wrong));
    assert!(matches!(refused, Err(Error::WrongPassword { .. })));
}

#[test]
fn a_fifo_in_place_of_a_header_does_not_block() {
    let bench = Bench::new();
    bench.make();
    let path = bench.volume.join("cryptfs.volume");
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let mut volume = bench.auto().unwrap();
    assert!(matches!(volume.copies()[0].state, CopyState::Unreadable(_)));
    volume.repair_copies().unwrap();
    assert!(bench.auto().unwrap().copies()[0].is_good());
}

#[test]
fn secrets_do_not_print() {
    let key: Secret<32> = Secret::random();
    assert_eq!(format!("{key:?}"), "Secret(32 bytes)");
}
