//! TLS over another pipe, by rustls.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};

use super::facts::Facts;
use super::pipe::{Pipe, Probe, Unwritten, timed_out};
use crate::cause::Loss;
use crate::error::Error;
use crate::net::records::{Fault, Records};
use crate::tls::expires;
use crate::tls_words;

/// One record of TLS at its longest, so that each costs one read.
const RECORD: usize = 17 * 1024;

/// Tickets come in twos; more than this on an idle connection are no protocol.
const MOST_RECORDS: usize = 16;

/// What rustls needs to know, with what a server may want to hear before it speaks HTTP/1.1
/// (RFC 7301).
pub(crate) fn config(tls: &crate::tls::Tls) -> Result<Arc<ClientConfig>, Error> {
    let mut config = tls.config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
pub(crate) struct Tls {
    records: Box<Records>,
    under: Box<dyn Pipe>,
    facts: Facts,
    /// Ciphertext on its way in and out; none while idle.
    raw: Vec<u8>,
    out: Vec<u8>,
}

impl Tls {
    /// Shakes hands, within the time.
    pub(crate) fn connect(
        under: Box<dyn Pipe>,
        config: Arc<ClientConfig>,
        host: &str,
        until: Option<Instant>,
    ) -> io::Result<Tls> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, format!("{host}: {error}")))?;
        let records = Records::new(config, name).map_err(io::Error::other)?;
        let (records, facts) = (Box::new(records), under.facts());
        let mut tls = Tls { records, under, facts, raw: Vec::new(), out: Vec::new() };
        tls.shake_hands(until).map_err(|error| explained(error, host))?;
        tls.facts.expires = tls.records.session.peer_certificates().and_then(expires);
        tls.facts.tls = tls.records.session.protocol_version().and_then(named);
        Ok(tls)
    }

    fn shake_hands(&mut self, until: Option<Instant>) -> io::Result<()> {
        while self.records.session.is_handshaking() {
            let left = left(until)?;
            self.flush(left).map_err(|unwritten| unwritten.error)?;
            if !self.records.session.is_handshaking() {
                break;
            }
            let n = self.fill(left)?;
            if n == 0 {
                let what = "closed in the middle of the handshake; is it a port for TLS?";
                return Err(words(&tls_words::tls_failed("protocol", what)));
            }
            self.take_in(n)?;
        }
        self.flush(left(until)?).map_err(|unwritten| unwritten.error)
    }

    /// Sends the records that TLS has queued.
    fn flush(&mut self, most: Option<Duration>) -> Result<(), Unwritten> {
        if !self.records.session.wants_write() {
            return Ok(());
        }
        self.records.seal_into(&mut self.out);
        // What the pipe below reads without TLS is no response.
        self.under
            .write_all(&self.out, most)
            .map_err(|unwritten| Unwritten { answered: false, ..unwritten })
    }

    /// Reads once, and says how many bytes came; 0 at the end.
    fn receive(&mut self, most: Option<Duration>) -> io::Result<usize> {
        let n = self.fill(most)?;
        self.take_in(n)?;
        Ok(n)
    }

    /// The next ciphertext.
    fn fill(&mut self, most: Option<Duration>) -> io::Result<usize> {
        self.raw.resize(RECORD, 0);
        self.under.read(&mut self.raw, most)
    }

    fn take_in(&mut self, n: usize) -> io::Result<()> {
        let bytes = &self.raw[..n];
        match self.records.take(bytes) {
            Ok(()) => Ok(()),
            Err(Fault::Plaintext) => Err(words(&tls_words::plaintext(bytes, &"the server"))),
            Err(Fault::Unreadable(error)) => Err(error),
            Err(Fault::Refused(error)) => {
                // The alert tells the peer why; it is late for anything else.
                let _ = self.flush(Some(Duration::from_millis(1)));
                Err(io::Error::new(ErrorKind::InvalidData, error))
            }
        }
    }
}

fn named(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLS 1.3"),
        _ => None,
    }
}

fn words(loss: &Loss) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, loss.clone())
}

/// The error of a handshake in plain words.
fn explained(error: io::Error, host: &str) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.map(|inner| words(&tls_words::failed(inner, host, &host))).unwrap_or(error)
}

fn left(until: Option<Instant>) -> io::Result<Option<Duration>> {
    match until.map(|until| until.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(timed_out()),
        left => Ok(left),
    }
}

impl Pipe for Tls {
    fn read(&mut self, buffer: &mut [u8], most: Option<Duration>) -> io::Result<usize> {
        let until = most.map(|most| Instant::now() + most);
        loop {
            match self.records.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            // 0 makes the next turn say how it ended: with a farewell, or without.
            self.receive(left(until)?)?;
            // For example the answer to a new key; a peer that has gone does not need it.
            if self.records.session.wants_write() {
                let _ = self.flush(left(until)?);
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8], most: Option<Duration>) -> Result<(), Unwritten> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let begun = rest.len() < bytes.len();
            let n = self
                .records
                .session
                .writer()
                .write(rest)
                .map_err(|error| Unwritten::new(error, begun))?;
            self.flush(most)
                .map_err(|unwritten| Unwritten { begun: begun || unwritten.begun, ..unwritten })?;
            rest = &rest[n..];
        }
        Ok(())
    }

    fn probe(&mut self) -> Probe {
        for _ in 0..MOST_RECORDS {
            match self.under.probe() {
                Probe::Bytes => {}
                other => return other,
            }
            // A ticket, a new key, or a farewell: TLS has to see it; and what stands behind it may
            // be the end, so that it is not enough to look once.
            match self.receive(Some(Duration::from_millis(1))) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Probe::Quiet,
                Err(error) => return Probe::Broken(error),
            }
            match self.records.session.reader().read(&mut [0]) {
                Ok(0) => return Probe::Closed,
                Ok(_) => return Probe::Bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Probe::Closed,
                Err(error) => return Probe::Broken(error),
            }
        }
        // A peer that floods an idle connection with records.
        Probe::Bytes
    }

    fn facts(&self) -> Facts {
        self.facts
    }

    fn holds_bytes(&mut self) -> bool {
        let quiet = matches!(
            self.records.session.reader().read(&mut [0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock
        );
        !quiet || self.under.holds_bytes()
    }

    fn shed(&mut self) {
        (self.raw, self.out) = (Vec::new(), Vec::new());
        self.under.shed();
    }
}
