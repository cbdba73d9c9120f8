//! What ten thousand links cost, beside a naive loop of threads, the least that a thread for each
//! socket can do, and one epoll loop, which is the limit. `cargo bench --bench scale` prints it.
//!
//! Each contestant runs in a process of its own, and so does the other end: only the contestant's
//! own process is measured. They take turns, so that all suffer alike from what else the machine
//! does; only ratios of one run mean anything. A short run:
//! `KEEPBEAT_SCALE_LINKS=500 KEEPBEAT_SCALE_ROUNDS=1 KEEPBEAT_SCALE_SECONDS=3`.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `KEEPBEAT_SCALE_LINKS` | numbers of links, each a table of its own | `1000,10000` |
//! | `KEEPBEAT_SCALE_ROUNDS` | turns of each contestant | 3 |
//! | `KEEPBEAT_SCALE_SECONDS` | seconds that are measured, once all links are up | 8 |
//! | `KEEPBEAT_SCALE_ONLY` | contestants, by name | all |
//! | `KEEPBEAT_SCALE_BEFORE` | this benchmark, built of an older version, to compare with | |
//! | `KEEPBEAT_SCALE_FILL` | `1`: also how many links fit into one process | |

mod contestants;
mod far_end;
mod measure;
mod ours;
mod table;

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use measure::{Figures, Run};

fn main() {
    measure::raise_files();
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["--far-end"] => far_end::answer(),
        ["--run", name, rest @ ..] => {
            let figures = contestants::run(name, &Run::parse(rest));
            println!("{figures}");
        }
        // `cargo test --benches` only asks whether it runs.
        words if words.contains(&"--bench") => compare(),
        _ => {}
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    let set = std::env::var(format!("KEEPBEAT_SCALE_{name}")).ok();
    set.map_or(default, |set| set.parse().ok().unwrap_or_else(|| panic!("{name}={set}: not valid")))
}

/// A contestant: its name, and the program that it is part of.
struct Contestant {
    name: String,
    shown: String,
    program: PathBuf,
}

fn contestants() -> Vec<Contestant> {
    let only = setting("ONLY", String::new());
    let only: Vec<_> = only.split(',').filter(|name| !name.is_empty()).collect();
    let own = std::env::current_exe().expect("the path of this program");
    let older = setting("BEFORE", String::new());
    let mut all = Vec::new();
    for name in contestants::NAMES {
        let is_wanted = only.is_empty() || only.contains(&name);
        let contestant = |shown: String, program: &Path| Contestant {
            name: name.to_owned(),
            shown,
            program: program.to_owned(),
        };
        if is_wanted {
            all.push(contestant(name.to_owned(), &own));
        }
        if is_wanted && !older.is_empty() && contestants::BEFORE.contains(&name) {
            all.push(contestant(format!("{name}, before"), Path::new(&older)));
        }
    }
    all
}

fn compare() {
    let contestants = contestants();
    let rounds: usize = setting("ROUNDS", 3);
    let seconds: u64 = setting("SECONDS", 8);
    let far_end = FarEnd::start();
    let links = setting("LINKS", "1000,10000".to_owned());
    let mut network = 1;
    for links in links.split(',').map(|n| n.parse().expect("a number of links")) {
        let mut found: Vec<Vec<Figures>> = contestants.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for turn in 0..contestants.len() {
                // Who comes first changes, because what else the machine does changes, too.
                let which = (turn + round) % contestants.len();
                // An address of its own each time: no port that waits for its last packets is met.
                let address = Ipv4Addr::new(127, 1, (network / 200) as u8, (network % 200) as u8);
                network += 1;
                let run = Run { address: (address, far_end.port).into(), links, seconds };
                found[which].push(run_one(&contestants[which], &run, &[]));
            }
        }
        let shown = contestants.iter().map(|contestant| contestant.shown.as_str());
        table::print(links, rounds, &shown.zip(&found).collect::<Vec<_>>());
    }
    let address = |n| (Ipv4Addr::new(127, 2, 0, n), far_end.port).into();
    for (n, contestant) in (1..).zip(&contestants) {
        match system_calls(contestant, address(n)) {
            Some(calls) => println!("{}: {calls:.2} system calls a beat", contestant.shown),
            None => println!("{}: strace is not installed, or may not trace", contestant.shown),
        }
    }
    if setting("FILL", 0) == 1 {
        let address = Ipv4Addr::new(127, 3, 0, 1);
        let run = Run { address: (address, far_end.port).into(), links: 30_000, seconds: 0 };
        for contestant in contestants.iter().filter(|one| one.name == "keepbeat") {
            let figures = run_one(contestant, &run, &[("KEEPBEAT_SCALE_FILLS", "1")]);
            println!("{}: {:.0} links in one process", contestant.shown, figures.get("links"));
        }
    }
}

/// One turn, in a process of its own.
fn run_one(contestant: &Contestant, run: &Run, variables: &[(&str, &str)]) -> Figures {
    let mut command = Command::new(&contestant.program);
    command.args(["--run", &contestant.name]).args(run.words());
    let output = command.envs(variables.iter().copied()).stderr(Stdio::inherit()).output();
    let output = output.expect("this program starts");
    assert!(output.status.success(), "{} failed: {}", contestant.shown, output.status);
    Figures::parse(&String::from_utf8_lossy(&output.stdout))
}

/// The difference between a short run and a longer one: what a start and an end take is in both.
fn system_calls(contestant: &Contestant, address: std::net::SocketAddr) -> Option<f64> {
    let count = |seconds| {
        let file = std::env::temp_dir().join(format!("keepbeat-scale-{}", std::process::id()));
        let run = Run { address, links: 50, seconds };
        let output = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-o"])
            .arg(&file)
            .arg(&contestant.program)
            .args(["--run", &contestant.name])
            .args(run.words())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let figures = Figures::parse(&String::from_utf8_lossy(&output.stdout));
        let text = std::fs::read_to_string(&file).ok()?;
        let _ = std::fs::remove_file(&file); // it lies in the folder for such files
        let total = text.lines().find(|line| line.trim_end().ends_with("total"))?;
        let calls: f64 = total.split_whitespace().next()?.parse().ok()?;
        Some((calls, figures.get("all beats")))
    };
    let ((few, short), (many, long)) = (count(2)?, count(10)?);
    Some((many - few) / (long - short))
}

/// The other end, in a process of its own.
struct FarEnd {
    child: Child,
    port: u16,
}

impl FarEnd {
    fn start() -> FarEnd {
        let mut child = Command::new(std::env::current_exe().expect("the path of this program"))
            .arg("--far-end")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("the port of the other end");
        FarEnd { child, port: line.trim().parse().expect("a port") }
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may be gone
        let _ = self.child.wait();
    }
}
