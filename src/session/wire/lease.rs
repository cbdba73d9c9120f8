//! The transport of one request: what ureq writes goes out, or its stand-in does; what it reads is
//! what the doorkeeper shows it.

use std::borrow::Cow;
use std::sync::Arc;

use ureq::unversioned::transport::{Buffers as UreqBuffers, NextTimeout, Transport};
use ureq::{Error, Timeout};

use super::super::call;
use super::super::conn::{Arrived, Conn};
use super::super::inbound::Head;
use super::super::pool::places::Key;
use super::super::proxy::Proxy;
use super::super::trouble::Trouble;
use super::words::{allowed, reported};

/// The transport of one request.
#[derive(Debug)]
pub(crate) struct Lease {
    /// None only while it is dropped.
    conn: Option<Conn>,
    /// A request of the session.
    ours: bool,
    /// The final head has come.
    head: Option<Head>,
    /// What ureq reads, and how much of it it has read.
    shown: Cow<'static, [u8]>,
    at: usize,
    /// ureq's head has gone out.
    begun: bool,
    /// ureq's head goes to this proxy, in its form.
    forward: Option<(Arc<Proxy>, Key)>,
}

/// What ureq sees of every answer: that there is one, without a body. Its status and its body are
/// none of ureq's business, and the shortest head is the soonest read.
const STAND_IN: &[u8] = b"HTTP/1.1 204 -\r\n\r\n";

impl Lease {
    pub(super) fn new(conn: Conn, ours: bool, forward: Option<(Arc<Proxy>, Key)>) -> Lease {
        let shown = Cow::Borrowed(&[][..]);
        Lease { conn: Some(conn), ours, head: None, shown, at: 0, begun: false, forward }
    }

    fn rest(&self) -> &[u8] {
        &self.shown[self.at..]
    }

    fn conn(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("it is taken by the drop alone")
    }

    /// Tells the body of the request that the server does not read the rest of it.
    fn note_deaf(&mut self) {
        if self.conn().is_deaf() {
            call::note_unwanted();
        }
    }

    fn limit(&mut self, timeout: &NextTimeout) {
        if !self.ours {
            self.conn().limits.silence = allowed(timeout);
        }
    }

    fn fail(&mut self, trouble: Trouble, timeout: &NextTimeout) -> Error {
        reported(trouble, self.ours, timeout, self.head.is_some())
    }

    fn show(&mut self, bytes: Cow<'static, [u8]>) {
        (self.shown, self.at) = (bytes, 0);
    }

    /// Waits for what ureq reads next.
    fn await_shown(&mut self, timeout: &NextTimeout) -> Result<(), Trouble> {
        if self.head.is_some() {
            return self.await_body();
        }
        let for_100 = (timeout.reason == Timeout::Await100).then(|| allowed(timeout)).flatten();
        let arrived = self.conn().answer(for_100);
        self.note_deaf();
        match arrived? {
            Arrived::Continue => {
                self.show(Cow::Borrowed(b"HTTP/1.1 100 Continue\r\n\r\n"));
            }
            Arrived::Final(head) => {
                let shown = match self.ours {
                    true => Cow::Borrowed(STAND_IN),
                    false => head.rewritten().into(),
                };
                self.show(shown);
                self.head = Some(head);
            }
            Arrived::Nothing => {}
        }
        Ok(())
    }

    fn await_body(&mut self) -> Result<(), Trouble> {
        if self.ours {
            return Ok(()); // ureq has no reason to ask, and what it gets is an end
        }
        let mut bytes = std::mem::take(&mut self.shown).into_owned();
        bytes.resize(16 * 1024, 0);
        let n = self.conn().body(&mut bytes)?;
        bytes.truncate(n);
        self.show(bytes.into());
        Ok(())
    }

    /// ureq's head in the form for a proxy: with the whole URL, and the proxy's password.
    fn forwarded(&mut self, amount: usize) -> Option<Vec<u8>> {
        let (proxy, key) = self.forward.take()?;
        let head = &self.conn().line().buffers.output()[..amount];
        let blank = memchr::memchr(b' ', head)?;
        let end = memchr::memmem::find(head, b"\r\n")?;
        let mut out = head[..=blank].to_vec();
        out.extend_from_slice(format!("http://{}", key.authority).as_bytes());
        out.extend_from_slice(&head[blank + 1..end]);
        if let Some(authorization) = proxy.authorization() {
            out.extend_from_slice(format!("\r\nproxy-authorization: {authorization}").as_bytes());
        }
        out.extend_from_slice(&head[end..]);
        Some(out)
    }
}

impl Transport for Lease {
    fn buffers(&mut self) -> &mut dyn UreqBuffers {
        self
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.limit(&timeout);
        if !self.ours && !std::mem::replace(&mut self.begun, true) {
            self.conn().read_own_head(amount);
            if let Some(head) = self.forwarded(amount) {
                self.conn().replace(head);
            }
        }
        let sent = self.conn().transmit(amount);
        self.note_deaf();
        sent.map_err(|trouble| self.fail(trouble, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.limit(&timeout);
        match self.await_shown(&timeout) {
            // Nobody said 100 in time: the body is sent all the same.
            Ok(()) if timeout.reason == Timeout::Await100 && self.rest().is_empty() => {
                Err(Error::Timeout(Timeout::Await100))
            }
            Ok(()) => Ok(!self.rest().is_empty()),
            Err(trouble) => Err(self.fail(trouble, &timeout)),
        }
    }

    /// ureq keeps no connection itself.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        // ureq asks once, and refuses https without it; TLS is our own business here, and no
        // connection for https is made without.
        true
    }
}

impl UreqBuffers for Lease {
    fn output(&mut self) -> &mut [u8] {
        self.conn().line().buffers.output()
    }

    fn input(&self) -> &[u8] {
        self.rest()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        &mut [] // what is shown comes from us alone
    }

    fn input_appended(&mut self, _: usize) {}

    fn input_consume(&mut self, amount: usize) {
        self.at += amount;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.conn().line().buffers.piece_and_output()
    }

    fn can_use_input(&self) -> bool {
        !self.rest().is_empty()
    }
}

impl Drop for Lease {
    /// May run under ureq's own lock: it neither blocks nor calls ureq.
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.ours {
            let head = self.head.take();
            call::note(move |outcome| {
                outcome.story = conn.story;
                outcome.arrived = head.map(|head| (head, conn));
            });
        }
    }
}
