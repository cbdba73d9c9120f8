//! What runs on the server: it answers beats, and can be told to do so badly.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::watching::{eventually, ms};
use crate::web;

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
/// As [`BEATS`], and the answer takes three segments, the last of them a short one.
pub const LARGE: u16 = 7700;
pub const LARGE_ANSWER: usize = 4000;
/// The same, and it takes one segment of full size.
pub const WHOLE: u16 = 7800;
pub const WHOLE_ANSWER: usize = 1448;
/// HTTP, and the same under TLS, with a certificate of several segments.
pub const HTTP: u16 = 7900;
pub const HTTPS: u16 = 7901;
/// It accepts, and says nothing.
pub const SILENT: u16 = 7902;
/// For one client at a time; how it treats a second one.
pub const ONE_CLIENT: [(u16, Manners); 5] = [
    (7310, Manners::Closes),
    (7311, Manners::Resets),
    (7312, Manners::Forgets),
    (7313, Manners::Ignores),
    (7314, Manners::Refuses),
];

/// What a server for one client does when a second one comes.
#[derive(Clone, Copy, PartialEq)]
pub enum Manners {
    /// The first one is closed.
    Closes,
    /// The first one is reset.
    Resets,
    /// The first one is not answered any more.
    Forgets,
    /// The second one is not answered.
    Ignores,
    /// The second one is reset.
    Refuses,
}

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
pub struct Shared {
    mode: Mutex<String>,
    turned: Condvar,
    streams: Mutex<HashMap<u64, (u16, TcpStream)>>,
    /// The last client of each port.
    last: Mutex<HashMap<u16, u64>>,
    accepted: AtomicU64,
}

impl Shared {
    pub fn mode(&self) -> String {
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
    for port in BEATS.chain([LARGE, WHOLE, HTTP, HTTPS, SILENT]).chain(ONE_CLIENT.map(|one| one.0))
    {
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

/// By either family, where there is the second one.
fn listen(port: u16, backlog: i32, room: Option<usize>, shared: &Arc<Shared>) {
    accept(open(SocketAddr::from(([0; 4], port)), backlog, room).unwrap(), port, shared);
    if let Ok(socket) = open(SocketAddr::from(([0_u16; 8], port)), backlog, room) {
        accept(socket, port, shared);
    }
}

fn open(at: SocketAddr, backlog: i32, room: Option<usize>) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(room) = room {
        socket.set_recv_buffer_size(room)?;
    }
    socket.bind(&at.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

fn accept(socket: Socket, port: u16, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        loop {
            let (stream, _) = socket.accept().unwrap();
            let id = shared.accepted.fetch_add(1, Ordering::SeqCst);
            let stream = TcpStream::from(stream);
            let mut streams = shared.streams.lock().unwrap();
            let others = || streams.values().filter(|(at, _)| *at == port).map(|(_, other)| other);
            let has_others = others().next().is_some();
            if port == SINGLE {
                others().for_each(|other| drop(other.shutdown(Shutdown::Both)));
            }
            let manners =
                ONE_CLIENT.iter().find(|(at, _)| *at == port).map(|(_, manners)| *manners);
            match manners {
                Some(Manners::Closes) => {
                    others().for_each(|other| drop(other.shutdown(Shutdown::Both)));
                }
                Some(Manners::Resets) => others().for_each(reset),
                Some(Manners::Refuses) if has_others => {
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                    continue;
                }
                _ => {}
            }
            shared.last.lock().unwrap().insert(port, id);
            streams.insert(id, (port, stream.try_clone().unwrap()));
            drop(streams);
            let served = !(has_others && manners == Some(Manners::Ignores));
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                match port {
                    LINES => lines(stream, &shared),
                    SLOW_READER => sink(stream, &shared, ms(40)),
                    SINK => sink(stream, &shared, ms(0)),
                    HTTP => web::http(stream, &shared),
                    HTTPS => web::https(stream, &shared),
                    SILENT => while (&stream).read(&mut [0; 512]).is_ok_and(|n| n > 0) {},
                    _ if manners.is_some() => one_client(stream, id, port, served, &shared),
                    _ => beats(stream, &shared, port),
                }
                shared.streams.lock().unwrap().remove(&id);
            });
        }
    });
}

/// At once, whoever else holds the connection.
fn reset(stream: &TcpStream) {
    // SAFETY: an address of zeroes is one of no family: it takes the connection apart.
    let none: libc::sockaddr = unsafe { std::mem::zeroed() };
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the address lives for the call, and the descriptor is open.
    assert_eq!(unsafe { libc::connect(stream.as_raw_fd(), &none, len) }, 0);
}

/// Every fourth answer takes as long as was ordered.
fn one_client(mut stream: TcpStream, id: u64, port: u16, served: bool, shared: &Shared) {
    let mut bytes = [0; 64];
    let mut beats = 0;
    while let Ok(1..) = stream.read(&mut bytes) {
        beats += 1;
        let mode = shared.mode();
        if let Some(think) = mode.strip_prefix("think ").filter(|_| beats % 4 == 0) {
            thread::sleep(ms(think.parse().unwrap()));
        }
        let manners = ONE_CLIENT.iter().find(|(at, _)| *at == port).map(|(_, manners)| *manners);
        let last = || shared.last.lock().unwrap().get(&port).copied();
        if !served || manners == Some(Manners::Forgets) && last() != Some(id) {
            continue;
        }
        if stream.write_all(b"heartbeat_ack").is_err() {
            return;
        }
    }
}

const BEAT: &[u8] = b"heartbeat";

/// What a port answers.
pub fn answer(port: u16) -> Vec<u8> {
    let mut answer = b"heartbeat_ack".to_vec();
    let len = match port {
        LARGE => LARGE_ANSWER,
        WHOLE => WHOLE_ANSWER,
        _ => answer.len(),
    };
    answer.resize(len, b'-');
    answer
}

/// One answer to each beat among the bytes.
fn beats(mut stream: TcpStream, shared: &Shared, port: u16) {
    let (mut bytes, mut room) = (Vec::new(), vec![0; 64 * 1024]);
    let mut parted = false;
    let answer = answer(port);
    loop {
        shared.wait_while_deaf();
        let Ok(n @ 1..) = stream.read(&mut room) else { return };
        bytes.extend_from_slice(&room[..n]);
        while let Some(at) = bytes.windows(BEAT.len()).position(|window| window == BEAT) {
            bytes.drain(..at + BEAT.len());
            let mode = shared.mode();
            if let Some(think) = mode.strip_prefix("think ") {
                thread::sleep(ms(think.parse().unwrap()));
            }
            let answer: &[u8] = match mode.as_str() {
                "garbage" => b"-ERR unknown command\r\n",
                // A second part would make it another word.
                "partial" if std::mem::replace(&mut parted, true) => b"",
                "partial" => b"heart",
                "mute" | "deaf" => b"",
                _ => &answer,
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
    let answer = if line == "PING" { "PONG".to_owned() } else { line.replacen("beat ", "ack ", 1) };
    out.write_all(format!("{answer}\n").as_bytes()).is_ok()
}

fn lines(stream: TcpStream, shared: &Shared) {
    let mut out = stream.try_clone().unwrap();
    for text in BufReader::new(stream).lines().map_while(Result::ok) {
        if shared.mode() != "mute" && !line(&mut out, &text) {
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
