//! A scripted faulty TCP peer: each connection runs the same script, on a thread of its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub const BEAT: &[u8] = b"heartbeat";
pub const ACK: &[u8] = b"heartbeat_ack";

/// Longer than any test takes: a script that waits for a beat which never comes must end some time.
const FOREVER: Duration = Duration::from_secs(120);

/// One connection, as a script sees it.
pub struct Visit {
    pub stream: TcpStream,
    /// The number of this connection, from 0.
    pub nth: usize,
}

impl Visit {
    /// Reads one beat. An error when the other end has gone: the script ends with it.
    pub fn beat(&mut self) -> io::Result<()> {
        let mut beat = [0; BEAT.len()];
        self.stream.read_exact(&mut beat)?;
        assert_eq!(beat, BEAT, "the tutorial's bytes");
        Ok(())
    }

    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Answers so many beats as it should.
    pub fn ack(&mut self, beats: usize) -> io::Result<()> {
        for _ in 0..beats {
            self.beat()?;
            self.say(ACK)?;
        }
        Ok(())
    }

    /// Answers until the other end goes.
    pub fn ack_for_ever(&mut self) -> io::Result<()> {
        loop {
            self.ack(1)?;
        }
    }

    /// Reads and answers nothing until the other end goes.
    pub fn swallow(&mut self) -> io::Result<()> {
        while self.stream.read(&mut [0; 4096])? > 0 {}
        Ok(())
    }

    /// Closes with an RST.
    pub fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    pub fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.swallow()
    }
}

/// Listens until the test ends. Its threads end with their connections.
pub struct Peer {
    pub address: SocketAddr,
    visits: Arc<AtomicUsize>,
}

impl Peer {
    pub fn new(script: impl Fn(Visit) -> io::Result<()> + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let visits = Arc::new(AtomicUsize::new(0));
        let (count, script) = (Arc::clone(&visits), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(FOREVER)).unwrap();
                stream.set_nodelay(true).unwrap();
                let nth = count.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                // The end of a script is the other end's going, as a rule.
                thread::spawn(move || drop(script(Visit { stream, nth })));
            }
        });
        Peer { address, visits }
    }

    /// How many connections it has accepted.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}
