//! A PostgreSQL cluster on a volume, under load: now the server is killed, now the daemon. Every insert that was
//! acknowledged is there afterwards, and amcheck finds nothing. Two rounds on each kind; `CRYPTFS_KILLS=n` for n.
use super::machine::{Machine, run, said};
use crate::needs;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The server's programs, and the user that it runs as: it does not run as root.
struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
}

/// Debian keeps them in a directory for each version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let programs = versions.map(|version| version.path().join("bin"));
    programs.filter(|bin| bin.join("pg_amcheck").exists()).max()
}

impl Postgres {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("runuser");
        command
            .args(["-u", "postgres", "--"])
            .arg(self.programs.join(program));
        command.current_dir("/").stdin(Stdio::null());
        command
            .env("PGHOST", &self.sockets)
            .env("PGDATABASE", "postgres");
        command
    }

    fn sql(&self, sql: &str) -> Command {
        let mut psql = self.command("psql");
        psql.args(["-qAtc", sql]);
        psql
    }

    /// Returns once it answers: after a crash, once its log was replayed.
    fn start(&self) {
        let options = format!("-k {} -c listen_addresses=", self.sockets.display());
        let mut start = self.command("pg_ctl");
        start
            .arg("-D")
            .arg(&self.data)
            .args(["-w", "-l"])
            .arg(self.sockets.join("log"));
        let started = start
            .args(["-o", &options, "start"])
            .stdout(Stdio::null())
            .status();
        let log = || fs::read_to_string(self.sockets.join("log")).unwrap_or_default();
        assert!(started.expect("pg_ctl").success(), "{}", log());
    }

    /// Kills every process of this cluster's server, and waits for their end.
    fn kill(&self) {
        while let Some(pid) = self.process() {
            let _ = kill_process(pid, Signal::KILL);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its lock files name a process that some containers never reap.
    fn forget_the_killed(&self) {
        let _ = fs::remove_file(self.data.join("postmaster.pid"));
        let _ = fs::remove_file(self.sockets.join(".s.PGSQL.5432.lock"));
    }

    fn process(&self) -> Option<Pid> {
        let ours = |entry: &fs::DirEntry| {
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.data))
        };
        let mut found = fs::read_dir("/proc")
            .expect("procfs")
            .flatten()
            .filter(ours);
        let number = found.next()?.file_name().to_str()?.parse().ok()?;
        Pid::from_raw(number)
    }
}

/// Inserts numbers until that fails; those that were acknowledged.
fn insert(postgres: &Postgres, from: u64, over: &AtomicBool) -> Vec<u64> {
    let insert = |number: &u64| {
        let mut one = postgres.sql(&format!("insert into promised values ({number})"));
        let done = one.stdout(Stdio::null()).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success()) && !over.load(Ordering::Relaxed)
    };
    (from..).take_while(insert).collect()
}

#[test]
fn a_database_survives_the_death_of_its_server_and_of_the_daemon() {
    if !super::have(&["runuser"]) || !needs::root("PostgreSQL's own user") {
        return;
    }
    let Some(programs) = programs() else {
        needs::say("PostgreSQL (with pg_amcheck) is not installed");
        return;
    };
    for kind in super::machine::KINDS {
        survive(&Machine::new(kind), &programs);
    }
}

fn survive(machine: &Machine, programs: &Path) {
    let rounds = std::env::var("CRYPTFS_KILLS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let point = machine.mount_for_others();
    let postgres = Postgres {
        programs: programs.to_owned(),
        data: point.join("data"),
        sockets: machine.plain("sockets"),
    };
    fs::create_dir(&postgres.data).expect("mkdir");
    for dir in [machine.home(), &point] {
        run(Command::new("chmod").arg("755").arg(dir));
    }
    for dir in [&postgres.data, &postgres.sockets] {
        run(Command::new("chown").arg("postgres").arg(dir));
    }
    let mut init = postgres.command("initdb");
    run(init.args(["-A", "trust", "-k", "-D"]).arg(&postgres.data));
    postgres.start();
    run(&mut postgres
        .sql("create extension amcheck; create table promised (number bigint primary key)"));
    run(postgres.command("pgbench").args(["-q", "-i", "-s", "2"]));
    let mut promised = Vec::new();
    for round in 0..rounds {
        let over = AtomicBool::new(false);
        let mut load = postgres.command("pgbench");
        load.args(["-c", "4", "-j", "2", "-T", "60"]);
        let mut load = load
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbench");
        std::thread::scope(|scope| {
            let inserting = scope.spawn(|| insert(&postgres, round << 32, &over));
            std::thread::sleep(Duration::from_millis(2000));
            match round % 2 {
                0 => machine.kill_daemon(),
                _ => postgres.kill(),
            }
            over.store(true, Ordering::Relaxed);
            postgres.kill();
            let _ = load.kill();
            let _ = load.wait();
            promised.extend(inserting.join().expect("an inserter"));
        });
        if round % 2 == 1 {
            machine.umount();
        }
        machine.mount();
        postgres.forget_the_killed();
        postgres.start();
        let check = ["--heapallindexed", "--parent-check", "postgres"];
        run(postgres.command("pg_amcheck").args(check));
        let there = said(&mut postgres.sql("select number from promised order by number"));
        let there: Vec<u64> = there
            .lines()
            .map(|line| line.parse().expect("a number"))
            .collect();
        for number in &promised {
            assert!(
                there.binary_search(number).is_ok(),
                "round {round}: {number} is LOST"
            );
        }
    }
    let mut stop = postgres.command("pg_ctl");
    run(stop
        .arg("-D")
        .arg(&postgres.data)
        .args(["-m", "fast", "stop"])
        .stdout(Stdio::null()));
    machine.umount();
    run(machine.cryptfs(&["check"]).arg(machine.volume()));
    assert!(
        promised.len() > 10,
        "only {} inserts were acknowledged",
        promised.len()
    );
    eprintln!("{rounds} rounds, {} inserts kept", promised.len());
}
