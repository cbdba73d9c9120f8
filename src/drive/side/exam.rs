//! The questions that side connections answer, in order: is the address still answered, is the
//! beat, does another payload pass, does a tiny one, does another port refuse, and do more
//! connections fare alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{Budget, Slot};
use crate::cause::{Cause, Loss};
use crate::diagnose::{Carried, Evidence, Fresh, Kept};
use crate::drive::connect::connect;
use crate::drive::guarded::Guarded;
use crate::drive::handle::Handle;
use crate::drive::inbox::Next;
use crate::drive::scene::Allowed;
use crate::drive::socket::{Connection, Woke};
use crate::drive::tls::Secure;
use crate::heartbeat::Heartbeat;
use crate::protocol::Frame;
use crate::tcp_info::TcpState;

/// How long an attempt may take: one lost SYN is sent again after a second.
const LEAST: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_millis(1300);

/// Three tenths of the link's timeout: three questions in a row are answered within one.
fn patience(timeout: Duration, rtt: Duration) -> Duration {
    let share = (timeout * 3 / 10).clamp(LEAST, MOST);
    share.max(3 * rtt).min(timeout.max(LEAST))
}

/// More connections, each from another port: with five in all one dead path of two is met, or
/// missed, by luck once in sixteen times.
const MORE: u32 = 4;

/// Nobody listens on it, as a rule (tcpmux, RFC 1078).
const CLOSED_PORT: u16 = 1;

/// Between two looks at what the kernel has acknowledged.
const STEP: Duration = Duration::from_millis(5);

/// What a link wants to know.
pub(crate) struct Question {
    /// Who asks, to be woken when there is an answer.
    pub(crate) link: Arc<Handle>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) address: SocketAddr,
    pub(crate) heartbeat: Heartbeat,
    /// How soon a beat was answered at best: the kernel's average may be that of a busy moment.
    pub(crate) rtt: Duration,
    pub(crate) allowed: Allowed,
    /// Whether the kernel of the peer acknowledged the live beat.
    pub(crate) acked: bool,
    /// The connection never came to be: only the other port can tell more.
    pub(crate) connecting: bool,
}

pub(super) fn run(question: Question, handle: &Handle, budget: &Budget) {
    let heartbeat = &question.heartbeat;
    let patience = patience(heartbeat.timeout, question.rtt);
    let heartbeat = Heartbeat {
        connect_timeout: patience,
        write_timeout: patience,
        carries_data: false,
        user_timeout: None,
        ..heartbeat.clone()
    };
    let found = Evidence::default();
    let mut exam = Exam { question, handle, budget, heartbeat, patience, found };
    // A budget that is spent, or a stop, ends it where it is.
    let _ = exam.all();
    handle.set_socket(None);
    exam.tell();
}

/// There are no more connections to be had.
struct Over;

struct Exam<'a> {
    question: Question,
    handle: &'a Handle,
    budget: &'a Budget,
    heartbeat: Heartbeat,
    patience: Duration,
    found: Evidence,
}

impl Exam<'_> {
    fn all(&mut self) -> Result<(), Over> {
        if self.question.connecting {
            return self.closed_port();
        }
        let first = self.open(self.question.address, self.question.allowed.secure.clone())?;
        self.found.fresh = Some(fresh(&first, self.handle));
        match first {
            Ok(connection) => self.payloads(connection)?,
            Err(_) if self.found.fresh == Some(Fresh::Silent) => self.closed_port()?,
            Err(_) => {}
        }
        self.tell();
        // Where the live beat arrived, or one on a fresh connection did not, the path is no riddle.
        let lost_again = self.found.fresh_beat == Some(Carried::Unacked);
        let answers = matches!(self.found.fresh, Some(Fresh::Connected | Fresh::Silent));
        if answers && !lost_again && !self.question.acked { self.more() } else { Ok(()) }
    }

    fn tell(&self) {
        self.question.slot.put(&self.found);
        self.question.link.wake();
    }

    /// One connection, if the budget has it.
    fn open(
        &mut self,
        address: SocketAddr,
        secure: Option<Secure>,
    ) -> Result<Result<Connection, Loss>, Over> {
        // One at a time: the last one is closed by now, but for what holds it to wake it.
        self.handle.set_socket(None);
        // They are for a link that is silent, and for no other.
        if self.handle.is_stopping() || self.question.slot.is_over() {
            return Err(Over);
        }
        if !self.budget.take(Instant::now()) {
            self.found.side = Some(Kept::Budget);
            return Err(Over);
        }
        let result = connect(self.handle, &[address], secure.as_ref(), &self.heartbeat);
        if self.handle.is_stopping() { Err(Over) } else { Ok(result) }
    }

    fn payloads(&mut self, connection: Connection) -> Result<(), Over> {
        let Some(protocol) = self.question.allowed.protocol.take() else { return Ok(()) };
        let carried = self.beat(connection, protocol);
        self.found.fresh_beat = Some(carried);
        if carried != Carried::Unacked || self.question.allowed.secure.is_some() {
            return Ok(());
        }
        if let Some(payload) = self.question.allowed.same_length.take() {
            let passed = self.payload(&payload)?;
            self.found.fresh_same_length = Some(passed);
            if passed != Carried::Unacked {
                return Ok(());
            }
        }
        if let Some(payload) = self.question.allowed.tiny.take() {
            self.found.fresh_tiny = Some(self.payload(&payload)?);
        }
        Ok(())
    }

    /// The same beat, after what opens the conversation.
    fn beat(&mut self, mut connection: Connection, mut protocol: Guarded) -> Carried {
        let mut out = Vec::new();
        let made = protocol.connected(&mut out).and_then(|()| protocol.beat(1, &mut out));
        if made.is_err() || connection.write(&out, self.patience).is_err() {
            return Carried::Ended;
        }
        let until = Instant::now() + self.spoken(&connection);
        loop {
            match connection.inbox.next(&mut protocol) {
                Ok(Next::Frame(Frame::Ack(_))) => return Carried::Answered,
                Ok(Next::Frame(_)) => continue,
                Ok(Next::Partial | Next::Nothing) => {}
                Err(_) => return Carried::Answered, // not as it should, but it came
            }
            match connection.wait(Some(until), None) {
                Woke::Bytes => {}
                Woke::Interrupted if self.handle.is_stopping() => return Carried::Ended,
                Woke::Interrupted => {}
                Woke::Quiet => return given_up(&connection),
                Woke::Lost(_) => return Carried::Ended,
            }
        }
    }

    /// A payload of no meaning, on a connection of its own: whether the kernel of the peer has it.
    fn payload(&mut self, payload: &[u8]) -> Result<Carried, Over> {
        let Ok(mut connection) = self.open(self.question.address, None)? else {
            return Ok(Carried::Ended);
        };
        if connection.write(payload, self.patience).is_err() {
            return Ok(Carried::Ended);
        }
        let until = Instant::now() + self.spoken(&connection);
        while let Some(info) =
            connection.tcp_info().filter(|info| info.unacked > 0 || info.unsent() > 0)
        {
            if info.state == TcpState::Closed {
                return Ok(Carried::Ended);
            }
            if Instant::now() >= until || self.handle.is_stopping() {
                break;
            }
            std::thread::park_timeout(STEP);
        }
        Ok(given_up(&connection))
    }

    /// How long until silence says something on this connection.
    fn spoken(&self, connection: &Connection) -> Duration {
        let Some(info) = connection.tcp_info() else { return self.patience };
        (3 * info.rto).max(4 * info.rtt + Duration::from_millis(200)).min(self.patience)
    }

    fn closed_port(&mut self) -> Result<(), Over> {
        if self.heartbeat.diagnose.closed_port {
            let address = SocketAddr::new(self.question.address.ip(), CLOSED_PORT);
            let result = self.open(address, None)?;
            self.found.closed_port = Some(fresh(&result, self.handle));
        }
        Ok(())
    }

    /// More connections, until some were answered and some were not.
    fn more(&mut self) -> Result<(), Over> {
        let first = self.found.fresh == Some(Fresh::Connected);
        let (mut tried, mut answered) = (0, 0);
        while tried < MORE {
            let result = self.open(self.question.address, None)?;
            match fresh(&result, self.handle) {
                Fresh::Connected | Fresh::Refused => answered += 1,
                Fresh::Silent => {}
                _ => break,
            }
            tried += 1;
            let mixed = if first { answered < tried } else { answered > 0 };
            if mixed {
                break;
            }
        }
        (self.found.more_fresh, self.found.more_answered) = (Some(tried), Some(answered));
        Ok(())
    }
}

/// No answer came.
fn given_up(connection: &Connection) -> Carried {
    match connection.tcp_info() {
        Some(info) if info.unacked == 0 && info.unsent() == 0 => Carried::Acked,
        Some(_) => {
            // Or the kernel here would go on sending it for minutes.
            let _ = SockRef::from(connection.socket()).set_linger(Some(Duration::ZERO));
            Carried::Unacked
        }
        None => Carried::Unanswered,
    }
}

fn fresh(result: &Result<Connection, Loss>, handle: &Handle) -> Fresh {
    match result {
        Ok(_) => Fresh::Connected,
        Err(loss) => match loss.cause {
            Cause::Refused => Fresh::Refused,
            // The peer took it, and says nothing in the handshake of TLS.
            Cause::ConnectTimeout if handle.has_stood() => Fresh::Failed,
            Cause::ConnectTimeout => Fresh::Silent,
            Cause::Unreachable => Fresh::Unreachable,
            Cause::Prohibited => Fresh::Prohibited,
            // Reset: it was accepted before.
            Cause::TlsFailed | Cause::Reset => Fresh::Failed,
            _ => Fresh::Local,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_questions_are_answered_within_a_timeout_and_a_slow_path_is_waited_for() {
        let ms = Duration::from_millis;
        assert_eq!(patience(ms(5000), ms(20)), MOST);
        assert_eq!(patience(ms(1500), ms(20)), ms(450));
        assert_eq!(patience(ms(1500), ms(250)), ms(750));
        assert_eq!(patience(ms(1500), ms(900)), ms(1500));
        assert_eq!(patience(ms(100), ms(20)), LEAST);
    }
}
