//! How a new recovery password reaches the people who keep it: printed, on a sheet, split among several, sealed to an
//! organisation's public key.
use super::sheet::{Sheet, SheetArgs};
use super::{Code, Error, Result, kit, message};
use crate::printable::printable;
use crate::volume::share::{Share, Split};
use crate::volume::uuid;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of the commands that make a recovery password.
#[derive(Args, Clone, Debug)]
pub struct DeliverArgs {
    #[command(flatten)]
    pub sheet: SheetArgs,
    /// Print shares instead, any K of N of which open the volume: 2of3. Nothing is kept in escrow then
    #[arg(long, value_name = "KofN", conflicts_with = "file")]
    pub split: Option<Split>,
    /// Also seal the sheet's text to this public key: age1... or "ssh-ed25519 ..."; needs age or rage
    #[arg(
        long,
        value_name = "RECIPIENT",
        requires = "sealed",
        conflicts_with = "split"
    )]
    pub seal_to: Option<String>,
    /// Where to write what is sealed
    #[arg(long, value_name = "FILE", requires = "seal_to")]
    pub sealed: Option<PathBuf>,
}

/// Where the programs are looked for: a secret is not handed to whatever a PATH may name.
const PROGRAMS: [&str; 4] = [
    "/usr/bin/age",
    "/usr/bin/rage",
    "/usr/local/bin/age",
    "/usr/local/bin/rage",
];

impl DeliverArgs {
    /// True if the password is to be kept in the header, too.
    pub fn escrow(&self, no_escrow: bool) -> bool {
        !no_escrow && self.split.is_none()
    }

    /// True if the password leaves by another way than standard output.
    pub fn elsewhere(&self) -> bool {
        self.sheet.file.is_some() || self.sealed.is_some()
    }

    /// Says what would be wrong, before anything is done that could not be taken back.
    pub fn check(&self, volume: &Path) -> Result<()> {
        self.sheet.check(volume)?;
        let Some(file) = &self.sealed else {
            return Ok(());
        };
        if file.exists() {
            let message = format!("{} exists", printable(file));
            let hint = "name a file that does not exist";
            return Err(Error::told(Code::Place, message, hint));
        }
        // A recipient that is refused is found out before there is a secret.
        let trial = self.seal(b"")?;
        drop(trial);
        Ok(())
    }

    /// The option that a command which reads the password needs, with a space before it.
    pub fn shares(&self) -> &'static str {
        match self.split {
            Some(_) => " --shares",
            None => "",
        }
    }

    /// What is noted of a password that was split: it is typed in shares.
    pub fn remark(&self) -> String {
        let remark = |split: Split| format!("split {}of{}", split.needed, split.made);
        self.split.map_or(String::new(), remark)
    }

    /// Prints the password or its shares, and writes the sheet and what is sealed.
    pub fn hand_over(&self, sheet: &Sheet<'_>) -> Result<()> {
        self.print(sheet)?;
        self.write(sheet)
    }

    /// Prints the password or its shares.
    pub fn print(&self, sheet: &Sheet<'_>) -> Result<()> {
        outln!("Password ID:        {}", uuid::text(sheet.id))?;
        let Some(split) = self.split else {
            return outln!("Recovery password:  {}", sheet.password.reveal());
        };
        for share in Share::split(sheet.password, split) {
            let name = format!("Share {} of {}:", share.number(), split.made);
            outln!("{name:<20}{share}")?;
        }
        let id = uuid::short(sheet.id);
        let needed = split.needed;
        message::note(format_args!(
            "any {needed} of these open the volume: cryptfs recover --shares; give each to another keeper, with the ID {id}"
        ));
        Ok(())
    }

    /// Writes the sheet and what is sealed.
    pub fn write(&self, sheet: &Sheet<'_>) -> Result<()> {
        self.sheet.write(sheet)?;
        let Some(file) = &self.sealed else {
            return Ok(());
        };
        let sealed = self.seal(sheet.text().as_bytes())?;
        kit::write_new(file, &sealed, sheet.owner())?;
        message::note(format_args!(
            "sealed to the recipient's key: {}; only who has the private key can read it",
            printable(file)
        ));
        Ok(())
    }

    /// By age: the text goes by a pipe, and only the public key is an argument.
    fn seal(&self, text: &[u8]) -> Result<Vec<u8>> {
        let Some(program) = PROGRAMS.iter().find(|path| Path::new(path).exists()) else {
            let message = "neither age nor rage is installed";
            let hint = "install one of them: apt install age";
            return Err(Error::told(Code::Failure, message, hint));
        };
        let path = Path::new(program);
        let mut child = Command::new(program)
            .args(["--encrypt", "--armor", "--recipient"])
            .arg(self.seal_to.as_deref().unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io(path))?;
        let written = child
            .stdin
            .take()
            .map_or(Ok(()), |mut to| to.write_all(text));
        let output = child.wait_with_output().map_err(Error::io(path))?;
        if !output.status.success() {
            // What age says is about the recipient; it never repeats the text.
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or("no reason given");
            let message = format!("{program} refused the recipient: {first}");
            let hint = "a recipient is age1... or \"ssh-ed25519 AAAA...\"";
            return Err(Error::told(Code::Usage, message, hint));
        }
        written.map_err(Error::io(path))?;
        Ok(output.stdout)
    }
}
