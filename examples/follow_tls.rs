//! A heartbeat on your own TLS connection: the program keeps its reader and its writer, keepbeat
//! sends `PING` by a function and is told what was read.
//!
//! Copy [`Tls`]. Both directions need the one rustls connection. A thread that blocks in a read or
//! a write while it holds that connection stops the other direction, and the beats with it. So the
//! socket is read and written outside the lock, which is held only to encrypt and decrypt.
//!
//! `cargo run --example follow_tls`

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use keepbeat::{Cause, Coordinator, EventKind, Follower, Framed, Heartbeat};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// One connection, for one reader and any number of writers.
struct Tls {
    socket: TcpStream,
    /// Locked for moments only, and never while the socket blocks.
    session: Mutex<ClientConnection>,
    /// Locked by the writer, so that records reach the socket in order. Locked before `session`.
    sealed: Mutex<Vec<u8>>,
}

impl Tls {
    fn connect(server: SocketAddr, trust: RootCertStore) -> Result<Tls, AnyError> {
        let config = ClientConfig::builder().with_root_certificates(trust).with_no_client_auth();
        let mut session = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
        let mut socket = TcpStream::connect(server)?;
        session.complete_io(&mut socket)?; // the handshake, before other threads use it
        session.set_buffer_limit(None); // `send` takes out at once what it puts in
        Ok(Tls { socket, session: Mutex::new(session), sealed: Mutex::default() })
    }

    /// May block, as a socket does. Only other writers wait for it.
    fn send(&self, plain: &[u8]) -> io::Result<()> {
        let mut sealed = lock(&self.sealed);
        sealed.clear();
        {
            let mut session = lock(&self.session);
            session.writer().write_all(plain)?;
            // Records that TLS itself has to send go along.
            while session.wants_write() {
                session.write_tls(&mut *sealed)?;
            }
        }
        (&self.socket).write_all(&sealed)
    }

    /// Waits for bytes without a lock, then decrypts them. False at the end of the connection.
    fn read(&self, plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let n = (&self.socket).read(&mut bytes)?;
        let mut rest = &bytes[..n];
        let mut session = lock(&self.session);
        while !rest.is_empty() {
            session.read_tls(&mut rest)?;
            let state = session.process_new_packets().map_err(io::Error::other)?;
            let (start, more) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(start + more, 0);
            session.reader().read_exact(&mut plain[start..])?;
        }
        Ok(n > 0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program's own reader. It tells the follower what it read, which never waits, then works on.
fn read(tls: &Tls, follower: &Follower) {
    let mut plain = Vec::new();
    loop {
        match tls.read(&mut plain) {
            Ok(true) if follower.heard(&plain).is_err() => return, // an event says why
            Ok(true) => {}
            Ok(false) => return follower.lost(Cause::ClosedByPeer),
            Err(error) => return follower.lost(error),
        }
        print!("{}", String::from_utf8_lossy(&plain)); // the work
        plain.clear();
    }
}

fn main() -> Result<(), AnyError> {
    env_logger::init();
    let (server, trust) = serve()?;
    let tls = Arc::new(Tls::connect(server, trust)?);

    let coordinator = Coordinator::new()?;
    let heartbeat = Heartbeat::every(Duration::from_secs(1)).timeout(Duration::from_millis(500));
    let lines = Framed::lines("PING", "PONG")?;
    let writer = Arc::clone(&tls);
    let follower =
        coordinator.follow_named("chat", heartbeat, lines, move |frame| writer.send(frame))?;
    let (reader, ear) = (Arc::clone(&tls), follower.clone());
    thread::spawn(move || read(&reader, &ear));

    tls.send(b"hello\n")?;
    for event in coordinator.events() {
        println!("{event}");
        if matches!(event.kind(), EventKind::Beat { seq: 3, .. }) {
            break;
        }
    }
    println!("round trips: {:?}", follower.status().rtt);
    Ok(coordinator.stop()?)
}

/// The other end, and the certificate to trust. Usually it is another program.
fn serve() -> Result<(SocketAddr, RootCertStore), AnyError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut trust = RootCertStore::empty();
    trust.add(certificate.clone())?;
    let config = Arc::new(
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?,
    );
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> Result<(), AnyError> {
        let (socket, _) = listener.accept()?;
        let session = ServerConnection::new(config)?;
        let mut stream = BufReader::new(rustls::StreamOwned::new(session, socket));
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            let answer =
                if line == "PING\n" { "PONG\n".to_owned() } else { format!("you said {line}") };
            stream.get_mut().write_all(answer.as_bytes())?;
            line.clear();
        }
        Ok(())
    });
    Ok((address, trust))
}
