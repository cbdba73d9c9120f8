//! Servers on loopback, started for one test and gone with it; and waits with a limit.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use keepbeat::{Event, EventKind, Exchange, State};

use crate::Need;

/// No wait of a test is longer.
pub const LIMIT: Duration = Duration::from_secs(30);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Whether a program can be run.
pub fn program(name: &str, package: &str) -> Need {
    let there = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if there {
        return Ok(());
    }
    Err(format!("`{name}` is not installed: ./tests/run installs it, or install `{package}`"))
}

/// The tutorial's bytes, from the side that asks and from the one that answers.
pub fn tutorial() -> Exchange {
    Exchange::new("heartbeat", "heartbeat_ack")
}

pub fn answering() -> Exchange {
    Exchange::answering("heartbeat", "heartbeat_ack")
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server process, killed when the test is over.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it accepts.
    pub fn start(command: &mut Command, port: u16) -> Server {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Server { child, address };
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(address).is_err() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            assert!(Instant::now() < deadline, "{command:?} does not listen on {address}");
            std::thread::sleep(ms(5)); // between two tries
        }
        server
    }

    pub fn signal(&self, signal: i32) {
        signal_to(self.child.id(), signal);
    }

    /// Stops it as a hung process is: it answers nothing, its kernel does.
    pub fn freeze(&self) {
        freeze(self.child.id());
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn signal_to(pid: u32, signal: i32) {
    // SAFETY: kill touches no memory; the child is ours and not yet waited for.
    let result = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(result, 0, "kill {pid}");
}

/// SIGSTOP takes effect some time later: waits for state T.
pub fn freeze(pid: u32) {
    signal_to(pid, libc::SIGSTOP);
    eventually("stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    });
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        std::thread::sleep(ms(1)); // between two looks
    }
}

/// Reads events up to the first that is wanted; tells what came instead.
pub fn wait(events: &Receiver<Event>, what: &str, wanted: impl Fn(&EventKind) -> bool) -> Event {
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    loop {
        let Ok(event) = events.recv_deadline(deadline) else {
            panic!("no {what} within {LIMIT:?}, but {seen:#?}");
        };
        if wanted(event.kind()) {
            return event;
        }
        seen.push(event.to_string());
    }
}

pub fn wait_state(events: &Receiver<Event>, state: State) -> Event {
    wait(events, state.word(), |kind| matches!(kind, EventKind::State { to, .. } if *to == state))
}

/// A file of settings for a server, gone with the value.
pub struct Settings(pub std::path::PathBuf);

impl Settings {
    pub fn new(name: &str, text: &str) -> Settings {
        let file = format!("keepbeat-test-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Settings(path)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A real nginx with these settings of its `http` block; `PORT` in them becomes its port.
pub struct Nginx {
    server: Server,
    pub address: SocketAddr,
    folder: std::path::PathBuf,
}

impl Nginx {
    pub fn start(settings: &str) -> Nginx {
        let port = free_port();
        let name = format!("keepbeat-test-nginx-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {what};"))
            .join(" ");
        let text = format!(
            "daemon off; pid pid; error_log error.log; worker_processes 1;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log access.log; {temp}\n{} }}\n",
            settings.replace("PORT", &port.to_string())
        );
        std::fs::write(folder.join("nginx.conf"), text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "error.log"]);
        let server = Server::start(&mut command, port);
        let address = server.address;
        Nginx { server, address, folder }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The lines of its access log.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub fn reload(&self) {
        self.server.signal(libc::SIGHUP);
    }

    /// Ends it at once, with all its connections.
    pub fn stop(&mut self) {
        self.server.signal(libc::SIGTERM);
        let _ = self.server.child.wait();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has workers of its own, who end with it only if it is asked.
        if self.server.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
