//! Where connections start and where they end, other than by their names: a source address, an
//! interface, a Unix socket.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::SessionBuilder;
use super::dial::{Dialled, Unanswered};
use crate::error::Error;

/// How long a listener whose queue is full is left alone before it is asked again.
const AGAIN: Duration = Duration::from_millis(5);

/// What connections of a session start from, and where they all go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    address: Option<IpAddr>,
    interface: Option<String>,
    pub(super) unix: Option<PathBuf>,
}

impl Source {
    /// Whether a connection to there may start here.
    pub(super) fn reaches(&self, address: &SocketAddr) -> bool {
        self.address.is_none_or(|own| own.is_ipv4() == address.is_ipv4())
    }

    /// Makes a socket start from there.
    pub(super) fn bind(&self, socket: &Socket) -> io::Result<()> {
        let named = |error: io::Error, what: String| {
            let text = format!("from {what}: {error}");
            io::Error::new(error.kind(), text)
        };
        if let Some(name) = &self.interface {
            bind_device(socket, name).map_err(|error| named(error, format!("`{name}`")))?;
        }
        if let Some(address) = self.address {
            let own = SockAddr::from(SocketAddr::new(address, 0));
            socket.bind(&own).map_err(|error| named(error, address.to_string()))?;
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::invalid(text));
        if let Some(name) = &self.interface {
            // What the kernel takes for a name (dev_valid_name).
            let fits = (1..16).contains(&name.len());
            if !fits || name.bytes().any(|b| b == b'/' || b == 0 || b.is_ascii_whitespace()) {
                return wrong(format!("`{}` is no name of an interface", name.escape_debug()));
            }
            if !cfg!(target_os = "linux") {
                return wrong("an `interface` can be chosen on Linux alone".to_owned());
            }
        }
        if let Some(path) = &self.unix {
            SockAddr::unix(path)
                .map_err(|error| Error::io(format!("the `unix_socket` {}", path.display()), error))
                .map_err(|error| Error::invalid(error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn bind_device(socket: &Socket, name: &str) -> io::Result<()> {
    socket.bind_device(Some(name.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into()) // refused before
}

/// Connects to a Unix socket. What it gives is called a TCP stream and is a stream of bytes like
/// any other.
pub(super) fn dial_unix(
    path: &Path,
    until: Instant,
    closed: &dyn Fn() -> bool,
) -> io::Result<Dialled> {
    let named = |error: io::Error| {
        let text = format!("{}: {error}", path.display());
        match super::dial::is_exhausted(&error) {
            true => io::Error::new(error.kind(), Unanswered::exhausted(text)),
            false => io::Error::new(error.kind(), text),
        }
    };
    let begun = Instant::now();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(named)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    loop {
        if closed() {
            return Err(super::pipe::closed());
        }
        match socket.connect(&address) {
            Ok(()) => break,
            // The queue of the listener is full, and nothing tells when it is not.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() + AGAIN >= until {
                    return Err(super::pipe::timed_out());
                }
                std::thread::sleep(AGAIN);
            }
            Err(error) => return Err(named(error)),
        }
    }
    socket.set_nonblocking(false)?;
    let stream = TcpStream::from(OwnedFd::from(socket));
    Ok(Dialled { stream, peer: None, took: begun.elapsed() })
}

impl SessionBuilder {
    /// The address that connections start from: the kernel's choice unless set. Of a name's
    /// addresses, only those of the same family are tried.
    pub fn local_address(mut self, address: IpAddr) -> SessionBuilder {
        self.source.address = Some(address);
        self
    }

    /// The interface that connections start from (`SO_BINDTODEVICE`): by the routes unless set.
    /// Linux only; before 5.7 it takes a privilege.
    pub fn interface(mut self, name: impl Into<String>) -> SessionBuilder {
        self.source.interface = Some(name.into());
        self
    }

    /// All connections go to this Unix socket, whatever host the URL names: that is what the server
    /// is told in `Host`. No name is looked up, and no proxy is asked.
    ///
    /// ```no_run
    /// let session = keepbeat::Session::builder().unix_socket("/run/docker.sock").build()?;
    /// let version = session.get("http://docker/version").send()?.text()?;
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> SessionBuilder {
        self.source.unix = Some(path.into());
        self
    }
}
