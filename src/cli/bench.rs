//! `cryptfs bench`: how fast this computer's core ciphers, authenticates and seals names, beside OpenSSL. The file system
//! itself is measured by tools/bench.
use super::{Result, message};
use crate::codec::{Json, json, json_text};
use crate::crypto::bench::{self, UNIT};
use clap::Args;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Arguments of `cryptfs bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// How long to measure each line; OpenSSL's take at least a second
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = seconds)]
    pub seconds: Duration,
}

/// The lines that OpenSSL has too: how ours begins, its cipher, and the option for the direction.
const OPENSSL: [(&str, &str, &[&str]); 4] = [
    ("XTS-AES-256 encrypt", "aes-256-xts", &[]),
    ("XTS-AES-256 decrypt", "aes-256-xts", &["-decrypt"]),
    ("XTS-AES-128 encrypt", "aes-128-xts", &[]),
    ("XTS-AES-128 decrypt", "aes-128-xts", &["-decrypt"]),
];

/// One primitive. Speeds are in MB/s: 10^6 bytes.
struct Line {
    name: String,
    speed: f64,
    openssl: Option<f64>,
}

/// Runs `cryptfs bench`.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        message::warning("this is a development build, which is slower than a release");
    }
    let openssl = openssl_version();
    let lines = measure(args.seconds, openssl.is_some());
    match args.json {
        true => outln!("{}", json_text(&record(&lines, openssl.as_deref())))?,
        false => print(&lines, openssl.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(each: Duration, with_openssl: bool) -> Vec<Line> {
    let theirs: Vec<_> = OPENSSL
        .iter()
        .filter(|_| with_openssl)
        .map(|(name, cipher, options)| (*name, openssl(cipher, options, each)))
        .collect();
    let line = |(name, speed): (String, f64)| {
        let same = theirs.iter().find(|(start, _)| name.starts_with(start));
        let openssl = same.and_then(|(_, speed)| *speed);
        let speed = speed / 1e6;
        Line {
            name,
            speed,
            openssl,
        }
    };
    bench::run(each).into_iter().map(line).collect()
}

impl Line {
    fn ratio(&self) -> Option<f64> {
        self.openssl.map(|openssl| self.speed / openssl)
    }

    fn record(&self) -> Json {
        json!({
            "name": self.name,
            "mb_per_s": rounded(self.speed, 10.0),
            "openssl_mb_per_s": self.openssl.map(|speed| rounded(speed, 10.0)),
            "ratio": self.ratio().map(|ratio| rounded(ratio, 1000.0)),
        })
    }
}

fn record(lines: &[Line], openssl: Option<&str>) -> Json {
    json!({
        "bytes_at_a_time": UNIT,
        "openssl": openssl,
        "results": lines.iter().map(Line::record).collect::<Json>(),
    })
}

fn print(lines: &[Line], openssl: Option<&str>) -> Result<()> {
    outln!(
        "{:34} {:>8} {:>8} {:>6}",
        "One core, MB/s",
        "cryptfs",
        "OpenSSL",
        "ratio"
    )?;
    for line in lines {
        let theirs = line.openssl.map(|speed| format!("{speed:.0}"));
        let ratio = line.ratio().map(|ratio| format!("{ratio:.2}"));
        let [theirs, ratio] = [theirs, ratio].map(|text| text.unwrap_or_else(|| "-".to_owned()));
        outln!("{:34} {:8.0} {theirs:>8} {ratio:>6}", line.name, line.speed)?;
    }
    match openssl {
        Some(version) => outln!("{UNIT} bytes at a time; {version}"),
        None => outln!("{UNIT} bytes at a time; there is no openssl on PATH"),
    }
}

/// `OpenSSL 3.0.19 27 Jan 2026`; `None` where there is none.
fn openssl_version() -> Option<String> {
    let said = ask_openssl(&["version"])?;
    // In brackets comes the library's version, which is the same.
    Some(said.split(['(', '\n']).next()?.trim().to_owned())
}

/// MB/s of OpenSSL; `None` if this one does not know the cipher or an option. It counts in whole seconds.
fn openssl(cipher: &str, options: &[&str], each: Duration) -> Option<f64> {
    let seconds = each.as_secs_f64().ceil().to_string();
    let bytes = UNIT.to_string();
    let speed = ["speed", "-evp", cipher, "-mr", "-bytes", &bytes, "-seconds"];
    let said = ask_openssl(&[&speed, [seconds.as_str()].as_slice(), options].concat())?;
    parse_speed(&said)
}

/// From `+F:25:AES-256-XTS:7652917248.00`, its answer to `-mr`, which stands for "machine readable".
fn parse_speed(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.starts_with("+F:"))?;
    let speed: f64 = line.rsplit(':').next()?.parse().ok()?;
    (speed > 0.0).then_some(speed / 1e6)
}

fn ask_openssl(arguments: &[&str]) -> Option<String> {
    let output = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(said)
}

fn rounded(number: f64, steps: f64) -> f64 {
    (number * steps).round() / steps
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|seconds| (0.001..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number from 0.001 to 3600 is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_speed_is_read() {
        let said = "+H:4064\n+F:25:AES-256-XTS:7733519712.00\n";
        assert_eq!(parse_speed(said), Some(7733.519712));
    }

    #[test]
    fn other_words_of_openssl_are_no_speed() {
        for said in [
            "",
            "+H:4064\n",
            "+F:25:AES-256-XTS:fast\n",
            "+F:25:x:0.00\n",
        ] {
            assert_eq!(parse_speed(said), None, "{said}");
        }
    }

    #[test]
    fn openssl_stands_beside_lines_that_exist() {
        let ours = bench::run(Duration::from_millis(1));
        for (start, ..) in OPENSSL {
            assert!(ours.iter().any(|(name, _)| name.starts_with(start)));
        }
    }
}
