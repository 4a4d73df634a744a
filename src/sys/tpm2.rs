//! tpm2-tools: seals a small secret with the computer's TPM2. Nothing is kept in the TPM2: the key above the secret is derived
//! from the TPM2's own seed each time. Between tools and TPM2 the secret is encrypted under a session, against who listens
//! on the bus. It is not bound to what was booted: that would make each firmware update a case for the recovery password.
use super::program::{MemoryFile, Program};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::io;

/// The kernel's resource manager: one that programs share.
const DEVICE: &str = "/dev/tpmrm0";
/// The key above: with anything else here it is another key.
const PRIMARY: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
/// Of the sealed secret. No dictionary attack protection: there is no password that others could lock by guessing.
const SEALED: &str = "fixedtpm|fixedparent|userwithauth|noda";

/// Why it cannot be used here.
pub fn missing() -> Option<String> {
    if let Some(why) = tool("tpm2_unseal", |program| program.missing()) {
        return Some(format!("{why} (package tpm2-tools)"));
    }
    if named_tcti().is_some() {
        return None;
    }
    Some(
        match access(DEVICE, Access::READ_OK | Access::WRITE_OK).err()? {
            Errno::NOENT => {
                format!("no {DEVICE}: there is no TPM2, or the firmware has switched it off")
            }
            Errno::ACCESS => format!("no right to use {DEVICE}: be in the group tss"),
            error => format!("{DEVICE}: {error}"),
        },
    )
}

/// Seals `secret`, of at most 128 bytes: its public part, then the sealed one, each a TPM2B of the TPM 2.0 library.
pub fn seal(secret: &[u8]) -> io::Result<Vec<u8>> {
    let tpm = Tpm::start()?;
    let (mut public, mut private) = (MemoryFile::new(&[])?, MemoryFile::new(&[])?);
    let (above, session) = (&tpm.primary.path(), &tpm.session.path());
    let into = ["-u", &public.path(), "-r", &private.path()];
    let like = ["-Q", "-g", "sha256", "-a", SEALED, "-i", "-"];
    let by = ["-C", above, "-S", session];
    tpm.run(
        "tpm2_create",
        &[&like[..], &by, &into].concat(),
        secret,
        &mut [],
    )?;
    Ok([public.read()?, private.read()?].concat())
}

/// Opens what [`seal`] made, straight into `buffer`. The bytes that there were: none, where it is cut off.
pub fn open(sealed: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
    let Some((public, private)) = split(sealed) else {
        return Ok(0);
    };
    let (public, private) = (MemoryFile::new(public)?, MemoryFile::new(private)?);
    let object = MemoryFile::new(&[])?;
    let tpm = Tpm::start()?;
    let (above, session) = (&tpm.primary.path(), &tpm.session.path());
    let (public, private, object) = (&public.path(), &private.path(), &object.path());
    let load = ["-Q", "-C", above, "-u", public, "-r", private, "-c", object];
    let loaded = tpm.run("tpm2_load", &load, &[], &mut []);
    loaded.map_err(|error| match error.to_string() {
        said if said.contains("integrity") => io::Error::other(format!(
            "{said}; it is of another TPM2, or this one was cleared, or it is damaged"
        )),
        _ => error,
    })?;
    tpm.run("tpm2_unseal", &["-c", object, "-S", session], &[], buffer)
}

/// Two TPM2B: each begins with its length.
fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u16::from_be_bytes(*sealed.first_chunk()?);
    sealed.split_at_checked(2 + usize::from(length))
}

/// The key above and a session that encrypts, as the tools keep them between two runs.
struct Tpm {
    primary: MemoryFile,
    session: MemoryFile,
}

impl Tpm {
    fn start() -> io::Result<Self> {
        let (primary, session) = (MemoryFile::new(&[])?, MemoryFile::new(&[])?);
        let tpm = Self { primary, session };
        let (above, session) = (&tpm.primary.path(), &tpm.session.path());
        let like = ["-Q", "-C", "o", "-g", "sha256", "-G", "ecc256:aes128cfb"];
        let create = [&like[..], &["-a", PRIMARY, "-c", above]].concat();
        tpm.run("tpm2_createprimary", &create, &[], &mut [])?;
        let start = ["-Q", "--hmac-session", "-c", above, "-S", session];
        tpm.run("tpm2_startauthsession", &start, &[], &mut [])?;
        Ok(tpm)
    }

    fn run(&self, name: &str, args: &[&str], input: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let ran = run(name, args, input, out);
        // Without a resource manager the TPM2 keeps what a tool has loaded, and is full after three.
        let _ = run("tpm2_flushcontext", &["-t"], &[], &mut []);
        ran
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = run("tpm2_flushcontext", &[&self.session.path()], &[], &mut []);
    }
}

fn run(name: &str, args: &[&str], input: &[u8], output: &mut [u8]) -> io::Result<usize> {
    // Named always: left alone, the tools would take whoever listens on the simulator's port of this computer.
    let tcti = named_tcti().unwrap_or_else(|| format!("device:{DEVICE}"));
    let args = [&["-T", &tcti], args].concat();
    tool(name, |program| program.run(&args, input, output))
}

fn named_tcti() -> Option<String> {
    std::env::var("TPM2TOOLS_TCTI")
        .ok()
        .filter(|value| !value.is_empty())
}

fn tool<T>(name: &str, then: impl FnOnce(&Program<'_>) -> T) -> T {
    then(&Program {
        path: &format!("/usr/bin/{name}"),
        keeps: &[],
        silent: "it gave no reason",
    })
}
