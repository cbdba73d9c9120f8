//! What runs on the server: it answers beats, and can be told to do so badly.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::watching::{eventually, ms};

/// It answers `heartbeat` on each of these.
pub const BEATS: std::ops::Range<u16> = 7000..7008;
/// It answers lines: `PING` with `PONG`, others as they came.
pub const LINES: u16 = 7100;
/// As [`BEATS`], and its queue of connections that nobody has accepted is short.
pub const SHORT_QUEUE: u16 = 7200;
pub const SHORT_BACKLOG: u32 = 3;
/// As [`BEATS`], for one client at a time: a second one throws the first out.
pub const SINGLE: u16 = 7300;
/// As [`BEATS`], with room for some kilobytes.
pub const SMALL_ROOM: u16 = 7400;
/// It reads some kilobytes now and then, and answers lines.
pub const SLOW_READER: u16 = 7500;
/// The same, as fast as it can.
pub const SINK: u16 = 7600;

/// The server process, and a line to it.
pub struct Server {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Server {
    pub fn start() -> Server {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "server"]);
        command.arg(std::env::current_exe().unwrap()).args(["--child", "serve"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server { child, orders, answers };
        server.answer(); // it listens
        server
    }

    fn answer(&mut self) -> u64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    /// From now on it does that; how many clients it has had.
    pub fn order(&mut self, what: &str) -> u64 {
        self.orders.write_all(format!("{what}\n").as_bytes()).unwrap();
        self.answer()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: kill touches no memory; the child is ours and not yet waited for.
        let result = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(result, 0);
    }

    /// Stops it as a hung process is. That takes effect some time later, in every thread.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let pid = self.child.id();
        eventually("stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        });
    }

    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
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

#[derive(Default)]
struct Shared {
    mode: Mutex<String>,
    turned: Condvar,
    streams: Mutex<HashMap<u64, (u16, TcpStream)>>,
    accepted: AtomicU64,
}

impl Shared {
    fn mode(&self) -> String {
        self.mode.lock().unwrap().clone()
    }

    fn wait_while_deaf(&self) {
        let mode = self.mode.lock().unwrap();
        drop(self.turned.wait_while(mode, |mode| mode == "deaf").unwrap());
    }
}

/// The server's part.
pub fn serve() {
    // SAFETY: prctl touches no memory; with the test goes its server, also a stopped one.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let shared = Arc::new(Shared::default());
    for port in BEATS {
        listen(port, 128, None, &shared);
    }
    listen(LINES, 128, None, &shared);
    listen(SHORT_QUEUE, SHORT_BACKLOG as i32, None, &shared);
    listen(SINGLE, 128, None, &shared);
    listen(SMALL_ROOM, 128, Some(4096), &shared);
    listen(SLOW_READER, 128, Some(16 * 1024), &shared);
    listen(SINK, 128, None, &shared);
    println!("0");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        obey(&shared, line);
        println!("{}", shared.accepted.load(Ordering::SeqCst));
    }
}

fn obey(shared: &Shared, order: String) {
    let how = match order.as_str() {
        "close" => Some(Shutdown::Both),
        "half-close" => Some(Shutdown::Write),
        _ => None,
    };
    match how {
        Some(how) => {
            for (_, stream) in shared.streams.lock().unwrap().values() {
                let _ = stream.shutdown(how); // it may have gone by itself
            }
        }
        None if order == "count" => {}
        None => {
            *shared.mode.lock().unwrap() = order;
            shared.turned.notify_all();
        }
    }
}

fn listen(port: u16, backlog: i32, room: Option<usize>, shared: &Arc<Shared>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    if let Some(room) = room {
        socket.set_recv_buffer_size(room).unwrap();
    }
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into()).unwrap();
    socket.listen(backlog).unwrap();
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        loop {
            let (stream, _) = socket.accept().unwrap();
            let id = shared.accepted.fetch_add(1, Ordering::SeqCst);
            let stream = TcpStream::from(stream);
            let mut streams = shared.streams.lock().unwrap();
            if port == SINGLE {
                for (_, other) in streams.values().filter(|(at, _)| *at == SINGLE) {
                    let _ = other.shutdown(Shutdown::Both);
                }
            }
            streams.insert(id, (port, stream.try_clone().unwrap()));
            drop(streams);
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                match port {
                    LINES => lines(stream),
                    SLOW_READER => sink(stream, &shared, ms(40)),
                    SINK => sink(stream, &shared, ms(0)),
                    _ => beats(stream, &shared),
                }
                shared.streams.lock().unwrap().remove(&id);
            });
        }
    });
}

const BEAT: &[u8] = b"heartbeat";

/// One answer to each beat among the bytes.
fn beats(mut stream: TcpStream, shared: &Shared) {
    let (mut bytes, mut room) = (Vec::new(), vec![0; 64 * 1024]);
    let mut parted = false;
    loop {
        shared.wait_while_deaf();
        let Ok(n @ 1..) = stream.read(&mut room) else { return };
        bytes.extend_from_slice(&room[..n]);
        while let Some(at) = bytes.windows(BEAT.len()).position(|window| window == BEAT) {
            bytes.drain(..at + BEAT.len());
            let answer: &[u8] = match shared.mode().as_str() {
                "garbage" => b"-ERR unknown command\r\n",
                // A second part would make it another word.
                "partial" if std::mem::replace(&mut parted, true) => b"",
                "partial" => b"heart",
                "mute" | "deaf" => b"",
                _ => b"heartbeat_ack",
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
        let keep = bytes.len().saturating_sub(BEAT.len() - 1);
        bytes.drain(..keep);
    }
}

fn line(out: &mut TcpStream, line: &str) -> bool {
    let answer = if line == "PING" { "PONG" } else { line };
    out.write_all(format!("{answer}\n").as_bytes()).is_ok()
}

fn lines(stream: TcpStream) {
    let mut out = stream.try_clone().unwrap();
    for text in BufReader::new(stream).lines().map_while(Result::ok) {
        if !line(&mut out, &text) {
            break;
        }
    }
}

/// Answers beats alone.
fn sink(mut stream: TcpStream, shared: &Shared, pause: Duration) {
    let (mut bytes, mut room) = (Vec::new(), [0; 8192]);
    loop {
        shared.wait_while_deaf();
        let Ok(n @ 1..) = stream.read(&mut room) else { return };
        bytes.extend_from_slice(&room[..n]);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if bytes.drain(..=end).as_slice() == b"PING\n" && !line(&mut stream, "PING") {
                return;
            }
        }
        thread::sleep(pause); // this is how slow it reads
    }
}
