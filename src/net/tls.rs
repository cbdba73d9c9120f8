//! TLS on a link's socket: the handshake, bytes sealed on their way out and opened on their way in.
//! It never touches a socket but in the handshake, so that reads and writes stay where they are for
//! a plain connection, and no write becomes a writev.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::Socket;

use crate::cause::{Cause, Loss, cause_of};
use crate::error::Error;
use crate::net::inbox::Inbox;
use crate::net::records::{Fault, Records};
use crate::sys::{self, Ready};
use crate::target::Target;
use crate::tcp_info::TcpInfo;
use crate::tls::{Tls, expires};
use crate::tls_words::{failed, plaintext, silent, tls_failed};

/// One read. An ack is smaller, a record of 16 KiB costs four.
const READ: usize = 4096;

/// How the connections of a link are secured.
#[derive(Clone)]
pub(crate) struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    warns_before: Option<Duration>,
}

impl Secure {
    /// None for a target without TLS.
    pub(crate) fn of(target: &Target) -> Result<Option<Secure>, Error> {
        if !target.is_tls() {
            return Ok(None);
        }
        let (config, warns_before) = match target.tls_settings() {
            Some(tls) => (tls.config_of_link()?, tls.warns_before()),
            None => (by_default()?, Tls::new().warns_before()),
        };
        let host = target.host_elsewhere();
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::invalid(format!(
                "target `{target}`: no certificate can have the name `{host}`: use a DNS name or \
                 an address"
            ))
        })?;
        Ok(Some(Secure { config, name, warns_before }))
    }

    /// How long before its end the peer's certificate is worth a warning; none if never.
    pub(crate) fn warns_before(&self) -> Option<Duration> {
        self.warns_before
    }

    /// Until both sides are content, or the deadline. A stop ends it by shutting the socket down.
    #[inline(never)] // its stack would stay with each link that has no TLS
    pub(crate) fn shake_hands(
        &self,
        socket: &Socket,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<Layer, Loss> {
        let records = Records::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| failed(&error, &self.name.to_str(), &peer))?;
        let name = self.name.to_str().into_owned();
        let raw = vec![0; READ].into_boxed_slice();
        let out = Vec::new();
        let mut layer = Layer { records, name, raw, out, broken: None };
        // A beat is written as one; nothing else ever waits in there.
        layer.records.session.set_buffer_limit(None);
        layer.handshake(socket, peer, deadline)?;
        Ok(layer)
    }
}

/// Trust in the public authorities: a hundred of them, read once.
fn by_default() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    match CONFIG.get() {
        Some(config) => Ok(Arc::clone(config)),
        None => {
            let config = Tls::new().config_of_link()?;
            Ok(Arc::clone(CONFIG.get_or_init(|| config)))
        }
    }
}

/// The TLS of one connection.
pub(crate) struct Layer {
    records: Records,
    /// The name that the certificate must have.
    name: String,
    /// Where the next bytes of the socket go.
    raw: Box<[u8]>,
    /// Sealed, on its way out.
    out: Vec<u8>,
    /// What ended it. Told after whatever came whole before it, such as an ack.
    broken: Option<Loss>,
}

/// What came out of the records so far.
pub(crate) enum Opened {
    /// Bytes, into the inbox.
    Bytes,
    /// Nothing for us: a part of a record, a session ticket.
    Nothing,
    /// The peer said good-bye within TLS.
    Closed,
    Lost(Loss),
}

impl Layer {
    fn handshake(
        &mut self,
        socket: &Socket,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<(), Loss> {
        let start = Instant::now();
        let lost = |error: std::io::Error| {
            let cause = cause_of(&error).unwrap_or(Cause::Reset);
            Loss::new(cause, format!("{peer}, in the TLS handshake: {error}"))
        };
        loop {
            let mut rest = self.sealed();
            while !rest.is_empty() {
                match socket.send_with_flags(rest, libc::MSG_NOSIGNAL) {
                    Ok(n) => rest = &rest[n..],
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(lost(error)),
                }
            }
            if !self.records.session.is_handshaking() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match sys::wait_readable(socket, Some(left)) {
                Ok(Ready::Yes) => {}
                Ok(Ready::TimedOut) => {
                    return Err(no_end(socket, peer, start.elapsed(), self.records.has_heard()));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(lost(error)),
            }
            match sys::recv_now(socket, &mut self.raw) {
                Ok(0) => {
                    let what = format!(
                        "{peer} closed the connection in the middle of the \
                                        handshake; is it a port for TLS?"
                    );
                    return Err(tls_failed("protocol", &what));
                }
                Ok(n) => self.take(n, peer).inspect_err(|_| self.last_words(socket))?,
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Where the next bytes of the socket go.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.raw
    }

    /// So many bytes were put into the space.
    pub(crate) fn filled(&mut self, n: usize, peer: SocketAddr) {
        if self.broken.is_none() {
            self.broken = self.take(n, peer).err();
        }
    }

    fn take(&mut self, n: usize, peer: SocketAddr) -> Result<(), Loss> {
        let bytes = &self.raw[..n];
        self.records.take(bytes).map_err(|fault| match fault {
            Fault::Plaintext => plaintext(bytes, &peer),
            Fault::Refused(error) => failed(&error, &self.name, &peer),
            Fault::Unreadable(error) => tls_failed("protocol", &format!("{peer}: {error}")),
        })
    }

    /// Puts what was sent to us into the inbox, as far as there is room.
    pub(crate) fn open_into(&mut self, inbox: &mut Inbox) -> Opened {
        let result = self.records.session.reader().read(inbox.space());
        match (result, &self.broken) {
            (Ok(n), _) if n > 0 => {
                inbox.filled(n);
                Opened::Bytes
            }
            (_, Some(loss)) => Opened::Lost(loss.clone()),
            (Ok(_), None) => Opened::Closed,
            // WouldBlock; anything else is told by the socket.
            (Err(_), None) => Opened::Nothing,
        }
    }

    /// These bytes as they go out, behind what TLS itself has to say.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> &[u8] {
        self.records.session.writer().write_all(bytes).expect("its buffer has no limit");
        self.sealed()
    }

    /// When the certificate of the peer expires, where that can be read.
    pub(crate) fn certificate_expires(&self) -> Option<SystemTime> {
        expires(self.records.session.peer_certificates()?)
    }

    /// The good-bye within TLS.
    pub(crate) fn farewell(&mut self) -> &[u8] {
        self.records.session.send_close_notify();
        self.sealed()
    }

    /// Everything that waits to be sent.
    fn sealed(&mut self) -> &[u8] {
        self.records.seal_into(&mut self.out);
        &self.out
    }

    /// Tells the peer what is wrong with it, if that goes without waiting.
    fn last_words(&mut self, socket: &Socket) {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let _ = socket.send_with_flags(self.sealed(), flags); // nobody is left to care
    }
}

/// No more of the handshake came. Where the peer's kernel has our part of it, and nothing of the
/// answer is missing on the way, it is whoever should speak TLS there that is silent.
fn no_end(socket: &Socket, peer: SocketAddr, waited: Duration, heard: bool) -> Loss {
    let info = TcpInfo::of(socket).ok();
    let waits = info.as_ref().is_some_and(TcpInfo::is_outstanding);
    let has_gap = info.as_ref().is_some_and(|info| info.rcv_ooopack.is_some_and(|n| n > 0));
    if !waits && !has_gap {
        return silent(&peer, waited, heard);
    }
    let what = format!(
        "{peer} took the connection, and no TLS handshake came to an end within {waited:.1?}"
    );
    Loss::new(Cause::ConnectTimeout, what)
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
