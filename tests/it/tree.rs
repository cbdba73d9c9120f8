//! The dependency tree: no async runtime and no proc-macro crate for users of the library, and no
//! async runtime for its contributors either.

use std::process::Command;

/// What a user without async looks for first.
const ASYNC: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "futures",
    "futures-util",
    "futures-executor",
    "hyper",
    "mio",
    "async-io",
    "polling",
    "actix-rt",
    "glommio",
    "monoio",
    "async-executor",
];

/// The packages of the tree: name, then `(proc-macro)` where it is one.
fn tree(edges: &str, features: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "-e", edges, features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert!(lines.iter().any(|line| line.starts_with("crossbeam-channel ")), "{text}");
    lines
}

fn name(line: &str) -> &str {
    line.split(' ').next().unwrap()
}

#[test]
fn no_async_runtime_and_no_proc_macro_reaches_a_user() {
    for features in ["--no-default-features", "--all-features"] {
        for line in tree("normal", features) {
            assert!(!ASYNC.contains(&name(&line)), "{line} is an async runtime: leave it out");
            assert!(!line.contains("(proc-macro)"), "{line}: the tree has no proc-macro crate");
        }
    }
}

/// Who has another ureq, or none, still has heartbeats.
#[test]
fn without_sessions_there_is_no_http_client() {
    let names = |features| -> Vec<String> {
        tree("normal", features).iter().map(|line| name(line).to_owned()).collect()
    };
    let (none, all) = (names("--no-default-features"), names("--all-features"));
    for of_sessions in ["ureq", "http", "flate2", "psl", "brotli-decompressor"] {
        assert!(!none.iter().any(|name| name == of_sessions), "{of_sessions}: {none:?}");
        assert!(all.iter().any(|name| name == of_sessions), "{of_sessions}: {all:?}");
    }
}

#[test]
fn no_async_runtime_reaches_a_contributor() {
    for line in tree("normal,build,dev", "--all-features") {
        assert!(!ASYNC.contains(&name(&line)), "{line} is an async runtime: leave it out");
    }
}

/// The two checks above would pass over a tree that they cannot read.
#[test]
fn the_check_sees_proc_macros_where_there_are_some() {
    let all = tree("normal,build,dev", "--all-features");
    assert!(all.iter().any(|line| line.contains("(proc-macro)")), "serde_derive, for one");
}
