//! The library, as `make` builds it, and programs against it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Linked {
    Static,
    Shared,
}

/// Which library: each is built once, and one after the other, for cargo puts them into one place.
#[derive(Clone, Copy, PartialEq)]
pub enum Of {
    Plain,
    Session,
}

/// The folder with the static and the shared one.
pub fn built() -> &'static Path {
    built_of(Of::Plain)
}

fn built_of(of: Of) -> &'static Path {
    static DIRS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    let dirs = DIRS.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
        [("capi-session", "session"), ("capi", "")].map(|(name, features)| {
            let out = target.join(name);
            let mut make = library(&out);
            make.args(["all", &format!("FEATURES={features}")]);
            let output = make.output().expect("make");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the library is not built: {text}");
            out
        })
    });
    &dirs[usize::from(of == Of::Plain)]
}

/// The library's own Makefile, for a folder.
pub fn library(out: &Path) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
    let mut make = Command::new("make");
    make.args(["-C", "src/capi", "PROFILE=test"]);
    make.arg(format!("CARGO={}", env!("CARGO")));
    make.arg(format!("TARGET_DIR={}", target.display()));
    make.arg(format!("OUT={}", out.display()));
    // What cargo tells its tests is not for another run of it.
    make.env_remove("CARGO_MANIFEST_DIR").env_remove("MAKEFLAGS");
    make
}

/// What the static library needs beside itself, as the pkg-config file says.
fn private_libs(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("keepbeat.pc")).expect("the pkg-config file");
    let libs = text.lines().find_map(|line| line.strip_prefix("Libs.private: "));
    libs.expect("Libs.private").split_whitespace().map(str::to_owned).collect()
}

/// Compiles `c/NAME.c`, as strictly as its users do.
pub fn compile(name: &str, linked: Linked) -> PathBuf {
    compile_with(name, linked, &[])
}

/// The same with more for the compiler, behind all else.
pub fn compile_with(name: &str, linked: Linked, more: &[&str]) -> PathBuf {
    compile_of(Of::Plain, name, linked, more)
}

/// The same against this library.
pub fn compile_of(of: Of, name: &str, linked: Linked, more: &[&str]) -> PathBuf {
    let dir = built_of(of);
    let program = dir.join(format!("{name}-{linked:?}").to_lowercase());
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-g", "-Isrc/capi", "-o"]);
    cc.arg(&program).arg(format!("tests/capi/c/{name}.c"));
    match linked {
        Linked::Static => {
            // Without what is for debuggers it is a tenth as long.
            cc.arg("-Wl,-S").arg(dir.join("libkeepbeat.a")).args(private_libs(dir));
        }
        Linked::Shared => {
            cc.arg(format!("-L{}", dir.display())).arg("-lkeepbeat").arg("-lpthread");
            cc.arg(format!("-Wl,-rpath,{}", dir.display()));
        }
    }
    let output = cc.args(more).output().expect("a C compiler");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Runs it to its end, with a limit; what it said on standard output.
pub fn run(program: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    finish(command)
}

/// The same of any command.
pub fn finish(command: Command) -> String {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = within(command, Duration::from_secs(120));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{shown}: {status}\n{out}\n{err}");
    out.into_owned()
}

fn within(mut command: Command, limit: Duration) -> Output {
    use std::process::Stdio;
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let pid = child.id();
    let (over, ended) = std::sync::mpsc::channel();
    let guard = std::thread::spawn(move || {
        if ended.recv_timeout(limit).is_err() {
            // It is a child of ours that has not been waited for.
            let _ = Command::new("kill").args(["-ABRT", &pid.to_string()]).status();
        }
    });
    let output = child.wait_with_output().expect("it is our child");
    let _ = over.send(()); // the guard may have given up
    guard.join().expect("it only waits");
    output
}
