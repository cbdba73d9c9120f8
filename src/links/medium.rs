//! What carries a link, and so what differs from one kind to the next: how a connection is opened
//! and closed, how a beat goes out and what comes is found, what may be seen of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::Loss;
use crate::heartbeat::Heartbeat;
use crate::links::common::Common;
use crate::links::socket_view::SocketView;
use crate::pulse::{Input, Report};

/// When a wait is over.
pub(crate) struct Due {
    /// The pulse has something to judge.
    pub(crate) verdict: Option<Instant>,
    /// The same, a look, or something else that the inquiry is to do; whichever is first.
    pub(crate) any: Option<Instant>,
    /// How long a beat in flight is waited for in one piece, if one is.
    pub(crate) piece: Option<Duration>,
}

/// How a wait ended.
pub(crate) enum Passed {
    /// The time was up, and nothing had come.
    Time,
    /// Something came, and was told or waits to be taken; or nobody knows.
    Something,
}

/// Called by the driver, which keeps the order of the steps. What a medium
/// finds it tells by [`Common::tell`]. Where the driver also asks what may be seen of the link, the
/// medium is its own [`SocketView`].
pub(crate) trait Medium: SocketView + Sized {
    /// Whether a beat that is not answered is looked at on the socket.
    const LOOKS: bool;

    /// Opens a connection, up to where the first beat may be sent. When it stood.
    ///
    /// # Errors
    ///
    /// It could not be opened, and nothing of it is left open. `Stopped` where the link is to end
    /// instead.
    fn open(&mut self, link: &mut Common) -> Result<Instant, Loss>;

    /// Whether a connection stands.
    fn is_open(&self) -> bool;

    /// Whom it is to, as far as that is known.
    fn peer(&self) -> Option<SocketAddr>;

    /// The socket on which the error of a router may wait, where that is ours to take.
    fn socket(&self) -> Option<(&Socket, SocketAddr)>;

    /// Sends this beat, and tells what became of it, now or later.
    fn beat(&mut self, link: &mut Common, seq: u64);

    /// The pulse gives the connection up.
    fn close(&mut self, link: &mut Common);

    /// Takes what has come, and tells one thing of it. False where there was nothing. The pulse has
    /// something to judge by `verdict`.
    ///
    /// # Errors
    ///
    /// The connection is lost by what came.
    fn take(&mut self, link: &mut Common, verdict: Option<Instant>) -> Result<bool, Loss>;

    /// Waits until something comes, or the time is up.
    fn wait(&mut self, link: &mut Common, due: &Due) -> Passed;

    /// The time is up.
    fn tick(&mut self, link: &mut Common) {
        link.tell(Input::Tick);
    }

    /// The connection is lost, for this reason.
    fn lose(&mut self, link: &mut Common, loss: Loss) {
        link.tell(Input::Lost(loss));
    }

    /// A read, or the kernel's own word, says that the connection has ended.
    fn on_end(&mut self, link: &mut Common, loss: Loss) {
        self.lose(link, loss);
    }

    /// The link is to stop. Tells the next thing that had happened before; false with none left.
    fn last_words(&mut self, link: &mut Common) -> bool;

    /// Another heartbeat from here on.
    fn adjust(&mut self, heartbeat: &Heartbeat) {
        let _ = heartbeat;
    }

    /// A report on its way, to which the medium may add. False if it is to go no further.
    fn on_report(&mut self, link: &mut Common, report: &mut Report) -> bool {
        let _ = (link, report);
        true
    }
}
