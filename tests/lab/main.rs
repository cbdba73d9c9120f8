//! The lab: three hosts in network namespaces, a fault between them or in one of them, and what
//! keepbeat says of it. The tests run side by side, each in namespaces of its own.
//!
//! Without the privileges it shows as ignored, with the reason; `KEEPBEAT_LAB=required`, or
//! `KEEPBEAT_REQUIRE=1`, turns that into a failure. `KEEPBEAT_LAB_SHOW=1` prints what was told, and
//! `KEEPBEAT_RECORD_DIR` is where each case leaves what it has measured.

mod bulk;
mod case;
mod flows;
mod kinds;
mod many;
mod net;
mod ours;
mod path;
mod peer;
mod recording;
mod row;
mod said;
mod server;
mod table;
mod watching;
mod web;
mod wire;

use std::process::Stdio;

use libtest_mimic::{Arguments, Failed, Trial};

type Test = (&'static str, fn());

/// A test of many children.
const TABLE: &[Test] =
    &[("kinds_of_faults_are_told_by_their_name", table::kinds_are_told_by_their_name)];

/// So many run side by side: most of the time they wait.
const AT_ONCE: usize = 20;

fn all() -> Vec<Test> {
    // What takes long goes first.
    let long = [TABLE, flows::TESTS, many::TESTS, peer::TESTS, path::TESTS];
    let short = [bulk::TESTS, kinds::TESTS, ours::TESTS, said::TESTS];
    [long.concat(), short.concat()].concat()
}

/// Whether there can be a lab here; else why not.
fn need() -> Result<(), String> {
    let made = net::enter("nothing").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if made.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("needs `unshare`, `ip` and `nft`, user namespaces that are allowed, and connection \
         tracking in the kernel"
        .to_owned())
}

fn run((name, test): Test) -> Result<(), Failed> {
    if TABLE.iter().any(|(table, _)| *table == name) {
        test();
        return Ok(());
    }
    let output = net::enter(name).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    if std::env::var_os("KEEPBEAT_LAB_SHOW").is_some() {
        print!("{told}");
    }
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?}\n{told}\n{said}", output.status).into())
}

/// The part of a child: a case within its namespaces, or the server in there.
fn child(words: &[String]) {
    match words {
        [part] if part == "serve" => server::serve(),
        [part, name] if part == "kind" => table::child(name),
        [part, name] if part == "case" && name == "nothing" => {
            drop(net::Lab::that_forgets_after(1))
        }
        [part, name] if part == "case" => {
            let (_, test) = all().into_iter().find(|(test, _)| test == name).unwrap();
            test();
        }
        _ => panic!("no such child: {words:?}"),
    }
}

fn trial(test: Test, need: &Result<(), String>, required: bool) -> Trial {
    let (name, _) = test;
    match need {
        Ok(()) => Trial::test(name, move || run(test)),
        Err(reason) if required => {
            let reason = reason.clone();
            Trial::test(name, move || Err(reason.into()))
        }
        Err(reason) => {
            eprintln!("SKIPPED {name}: {reason}");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--child") {
        return child(&words[1..]);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    let is = |name: &str, wanted: &str| std::env::var(name).is_ok_and(|value| value == wanted);
    let required = is("KEEPBEAT_REQUIRE", "1") || is("KEEPBEAT_LAB", "required");
    let need = if arguments.list { Ok(()) } else { need() };
    let trials = all().into_iter().map(|test| trial(test, &need, required)).collect();
    libtest_mimic::run(&arguments, trials).exit();
}
