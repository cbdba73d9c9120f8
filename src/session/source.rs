//! Where connections start and where they end, other than by their names: a source address, an
//! interface, a Unix socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use socket2::{SockAddr, Socket};

use crate::error::Error;

/// What connections of a session start from, and where they all go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(super) address: Option<IpAddr>,
    pub(super) interface: Option<String>,
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
    Err(io::ErrorKind::Unsupported.into()) // refused before
}
