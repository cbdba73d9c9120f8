//! A connection of keepbeat's own, to a target: its turn at the gate, the name, the addresses, TLS.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::links::connect::connect;
use crate::links::handle::Handle;
use crate::links::resolve;
use crate::links::seat::Shared;
use crate::net::connection::Connection;
use crate::net::tls::Secure;
use crate::target::Target;

pub(crate) struct Dialer {
    pub(crate) handle: Arc<Handle>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) target: Target,
    pub(crate) secure: Option<Secure>,
    /// The connection carries the application's data as well.
    pub(crate) carries_data: bool,
    pub(crate) promise: Promise,
}

/// A link that opens connections has one socket, now or later: while it has none, one is kept free.
pub(crate) struct Promise {
    shared: Arc<Shared>,
    is_open: Cell<bool>,
}

impl Promise {
    pub(crate) fn new(shared: &Arc<Shared>) -> Promise {
        shared.promised.fetch_add(1, Ordering::SeqCst);
        Promise { shared: Arc::clone(shared), is_open: Cell::new(false) }
    }

    fn set_open(&self, open: bool) {
        match (self.is_open.replace(open), open) {
            (false, true) => drop(self.shared.promised.fetch_sub(1, Ordering::SeqCst)),
            (true, false) => drop(self.shared.promised.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.set_open(true);
    }
}

impl Dialer {
    /// A connection, and how long it took. `Cause::Stopped` if the link is to stop instead.
    pub(crate) fn dial(&self, heartbeat: &Heartbeat) -> Result<(Connection, Duration), Loss> {
        self.wait_for_turn()?;
        let start = Instant::now();
        let (host, port) = (self.target.host(), self.target.port());
        let addresses = resolve::addresses(&self.handle, &*self.shared.resolve, host, port)?;
        let secure = self.secure.as_ref();
        let connection = connect(&self.handle, &addresses, secure, heartbeat, self.carries_data)?;
        self.promise.set_open(true);
        Ok((connection, start.elapsed()))
    }

    /// The connection is closed.
    pub(crate) fn hang_up(&self) {
        self.handle.set_socket(None);
        self.promise.set_open(false);
    }

    /// Until the gate opens.
    fn wait_for_turn(&self) -> Result<(), Loss> {
        let turn = self.shared.gate.turn(Instant::now());
        loop {
            if self.handle.gives_up_dialing() {
                return Err(Cause::Stopped.into());
            }
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::park_timeout(left);
        }
    }
}
