//! A scripted HTTP server: one thread per connection runs the test's own script on it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use keepbeat::{SessionEvent, SessionEventKind};
use socket2::SockRef;

pub use crate::watching::{LIMIT, eventually, ms};

/// What the server has seen of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The connection, counted from 0.
    pub connection: usize,
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    stopping: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    streams: Mutex<Vec<TcpStream>>,
}

/// One connection, as its script sees it.
pub struct Conn {
    pub number: usize,
    reader: BufReader<TcpStream>,
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl Server {
    /// Runs the script on each connection, which ends when the script does.
    pub fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Server {
        Server::start_on("127.0.0.1:0", script)
    }

    pub fn start_on(address: &str, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let ours = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if ours.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, script) = (Arc::clone(&ours), Arc::clone(&script));
                thread::spawn(move || serve(stream, shared, &*script));
            }
        });
        Server { address, shared, acceptor: Some(acceptor) }
    }

    /// Answers every request with these bytes as they are.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Server {
        let bytes = bytes.into();
        Server::start(move |conn| while conn.request().is_some() && conn.write(&bytes) {})
    }

    /// Answers every request with 200 and a short body, for ever.
    pub fn ok() -> Server {
        Server::start(|conn| while conn.request().is_some() && conn.ok("hello") {})
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open at this moment, and the most that ever were.
    pub fn open(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (load(&self.shared.open), load(&self.shared.most_open))
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Ends all connections in an orderly way, as a restart does; new ones are accepted.
    pub fn close_all(&self) {
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().map(JoinHandle::join);
        self.close_all();
    }
}

fn serve(stream: TcpStream, shared: Arc<Shared>, script: &dyn Fn(&mut Conn)) {
    let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_open.fetch_max(open, Ordering::SeqCst);
    stream.set_nodelay(true).unwrap();
    shared.streams.lock().unwrap().push(stream.try_clone().unwrap());
    let reader = BufReader::new(stream.try_clone().unwrap());
    let mut conn = Conn { number, reader, stream, shared };
    script(&mut conn);
    // Counted as gone before the client can see that it is.
    conn.shared.open.fetch_sub(1, Ordering::SeqCst);
    let _ = conn.stream.shutdown(Shutdown::Write);
}

impl Conn {
    /// The head of the next request; none when the client has closed. The body stays unread.
    pub fn head(&mut self) -> Option<Seen> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Seen { connection: self.number, method, path, headers, body: Vec::new() })
    }

    /// The next request with its body; it is noted as seen.
    pub fn request(&mut self) -> Option<Seen> {
        let mut seen = self.head()?;
        if let Some(len) = seen.header("content-length") {
            seen.body = vec![0; len.parse().unwrap()];
            self.reader.read_exact(&mut seen.body).ok()?;
        } else if seen.header("transfer-encoding").is_some() {
            seen.body = self.chunks()?;
        }
        self.shared.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).ok()?;
            let len = usize::from_str_radix(line.trim(), 16).ok()?;
            let at = body.len();
            body.resize(at + len, 0);
            self.reader.read_exact(&mut body[at..]).ok()?;
            self.reader.read_line(&mut line).ok()?;
            if len == 0 {
                return Some(body);
            }
        }
    }

    /// Reads so many bytes as they are.
    pub fn bytes(&mut self, n: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Whatever comes next; none when the client has closed.
    pub fn some(&mut self) -> Option<Vec<u8>> {
        let bytes = self.reader.fill_buf().ok()?.to_vec();
        self.reader.consume(bytes.len());
        (!bytes.is_empty()).then_some(bytes)
    }

    /// The socket, to write on from elsewhere.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Whether the client has sent anything that is not read yet.
    pub fn has_more(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within)).unwrap();
        let more = matches!(self.reader.fill_buf(), Ok(bytes) if !bytes.is_empty());
        self.stream.set_read_timeout(None).unwrap();
        more
    }

    /// Writes these bytes as they are. False if the client has gone.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// A whole response with 200 and this body.
    pub fn ok(&mut self, body: &str) -> bool {
        let len = body.len();
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}"))
    }

    /// Waits for so long, or until the client has closed.
    pub fn idle(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let gone = matches!(self.reader.fill_buf(), Ok(bytes) if bytes.is_empty());
        self.stream.set_read_timeout(None).unwrap();
        !gone
    }

    /// Whether bytes of the next request are here.
    pub fn has_bytes(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    /// Reads nothing more, and leaves the connection open while the server is there.
    pub fn stop_reading(&self) {
        while !self.shared.stopping.load(Ordering::SeqCst) {
            thread::sleep(ms(1)); // between two looks
        }
    }

    /// Ends both ways at once, whatever is left unread.
    pub fn end_both(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Ends the connection with an RST.
    pub fn reset(&mut self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
        // All handles of it have to be closed for the RST to go out.
        self.shared.streams.lock().unwrap().retain(|other| {
            other.peer_addr().ok().is_some_and(|peer| Some(peer) != self.stream.peer_addr().ok())
        });
        let nothing = TcpListener::bind("127.0.0.1:0").unwrap();
        let blind = TcpStream::connect(nothing.local_addr().unwrap()).unwrap();
        self.reader = BufReader::new(blind.try_clone().unwrap());
        self.stream = blind;
    }
}

/// Runs it on a thread, and fails if it takes too long: what hangs must not hang the tests.
pub fn in_time<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(run()));
    receiver.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// Reads events up to the first that is wanted; tells what came instead.
pub fn wait(
    events: &Receiver<SessionEvent>,
    what: &str,
    wanted: impl Fn(&SessionEventKind) -> bool,
) -> SessionEvent {
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    loop {
        let Ok(event) = events.recv_deadline(deadline) else {
            panic!("no {what} within {LIMIT:?}, but {seen:#?}");
        };
        if wanted(&event.kind) {
            return event;
        }
        seen.push(event.to_string());
    }
}
