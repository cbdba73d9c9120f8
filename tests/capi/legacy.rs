//! Clients as services have had them for years, on hiredis, libpq and OpenSSL, with their own
//! reader and writer: observed, followed, handed over. Their servers are killed or stopped.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::build::{Linked, compile_with, run};

/// The kernel of one that is killed sends a FIN, or a reset where a beat had come that was not
/// read.
const DEATH: [&str; 2] = ["closed-by-peer", "reset"];

/// A server, as its own program has it; killed at the end.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(command: &mut Command, port: u16) -> Server {
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = quiet.spawn().expect("the server starts");
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not listen");
            thread::sleep(Duration::from_millis(5)); // between two looks
        }
        Server { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may be dead already
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// False where something is missing that the test needs, which is said.
fn there(needed: &[&str]) -> bool {
    let places = ["/usr/bin", "/usr/include", "/usr/include/postgresql", "/"];
    for thing in needed {
        if !places.iter().any(|place| Path::new(place).join(thing).exists()) {
            let required = std::env::var_os("KEEPBEAT_REQUIRE").is_some();
            assert!(!required, "{thing} is not installed");
            eprintln!("skipped: {thing} is not installed");
            return false;
        }
    }
    true
}

/// What was told, and after how many milliseconds the first of it.
fn hurt(program: &Path, server: (u16, u32), way: &str, how: &str) -> (String, u64) {
    let (port, pid) = (server.0.to_string(), server.1.to_string());
    let said = run(program, &[&port, &pid, way, how]);
    let (cause, millis) = said.trim().split_once(' ').expect("a cause and a time");
    (cause.to_owned(), millis.parse().expect("milliseconds"))
}

/// A death is told at once, a silence when its beat is due: the quickest of three, because a busy
/// machine only adds to it. Each time with this cause.
fn told(causes: &[&str], how: &str, hurt: impl Fn() -> (String, u64)) {
    let most = if how == "kill" { 50 } else { 1000 }; // a beat every 200 ms, an ack within 500
    let quick = (0..3).any(|_| {
        let (told, millis) = hurt();
        assert!(causes.contains(&told.as_str()), "{how}: {told}");
        println!("{how}: {told} after {millis} ms");
        millis < most
    });
    assert!(quick, "{how}: never within {most} ms");
}

/// Each way side by side, and each with servers of its own.
fn each(program: &Path, ways: &[(&str, &str, &[&str])], serve: impl Fn() -> Server + Sync) {
    thread::scope(|scope| {
        for (way, how, causes) in ways {
            let serve = &serve;
            scope.spawn(move || {
                told(causes, how, || {
                    let server = serve();
                    hurt(program, (server.port, server.child.id()), way, how)
                });
            });
        }
    });
}

#[test]
fn a_subscriber_on_hiredis_learns_that_redis_was_killed_or_hangs() {
    if !there(&["redis-server", "hiredis/hiredis.h"]) {
        return;
    }
    let program = compile_with("hiredis", Linked::Shared, &["-lhiredis"]);
    let serve = || {
        let port = free_port();
        let mut redis = Command::new("redis-server");
        redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        Server::start(&mut redis, port)
    };
    let ways: [(&str, &str, &[&str]); 5] = [
        ("observe", "kill", &DEATH),
        ("follow", "kill", &DEATH),
        ("follow", "stop", &["ack-timeout"]),
        ("adopt", "kill", &DEATH),
        ("adopt", "stop", &["peer-silent"]),
    ];
    each(&program, &ways, serve);
}

#[test]
fn a_client_on_openssl_learns_that_its_server_was_killed_or_hangs() {
    if !there(&["openssl", "openssl/ssl.h"]) {
        return;
    }
    let program = compile_with("openssl", Linked::Shared, &["-lssl", "-lcrypto"]);
    let dir = tempdir("openssl");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let serve = || {
        let port = free_port();
        let mut server = Command::new("openssl");
        server.args(["s_server", "-rev", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        server.arg("-cert").arg(&cert).arg("-key").arg(&key);
        Server::start(&mut server, port)
    };
    let ways: [(&str, &str, &[&str]); 3] = [
        ("observe", "kill", &DEATH),
        ("follow", "kill", &DEATH),
        ("follow", "stop", &["ack-timeout"]),
    ];
    each(&program, &ways, serve);
    std::fs::remove_dir_all(dir).unwrap();
}

fn tempdir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("keepbeat-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A database of its own. Each connection is served by a process of its own; where one is killed
/// all others end, and the database comes back.
struct Postgres {
    dir: PathBuf,
    server: Option<Server>,
}

impl Postgres {
    fn start() -> Postgres {
        let versions = std::fs::read_dir("/usr/lib/postgresql").expect("an installed server");
        let bin = versions.map(|entry| entry.unwrap().path().join("bin")).max().expect("a version");
        let (dir, port) = (tempdir("postgres"), free_port());
        // Root may not run it.
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let command = |program: &str| {
            if !is_root {
                return Command::new(bin.join(program));
            }
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(bin.join(program));
            command
        };
        if is_root {
            assert!(Command::new("chown").arg("postgres").arg(&dir).status().unwrap().success());
        }
        let mut init = command("initdb");
        init.args(["--auth=trust", "--username=keepbeat", "--no-sync", "-D"]).arg(dir.join("data"));
        super::build::finish(init);
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(dir.join("data")).arg("-k").arg(&dir);
        postgres.args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]);
        postgres.args(["-p", &port.to_string()]);
        Postgres { dir, server: Some(Server::start(&mut postgres, port)) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its own number: the child may be `runuser`.
        let pid = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", pid]).status();
        }
        if let Some(server) = &mut self.server {
            let _ = server.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_listener_on_libpq_learns_that_postgres_was_killed_or_hangs() {
    if !there(&["pg_createcluster", "libpq-fe.h"]) {
        return;
    }
    let more = ["-I/usr/include/postgresql", "-lpq"];
    let program = compile_with("libpq", Linked::Shared, &more);
    let postgres = Postgres::start();
    let port = postgres.server.as_ref().expect("it runs").port;
    // Not observed: libpq closes its descriptor as soon as it reads the end, and is often faster
    // than whoever observes; that is told as closed-by-application.
    let ways: [(&str, &str, &[&str]); 2] =
        [("follow", "stop", &["ack-timeout"]), ("follow", "kill", &DEATH)];
    for (way, how, causes) in ways {
        told(causes, how, || hurt(&program, (port, 0), way, how)); // it kills its own
    }
}
