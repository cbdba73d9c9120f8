//! The C library as C programs meet it: built by its Makefile, linked both ways, run. The programs
//! in `c/` check by themselves; what fails says where.

mod build;
mod legacy;
mod programs;
mod session;

use std::process::Command;

use build::{Linked, built, compile, library, run};

fn header() -> String {
    std::fs::read_to_string("src/capi/keepbeat.h").expect("the header")
}

/// Every call that the header declares.
fn calls(header: &str) -> Vec<String> {
    let mut calls: Vec<String> = header
        .lines()
        .filter(|line| !line.trim_start().starts_with('*') && !line.starts_with("/*"))
        .filter(|line| !line.starts_with(' ') && !line.starts_with("typedef"))
        .filter_map(|line| {
            let before = &line[..line.find('(')?];
            Some(before[before.rfind("kb_")?..].to_owned())
        })
        .collect();
    calls.sort();
    calls.dedup();
    calls
}

#[test]
fn the_header_is_c99_and_every_cxx() {
    for (compiler, language, standard) in
        [("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++98"), ("c++", "c++", "c++17")]
    {
        let mut check = Command::new(compiler);
        check.args([&format!("-std={standard}"), "-Wall", "-Wextra", "-pedantic", "-Werror"]);
        check.args(["-fsyntax-only", "-x", language, "src/capi/keepbeat.h"]);
        let output = check.output().expect("a C and a C++ compiler");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{standard}: {text}");
    }
}

#[test]
fn the_shared_library_shows_the_calls_of_the_header_and_nothing_else() {
    let library = built().join("libkeepbeat.so.0"); // with the calls of sessions, which refuse
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut shown: Vec<String> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .filter(|name| name != "KEEPBEAT_0") // the version itself
        .collect();
    shown.sort();
    assert_eq!(shown, calls(&header()));
    assert!(shown.len() > 45, "{shown:?}");
    let output = Command::new("readelf").arg("-d").arg(&library).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Library soname: [libkeepbeat.so.0]"), "{text}");
    // Where a plugin is closed its threads may still be ending.
    assert!(text.contains("NODELETE"), "{text}");
}

/// `kb_status` and the others are the same on both sides, and stay so.
#[test]
fn structs_have_the_layout_that_programs_were_compiled_with() {
    let program = compile("layout", Linked::Shared);
    run(&program, &[]);
}

/// Installed where the packager says, and found there by pkg-config.
#[test]
fn an_installed_library_is_found_by_pkg_config() {
    let dir = built().with_file_name("capi-installed");
    let prefix = dir.join("usr");
    let mut make = library(&dir);
    make.arg("install").arg(format!("PREFIX={}", prefix.display()));
    build::finish(make);
    assert!(prefix.join("share/man/man3/keepbeat.3").exists());
    for (kind, library) in [("--libs", "shared"), ("--static", "static")] {
        let mut ask = Command::new("pkg-config");
        ask.args(["--cflags", "--libs", kind, "keepbeat"]);
        ask.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        let mut flags = build::finish(ask);
        if library == "static" {
            let archive = prefix.join("lib/libkeepbeat.a");
            flags = flags.replace("-lkeepbeat", &archive.display().to_string());
        }
        let program = dir.join(format!("watch-{library}"));
        let mut cc = Command::new("cc");
        cc.args(["-std=c99", "-Wl,-S", "-o"]).arg(&program).arg("examples/c/watch.c");
        build::finish({
            cc.args(flags.split_whitespace()).arg("-lpthread");
            cc
        });
        let mut run = Command::new(&program);
        run.env("LD_LIBRARY_PATH", prefix.join("lib"));
        let output = run.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("which target?"), "{said}");
    }
}

/// The manual page names no call that is not there.
#[test]
fn the_manual_page_knows_the_calls_of_the_header() {
    let page = std::fs::read_to_string("src/capi/keepbeat.3").unwrap();
    let calls = calls(&header());
    let names = page.lines().filter_map(|line| line.split_once("Fn kb_")?.1.split(' ').next());
    let named: Vec<_> = names.map(|name| format!("kb_{name}")).collect();
    assert!(named.len() > 8, "{named:?}");
    assert!(named.iter().all(|name| calls.contains(name)), "{named:?}");
}
