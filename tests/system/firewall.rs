//! The demo behind a firewall that forgets, as a stranger runs it; and what it says where it
//! cannot.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Trial;

use crate::{Need, trial};

/// What the demo runs, without what it runs it for.
const HOSTS: &str = include_str!("../../examples/keepbeat/firewall.sh");

pub fn trials() -> Vec<Trial> {
    vec![
        trial("the_demo_shows_a_firewall_that_forgets_and_what_helps", need(), shows),
        trial("what_the_firewall_demo_lacks_is_said_plainly", Ok(()), lacks),
    ]
}

fn need() -> Need {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec", HOSTS, "sh", "1"]);
    if command.output().is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Err("needs `unshare`, `ip` and `nft`, user namespaces that are allowed, and connection \
         tracking in the kernel"
        .to_owned())
}

fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples/keepbeat");
    assert!(path.exists(), "{} is missing: cargo build --example keepbeat", path.display());
    path
}

fn demo(flags: &[&str], path: Option<&Path>) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.arg("demo-firewall").args(flags);
    // That of this test run is not for the demo.
    for name in ["KEEPBEAT_REQUIRE", "KEEPBEAT_LAB", "TERM", "LANG", "LC_ALL", "LC_CTYPE"] {
        command.env_remove(name);
    }
    path.into_iter().for_each(|path| {
        command.env("PATH", path);
    });
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn shows() {
    let record = std::env::temp_dir().join(format!("keepbeat-firewall-{}", std::process::id()));
    let (code, out, err) = demo(&["--record", record.to_str().unwrap()], None);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let seldom: Vec<_> = out.lines().filter(|line| line.contains("  seldom  ")).collect();
    let has = |mark: &str, words: &str| {
        seldom.iter().filter(|line| line.contains(mark) && line.contains(words)).count()
    };
    let (suspect, fell) = (has("◐ suspect", "no ack of"), has("✖ down", "no ack of"));
    assert_eq!((suspect, fell), (2, 2), "{out}");
    // The first time it is named when the old connection has tried in vain beside a fresh one, the
    // second time from the beginning.
    assert!(has("◆ diagnosed", "flow-forgotten") >= 1, "{out}");
    assert_eq!(has("✖ down", "flow-forgotten  ") + has("✖ down", "ack-timeout  "), 2, "{out}");
    assert!(has("✖ down", "flow-forgotten  ") >= 1, "{out}");
    for words in [
        "a fresh connection was answered at once",
        "it had been idle for 3.",
        "beat more often, every ",
        "a firewall or NAT before 203.0.113.2:7000 forgets connections after",
        ": flow-dropped",
    ] {
        assert!(out.contains(words), "no `{words}`:\n{out}");
    }
    let (first, second) = out.split_once("-- a fresh connection passes").unwrap();
    let again = "for the second time";
    assert!(!first.contains(again) && second.contains(again), "{out}");
    let (_, summary) = out.split_once("\n\n").unwrap();
    for (name, lost) in [("often", false), ("seldom", true), ("advised", false)] {
        let row = summary.lines().find(|row| row.starts_with(name)).unwrap();
        let cells: Vec<_> = row.split_whitespace().collect();
        assert!(cells[1..3] == ["●", "up"] && (cells[3] != cells[4]) == lost, "{out}");
    }
    let explained = Command::new(binary()).arg("explain").arg(&record).output().unwrap();
    std::fs::remove_file(&record).unwrap();
    let text = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.status.success() && !text.contains("recorded as"), "{text}");
    assert!(
        text.contains("flow-forgotten          likely: ") && text.contains("acked in"),
        "{text}"
    );
}

/// Without the tools, and with tools that fail.
fn lacks() {
    let folder = std::env::temp_dir().join(format!("keepbeat-no-tools-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let unshare = folder.join("unshare");
    std::fs::write(&unshare, "#!/bin/sh\necho not for you >&2\nexit 1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&unshare, mode).unwrap();
    let (code, out, err) = demo(&[], Some(&folder));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{err}");
    assert!(err.starts_with("keepbeat: demo-firewall cannot run here: "), "{err}");
    let missing = err.contains("is missing; on Debian: apt-get install");
    let refused = err.contains("needs root or user namespaces") && err.contains("not for you");
    assert!(missing || refused, "{err}");
}
