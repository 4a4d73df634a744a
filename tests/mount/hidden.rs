//! An ordinary user's file stays usable where it is open, although its directory lets nobody in any more.
use crate::needs;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

const STEPS: &str = r#"
set -e
cd "$HOME"
export CRYPTFS_KEYSTORE="$HOME/keys"
"$PROGRAM" init --quiet --pbkdf2-iterations 1000 volume
mkdir mnt
"$PROGRAM" mount volume mnt
mkdir -p mnt/dir/sub
echo first >mnt/dir/file
echo first >mnt/dir/sub/file
"$PROGRAM" umount mnt
"$PROGRAM" mount volume mnt
exec 3<>mnt/dir/file 4<>mnt/dir/sub/file
chmod 0 mnt/dir
for number in 3 4; do
    read -r line <&$number && test "$line" = first
    echo second >&$number
    sync -d /proc/self/fd/$number
done
! cat mnt/dir/file 2>/dev/null
chmod 700 mnt/dir
exec 3<&- 4<&-
"$PROGRAM" umount mnt
"$PROGRAM" mount volume mnt
test "$(cat mnt/dir/file mnt/dir/sub/file | tr '\n' ' ')" = "first second first second "
"$PROGRAM" umount mnt
"$PROGRAM" check volume
"#;

#[test]
fn an_open_file_in_a_directory_with_mode_zero() {
    if !needs::fuse() || !needs::program("fusermount3") {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    // The program must be where the user can run it.
    let program = home.path().join("cryptfs");
    fs::copy(env!("CARGO_BIN_EXE_cryptfs"), &program).expect("copy");
    let root = rustix::process::geteuid().is_root();
    let mut shell = match root {
        true => {
            if !needs::program("setpriv") {
                return;
            }
            chown(home.path(), Some(65534), Some(65534)).expect("chown");
            fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("chmod");
            let mut shell = Command::new("setpriv");
            shell.args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash"]);
            shell
        }
        false => Command::new("bash"),
    };
    shell
        .args(["-c", STEPS])
        .env("PROGRAM", &program)
        .env("HOME", home.path());
    let done = shell.output().expect("run a shell");
    let point = home.path().join("mnt");
    let _ = Command::new("fusermount3").arg("-uzq").arg(&point).output();
    let said = String::from_utf8_lossy(&done.stderr);
    if said.contains("fusermount3") {
        needs::say(&format!("no mount for users here: {said}"));
        return;
    }
    assert!(done.status.success(), "{said}");
}
