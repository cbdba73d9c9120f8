//! Real web servers that end idle connections by their own rules: nginx, Apache, Node, and one that
//! keeps nothing. At every interval, whether it meets their limit or not, they are up all the time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keepbeat::{Coordinator, EventKind, Heartbeat, Http, State, Status, Target};
use libtest_mimic::Trial;

use crate::server::{Nginx, Server, free_port, ms, program};
use crate::{Need, trial};

/// From one beat to the next. Some are as long as a limit, some shorter, some longer.
const INTERVALS: [u64; 10] = [500, 1000, 1100, 2500, 5000, 5200, 7000, 15_000, 30_000, 60_000];

/// Long enough for a second beat of the longest interval.
const WATCHED: Duration = Duration::from_secs(62);

pub fn trials() -> Vec<Trial> {
    vec![trial("web_servers_are_up_all_the_time_at_every_interval", need(), all_the_time)]
}

fn need() -> Need {
    program("nginx", "nginx-light")?;
    program("apache2", "apache2-bin")?;
    program("node", "nodejs")
}

/// A folder for one server, gone with the value.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let folder = format!("keepbeat-test-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Apache as Debian sets it up: 5 s, and 100 requests a connection; and with these settings.
pub fn apache(folder: &Folder, more: &str) -> Server {
    let port = free_port();
    let root = folder.0.display();
    let modules = "/usr/lib/apache2/modules";
    let text = format!(
        "ServerRoot {root}\nPidFile pid\nListen 127.0.0.1:{port}\nServerName localhost\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         LoadModule authz_core_module {modules}/mod_authz_core.so\n\
         LoadModule reqtimeout_module {modules}/mod_reqtimeout.so\n\
         User nobody\nGroup nogroup\nErrorLog error.log\nDocumentRoot {root}/files\n\
         KeepAlive On\nKeepAliveTimeout 5\nMaxKeepAliveRequests 100\n\
         RequestReadTimeout header=20-40,minrate=500\n{}",
        more.replace("MODULES", modules)
    );
    std::fs::create_dir_all(folder.0.join("files")).unwrap();
    std::fs::write(folder.0.join("files/index.html"), "ok").unwrap();
    std::fs::write(folder.0.join("apache.conf"), text).unwrap();
    let mut command = Command::new("apache2");
    command.args(["-X", "-f"]).arg(folder.0.join("apache.conf"));
    Server::start(&mut command, port)
}

/// Node as it comes: 5 s.
struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    fn start() -> Node {
        let script = "const s = require('http').createServer((q, a) => a.end('ok')); \
                      s.listen(0, '127.0.0.1', () => console.log(s.address().port))";
        let mut child =
            Command::new("node").args(["-e", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().unwrap();
        Node { child, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends each connection right behind its answer, and does not say so.
fn keeps_nothing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                // A connection that was opened to see whether it accepts ends without a request.
                if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
    address
}

fn all_the_time() {
    let settings = |limit: &str| {
        format!(
            "keepalive_timeout {limit}; \
             server {{ listen 127.0.0.1:PORT; location / {{ return 200 \"ok\"; }} }}"
        )
    };
    let nginx = ["1s", "5s", "75s"].map(|limit| Nginx::start(&settings(limit)));
    let folder = Folder::new("apache");
    let (apache, node) = (apache(&folder, ""), Node::start());
    let servers = [
        ("nginx 1s", nginx[0].address),
        ("nginx 5s", nginx[1].address),
        ("nginx 75s", nginx[2].address),
        ("Apache 5s", apache.address),
        ("Node 5s", node.address),
        ("one that keeps nothing", keeps_nothing()),
    ];
    let coordinator = Coordinator::new().unwrap();
    for (name, address) in servers {
        for interval in INTERVALS {
            let target = Target::new(&format!("http://{address}/index.html")).unwrap();
            let http = Http::for_target(&target).unwrap();
            let target = target.named(format!("{name}, every {interval} ms"));
            // So long that a busy machine makes no miss of it.
            let beat = Heartbeat::every(ms(interval)).timeout(ms(20_000));
            coordinator.watch(target, beat, http).unwrap();
        }
    }
    let until = Instant::now() + WATCHED;
    while let Ok(event) = coordinator.events().recv_deadline(until) {
        match event.kind() {
            EventKind::State { to: State::Up, .. }
            | EventKind::Connected { .. }
            | EventKind::Beat { late: false, .. }
            | EventKind::Disconnected { expected: true, .. }
            | EventKind::Stalled { .. } => {}
            _ => panic!("{event}"),
        }
    }
    let statuses = coordinator.statuses();
    assert_eq!(statuses.len(), servers.len() * INTERVALS.len());
    statuses.iter().for_each(assert_up_all_the_time);
    let renewals: u64 = statuses.iter().map(|status| status.renewals).sum();
    assert!(renewals > 100, "{renewals}: they met no limit");
}

fn assert_up_all_the_time(status: &Status) {
    assert_eq!((status.state, status.missed, status.late), (State::Up, 0, 0), "{status:?}");
    assert_eq!(status.uptime_ratio(Instant::now()), 1.0, "{status:?}");
    assert!(status.acked >= 1 && status.sent - status.acked <= 1, "{status:?}");
    // No server is knocked at between two beats for ever: what it does is known after one end.
    let checks = (status.reconnects).saturating_sub(status.sent);
    assert!(checks <= 3, "{status:?}");
}
