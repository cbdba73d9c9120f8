//! TLS of one connection apart from its socket: ciphertext in, ciphertext out. Links and sessions
//! share it; each moves the bytes in its own way.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::tls_words::is_tls;

#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) session: ClientConnection,
    /// Some bytes of the peer have come.
    heard: bool,
}

/// What is wrong with what came.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The first bytes are no TLS.
    Plaintext,
    /// TLS refuses it. An alert waits to be sent.
    Refused(rustls::Error),
    /// It does not fit into a record.
    Unreadable(io::Error),
}

impl Records {
    pub(crate) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Records, rustls::Error> {
        Ok(Records { session: ClientConnection::new(config, name)?, heard: false })
    }

    /// Whether some bytes of the peer have come.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard
    }

    /// What came from the peer. Nothing stands for the end of it, after which reading says whether
    /// there was a farewell.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let first = !self.heard && !bytes.is_empty();
        self.heard |= first;
        if first && !is_tls(bytes[0]) {
            return Err(Fault::Plaintext);
        }
        let mut rest = bytes;
        loop {
            let taken = self.session.read_tls(&mut rest);
            // What came whole before a fault counts first.
            self.session.process_new_packets().map_err(Fault::Refused)?;
            // After a farewell nothing is taken any more.
            if taken.map_err(Fault::Unreadable)? == 0 || rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// All that waits to be sent, in place of what stood there.
    pub(crate) fn seal_into(&mut self, out: &mut Vec<u8>) {
        out.clear();
        while self.session.wants_write() {
            self.session.write_tls(out).expect("a Vec takes any bytes");
        }
    }
}
