//! Facts: what is known of the connection that a response came over.

use std::net::SocketAddr;
use std::time::SystemTime;

use super::Response;

/// Of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<SocketAddr>,
    /// The version of TLS.
    pub(crate) tls: Option<&'static str>,
    pub(crate) expires: Option<SystemTime>,
}

impl Response {
    /// This end of the connection; none over a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.exchange.facts.local
    }

    /// The other end of the connection: the server's, or that of the proxy before it; none over a
    /// Unix socket.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = server.local_addr()?;
    /// # std::thread::spawn(move || {
    /// #     let mut stream = server.accept().unwrap().0;
    /// #     stream.read(&mut [0; 1024]).unwrap();
    /// #     stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    /// # });
    /// let session = keepbeat::Session::new()?;
    /// let response = session.get(format!("http://{address}/")).send()?;
    /// assert_eq!(response.peer_addr(), Some(address));
    /// assert_eq!((response.tls_version(), response.reused()), (None, false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.exchange.facts.peer
    }

    /// `TLS 1.3` or `TLS 1.2`; none without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        self.exchange.facts.tls
    }

    /// When the certificate of the other end expires; none without TLS.
    pub fn certificate_expires(&self) -> Option<SystemTime> {
        self.exchange.facts.expires
    }
}
