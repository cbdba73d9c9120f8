//! Login: a new connection, before the application's frames flow.

use std::fmt;
use std::net::SocketAddr;

use crate::cause::Loss;
use crate::protocol::Rejected;

/// What logs in on each new connection: see [`Connect::login`](crate::Connect::login).
pub(crate) type LoginHook = Box<dyn FnMut(&mut Login<'_>) -> Result<(), Rejected> + Send + 'static>;

/// A new connection, before the application's frames flow: for logging in on it.
///
/// All of it must be through within the heartbeat's connect timeout.
pub struct Login<'a>(pub(crate) &'a mut dyn Conversation);

/// What a login does with a new connection.
pub(crate) trait Conversation {
    fn connection(&self) -> u64;

    fn peer(&self) -> SocketAddr;

    fn send(&mut self, data: &[u8]) -> Result<(), Loss>;

    /// The next frame of data, whole.
    fn receive(&mut self) -> Result<Vec<u8>, Loss>;
}

impl Login<'_> {
    /// The number of this connection on its link, from 1.
    pub fn connection(&self) -> u64 {
        self.0.connection()
    }

    /// The address that it goes to.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer()
    }

    /// Sends `data` as one whole frame.
    ///
    /// # Errors
    ///
    /// The connection has ended. Hand it on with `?`: it becomes the cause.
    pub fn send(&mut self, data: impl AsRef<[u8]>) -> Result<(), Rejected> {
        self.0.send(data.as_ref()).map_err(Rejected)
    }

    /// Waits for the next frame of the peer: its data.
    ///
    /// # Errors
    ///
    /// The connection has ended, or the time is up. Hand it on with `?`: it becomes the cause.
    pub fn receive(&mut self) -> Result<Vec<u8>, Rejected> {
        self.0.receive().map_err(Rejected)
    }
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("connection", &self.connection()).finish_non_exhaustive()
    }
}
