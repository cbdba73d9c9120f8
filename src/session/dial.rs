//! From addresses to a connected socket: happy eyeballs (RFC 8305), so that a family that leads
//! nowhere costs a quarter of a second and not the whole connect timeout.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::limits::LOOK;
use super::source::Source;
use crate::sys;

/// RFC 8305, section 5: the recommended delay between two attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

/// What every connection of a session is given.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) keepalive: Option<TcpKeepalive>,
    pub(crate) user_timeout: Option<Duration>,
    /// How long a name may take, within the time for the connection.
    pub(crate) resolve: Option<Duration>,
    pub(crate) source: Source,
    /// Nothing goes out without TLS.
    pub(crate) https_only: bool,
    /// An end of TCP alone ends a body under TLS, too.
    pub(crate) allow_missing_close_notify: bool,
}

/// A connected socket.
pub(crate) struct Dialled {
    pub(crate) stream: TcpStream,
    /// None of a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// From its SYN on: a round trip.
    pub(crate) took: Duration,
}

/// Connects to the first address that answers.
///
/// # Errors
///
/// What each address said, if none answered: [`Unanswered`]. `NotConnected` after a shutdown.
pub(crate) fn dial(
    addresses: &[SocketAddr],
    until: Instant,
    options: &Options,
    closed: &dyn Fn() -> bool,
) -> io::Result<Dialled> {
    let mut waiting = interleaved(addresses).into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut failed = Failures::default();
    let mut next_start = Instant::now();
    loop {
        let now = Instant::now();
        if closed() {
            return Err(super::pipe::closed());
        }
        if now >= until {
            for attempt in &attempts {
                failed.add(attempt.address, &ErrorKind::TimedOut.into());
            }
            return Err(failed.timed_out());
        }
        if attempts.is_empty() || now >= next_start {
            match waiting.next() {
                Some(address) => {
                    next_start = now + ATTEMPT_DELAY;
                    match Attempt::begin(address, options) {
                        Ok(attempt) => attempts.push(attempt),
                        Err(error) => failed.add(address, &error),
                    }
                }
                None if attempts.is_empty() => return Err(failed.all()),
                None => next_start = until,
            }
            if attempts.is_empty() {
                continue;
            }
        }
        let sockets: Vec<_> = attempts.iter().map(|attempt| &attempt.socket).collect();
        let left = next_start.min(until).saturating_duration_since(now).min(LOOK);
        let ready = sys::wait_any_writable(&sockets, left)?;
        for at in (0..ready.len()).rev().filter(|at| ready[*at]) {
            let attempt = attempts.swap_remove(at);
            let Attempt { address, begun, .. } = attempt;
            match attempt.end(options) {
                Ok(stream) => {
                    let took = begun.elapsed();
                    return Ok(Dialled { stream, peer: Some(address), took });
                }
                Err(error) => {
                    failed.add(address, &error);
                    next_start = now; // the next one need not wait
                }
            }
        }
    }
}

/// The families take turns, beginning with the resolver's first choice (RFC 8305, section 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of = |v6: bool| addresses.iter().copied().filter(move |address| address.is_ipv6() == v6);
    let (mut a, mut b) = (of(first_is_v6), of(!first_is_v6));
    let mut all = Vec::with_capacity(addresses.len());
    loop {
        let pair = [a.next(), b.next()];
        if pair == [None, None] || all.len() >= MOST_ADDRESSES {
            all.truncate(MOST_ADDRESSES);
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

struct Attempt {
    socket: Socket,
    address: SocketAddr,
    begun: Instant,
}

impl Attempt {
    fn begin(address: SocketAddr, options: &Options) -> io::Result<Attempt> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        options.source.bind(&socket)?;
        let begun = Instant::now();
        match socket.connect(&SockAddr::from(address)) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Attempt { socket, address, begun })
    }

    fn end(self, options: &Options) -> io::Result<TcpStream> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        if self.socket.local_addr()?.as_socket() == Some(self.address) {
            return Err(io::Error::new(ErrorKind::ConnectionRefused, "it had reached itself"));
        }
        self.socket.set_nonblocking(false)?;
        self.socket.set_tcp_nodelay(true)?;
        if let Some(keepalive) = &options.keepalive {
            self.socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(target_os = "linux")]
        if options.user_timeout.is_some() {
            self.socket.set_tcp_user_timeout(options.user_timeout)?;
        }
        Ok(self.socket.into())
    }
}

#[derive(Default)]
struct Failures {
    text: String,
    kind: Option<ErrorKind>,
    exhausted: bool,
}

/// What each address said.
#[derive(Debug)]
pub(crate) struct Unanswered {
    text: String,
    /// This machine had no descriptor or memory left for a socket.
    pub(crate) exhausted: bool,
}

impl Unanswered {
    /// No descriptor is left for whatever it was that said this.
    pub(crate) fn exhausted(text: String) -> Unanswered {
        Unanswered { text, exhausted: true }
    }

    /// The same with these words.
    pub(crate) fn with(&self, text: String) -> Unanswered {
        Unanswered { text, ..*self }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Unanswered {}

/// Whether this machine has run out of something, and no peer is to blame.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

impl Failures {
    fn add(&mut self, address: SocketAddr, error: &io::Error) {
        let separator = if self.text.is_empty() { "" } else { "; " };
        self.text = format!("{}{separator}{address}: {error}", self.text);
        self.kind = Some(error.kind());
        self.exhausted |= is_exhausted(error);
    }

    fn all(self) -> io::Error {
        let kind = self.kind.unwrap_or(ErrorKind::AddrNotAvailable);
        io::Error::new(kind, Unanswered { text: self.text, exhausted: self.exhausted })
    }

    fn timed_out(self) -> io::Error {
        Failures { kind: Some(ErrorKind::TimedOut), ..self }.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_first_stays_first() {
        let all = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let order = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleaved(&all), order);
        assert_eq!(interleaved(&all[3..]), all[3..]);
        assert!(interleaved(&[]).is_empty());
    }
}
