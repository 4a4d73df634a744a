//! The oracle on itself, and the oracle against the kernel's own file system.
use super::{Case, Direct, Mounted, Profile, Rules, Subject, check, tree::Tree};
use cryptfs::fs::FileSystem;
use std::sync::Arc;

fn case(seed: u64, profile: Profile) -> Case {
    Case {
        seed,
        steps: 400,
        every: 5,
        profile,
        rules: Rules::default(),
    }
}

#[test]
fn the_oracle_agrees_with_itself() {
    for seed in 0..40 {
        let profile = Profile::direct();
        let make = || -> Box<dyn Subject> {
            let tree: Arc<dyn FileSystem> = Arc::new(Tree::new());
            let reopen = Box::new(move || Arc::clone(&tree));
            Box::new(Direct::new(reopen, &profile.callers, profile.umask))
        };
        check("oracle", &case(seed, profile.clone()), &make);
    }
}

#[test]
fn the_oracle_agrees_with_the_kernel() {
    let home = tempfile::tempdir().expect("a directory");
    if !rustix::process::getuid().is_root() {
        eprintln!("NOT RUN in part: changes of owner and devices need root");
    }
    for seed in 0..40 {
        let make = || -> Box<dyn Subject> {
            let root = tempfile::tempdir_in(&home).expect("a directory").keep();
            rustix::fs::chmod(&root, 0o755.into()).expect("chmod");
            Box::new(Mounted::new(&root, None))
        };
        check("kernel", &case(seed, Profile::mounted()), &make);
    }
}
