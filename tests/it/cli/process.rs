//! The binary as a process: started, read line by line, signalled, and never left behind.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use keepbeat::{Exchange, Responder};

/// For whatever is waited for. The demo takes ten seconds on an idle machine.
pub const LIMIT: Duration = Duration::from_secs(90);

/// Nobody listens on it: binding it takes a privilege, and its service is extinct.
pub const DEAD: &str = "127.0.0.1:1";

fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples/keepbeat").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is missing: cargo build --example keepbeat", path.display());
    path
}

/// The binary, with nothing of this environment that it would heed.
pub fn keepbeat(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let heeded = ["TERM", "LANG", "LC_ALL", "LC_CTYPE", "COLUMNS"].contains(&name.as_str());
        let prefixed = ["KEEPBEAT_", "RUST_LOG"].iter().any(|prefix| name.starts_with(prefix));
        if heeded || prefixed || name.contains("COLOR") {
            command.env_remove(name);
        }
    }
    command
}

/// What a process left behind.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A process whose lines are read as they come. Ends with this value at the latest.
pub struct Running {
    pub child: Child,
    pub out: Receiver<String>,
    pub err: Receiver<String>,
    pub seen: String,
}

impl Running {
    pub fn new(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let out = lines(child.stdout.take());
        let err = lines(child.stderr.take());
        Running { child, out, err, seen: String::new() }
    }

    /// Its standard output is held open and not read.
    pub fn unread(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let err = lines(child.stderr.take());
        Running { child, out: lines(None::<File>), err, seen: String::new() }
    }

    /// The next line of standard output with these words.
    pub fn line(&mut self, words: &str) -> String {
        let limit = Instant::now() + LIMIT;
        loop {
            let Ok(line) = self.out.recv_deadline(limit) else {
                panic!("no line with `{words}` after:\n{}{:?}", self.seen, self.err.try_recv());
            };
            self.seen += &line;
            if line.contains(words) {
                return line;
            }
        }
    }

    /// By the shell's own `kill`: there need not be another.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Waits for the end. All that was written is in it.
    pub fn done(mut self) -> Done {
        let limit = Instant::now() + LIMIT;
        let mut err = String::new();
        for (from, into) in [(&self.out, &mut self.seen), (&self.err, &mut err)] {
            loop {
                match from.recv_deadline(limit) {
                    Ok(line) => into.push_str(&line),
                    Err(_) if Instant::now() < limit => break,
                    Err(_) => panic!("it does not end; so far:\n{into}"),
                }
            }
        }
        let code = self.child.wait().unwrap().code();
        Done { code, out: std::mem::take(&mut self.seen), err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The channel ends when the pipe does.
fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = unbounded();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|n| n > 0) {
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
    }
    receiver
}

pub fn run(args: &[&str]) -> Done {
    Running::new(keepbeat(args)).done()
}

pub fn peer() -> (Responder, String) {
    let make = || Exchange::answering("heartbeat", "heartbeat_ack");
    let responder = Responder::bind("127.0.0.1:0", make).unwrap();
    let address = responder.local_addr().to_string();
    (responder, address)
}

/// A file of the test's own, gone with the value.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(content: &str) -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keepbeat-cli-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
