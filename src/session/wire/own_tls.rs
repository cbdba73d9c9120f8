//! ureq's own TLS over our pipes, for a request through the agent that has TLS settings of its own.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::time::Duration as Lapse;
use ureq::unversioned::transport::{
    Buffers as UreqBuffers, ConnectionDetails, Connector, Either, NextTimeout, Transport,
    TransportAdapter,
};

use super::super::buffers::{Buffers, Line};
use super::super::facts::Facts;
use super::super::pipe::{Pipe, Probe, Unwritten};
use super::words::{allowed, failed};

/// A request with TLS settings of its own has them from ureq, and so ureq's own TLS.
pub(super) fn with_tls_of_request(
    under: Box<dyn Pipe>,
    details: &ConnectionDetails,
) -> io::Result<Box<dyn Pipe>> {
    let connector = ureq::unversioned::transport::RustlsConnector::default();
    match connector.connect(details, Some(Line::new(under))) {
        Ok(Some(Either::B(tls))) => Ok(Box::new(Tunnel::new(Box::new(tls), details))),
        Ok(_) => Err(io::Error::other(Error::TlsRequired)),
        Err(Error::Io(error)) => Err(unwrapped(error)),
        Err(Error::Timeout(_)) => Err(ErrorKind::WouldBlock.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

impl UreqBuffers for Buffers {
    fn output(&mut self) -> &mut [u8] {
        self.output()
    }

    fn input(&self) -> &[u8] {
        self.input()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.space()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled(amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.used(amount);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.piece_and_output()
    }

    fn can_use_input(&self) -> bool {
        !self.input().is_empty()
    }
}

/// What is under ureq's own TLS.
impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn UreqBuffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.write(amount, allowed(&timeout)).map_err(|unwritten| match unwritten.answered {
            true => Error::Io(io::Error::new(ErrorKind::ConnectionAborted, Answered)),
            false => failed(unwritten.error, &timeout),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let n = self.read(allowed(&timeout)).map_err(|error| failed(error, &timeout))?;
        Ok(n > 0)
    }

    fn is_open(&mut self) -> bool {
        self.buffers.input().is_empty() && matches!(self.pipe.probe(), Probe::Quiet)
    }
}

/// A transport of ureq's as a pipe: a connection under ureq's own TLS.
struct Tunnel {
    adapter: TransportAdapter,
}

impl Tunnel {
    fn new(transport: Box<dyn Transport>, details: &ConnectionDetails) -> Tunnel {
        let clock = Arc::clone(&details.current_time);
        Tunnel { adapter: TransportAdapter::new(transport, clock) }
    }

    fn set_timeout(&mut self, most: Option<Duration>) {
        let after = most.map_or(Lapse::NotHappening, Lapse::Exact);
        self.adapter.set_timeout(NextTimeout { after, ..NextTimeout::default() });
    }
}

impl Pipe for Tunnel {
    fn read(&mut self, buffer: &mut [u8], most: Option<Duration>) -> io::Result<usize> {
        self.set_timeout(most);
        self.adapter.read(buffer).map_err(unwrapped)
    }

    fn write_all(&mut self, bytes: &[u8], most: Option<Duration>) -> Result<(), Unwritten> {
        self.set_timeout(most);
        self.adapter.write_all(bytes).map_err(|error| {
            let answered = error.get_ref().is_some_and(|inner| inner.is::<Answered>());
            // How much of it went out is not known.
            Unwritten { error: unwrapped(error), begun: true, answered }
        })
    }

    fn probe(&mut self) -> Probe {
        match self.holds_bytes() {
            true => Probe::Bytes,
            false if self.adapter.get_mut().is_open() => Probe::Quiet,
            false => Probe::Closed,
        }
    }

    /// For whoever uses the agent there is nobody to ask for them.
    fn facts(&self) -> Facts {
        Facts::default()
    }

    /// The transport below has read ahead.
    fn holds_bytes(&mut self) -> bool {
        !self.adapter.get_mut().buffers().input().is_empty()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}

/// The answer came before the request was written: through ureq's layers, to the lease above.
#[derive(Debug)]
struct Answered;

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server answered before it had read the whole request")
    }
}

impl std::error::Error for Answered {}

/// ureq wraps its own timeouts into an error of input and output.
fn unwrapped(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::Timeout(_)) => ErrorKind::WouldBlock.into(),
        _ => error,
    }
}
