//! When a beat that is not answered is looked at: what a router says is told within 50 ms of its
//! coming, and a healthy beat is answered before the first look.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::Loss;
use crate::net::read_half::loss_of;
use crate::tcp_info::{TcpInfo, TcpState};

/// How long after a beat the first look is taken, at least, and how often from then on.
const LOOK: Duration = Duration::from_millis(40);

/// So many links may look at that pace; more share it.
const LOOKERS: u32 = 250;

/// How long after a beat its first look is taken: twice the usual answer at least. It moves in
/// steps of two, and back only where the usual answer has fallen to an eighth: the read timeout
/// follows it, so an answer that varies around a step must not move it at every beat.
fn attention(before: Duration, usual: Option<Duration>) -> Duration {
    let usual = usual.unwrap_or_default();
    let mut look = before.max(LOOK);
    while look < 2 * usual {
        look *= 2;
    }
    while look > LOOK && look > 8 * usual {
        look /= 2;
    }
    look
}

/// What a look at a socket found; nothing, as a rule.
pub(crate) enum Found {
    Nothing,
    /// The kernel's number for what a router or firewall said. The connection stands.
    Icmp(i32),
    /// It was no word of a router, but the end, which no read will tell any more.
    End(Loss),
}

/// Has a router said something of the connection? Only its link's thread may ask: the error is told
/// once. And what the kernel knows of one that stands, if it tells.
pub(crate) fn look_at(socket: &Socket, peer: SocketAddr) -> (Found, Option<TcpInfo>) {
    let look = || TcpInfo::of(socket).ok();
    let state = |info: &Option<TcpInfo>| info.as_ref().map(|info| info.state);
    let info = look();
    if state(&info) == Some(TcpState::Closed) {
        return (Found::Nothing, None); // a read tells it, behind what came before it
    }
    let Ok(Some(error)) = socket.take_error() else { return (Found::Nothing, info) };
    let found = match (state(&look()), error.raw_os_error()) {
        (None | Some(TcpState::Closed), _) => Found::End(loss_of(&error, peer)),
        (_, Some(errno)) => Found::Icmp(errno),
        (_, None) => Found::Nothing,
    };
    (found, info)
}

pub(crate) struct Looks {
    next: Option<Instant>,
    attention: Duration,
    is_looker: bool,
    /// Of all links of the coordinator, those that look.
    lookers: Arc<AtomicU32>,
    /// How often this beat was looked at.
    times: u32,
}

/// Each so many looks are thorough: our own side is looked at as well.
const THOROUGH: u32 = 5;

impl Drop for Looks {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Looks {
    pub(crate) fn new(lookers: Arc<AtomicU32>) -> Looks {
        Looks { next: None, attention: LOOK, is_looker: false, lookers, times: 0 }
    }

    /// How long after a beat the first look is taken.
    pub(crate) fn attention(&self) -> Duration {
        self.attention
    }

    /// When the beat that was written then is looked at next.
    pub(crate) fn due(&mut self, sent: Instant, usual: Option<Duration>) -> Instant {
        if self.next.is_none() {
            self.attention = attention(self.attention, usual);
        }
        *self.next.get_or_insert(sent + self.attention)
    }

    /// Whether this look is a thorough one.
    pub(crate) fn on_looked(&mut self, now: Instant) -> bool {
        if !std::mem::replace(&mut self.is_looker, true) {
            self.lookers.fetch_add(1, Ordering::Relaxed);
        }
        let lookers = self.lookers.load(Ordering::Relaxed);
        self.next = Some(now + LOOK * (1 + lookers / LOOKERS));
        self.times += 1;
        self.times % THOROUGH == 0
    }

    /// No beat is in flight.
    pub(crate) fn stop(&mut self) {
        (self.next, self.times) = (None, 0);
        if std::mem::take(&mut self.is_looker) {
            self.lookers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_comes_after_a_usual_answer_and_many_lookers_share_the_pace() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let lookers = Arc::new(AtomicU32::new(0));
        let mut looks = Looks::new(Arc::clone(&lookers));
        assert_eq!(looks.due(now, None), now + ms(40));
        looks.on_looked(now + ms(40));
        assert_eq!((looks.due(now, None), lookers.load(Ordering::Relaxed)), (now + ms(80), 1));
        lookers.fetch_add(1000, Ordering::Relaxed);
        looks.on_looked(now);
        assert_eq!(looks.due(now, None), now + ms(200));
        looks.stop();
        drop(looks);
        assert_eq!(lookers.load(Ordering::Relaxed), 1000, "counted once");
    }

    #[test]
    fn an_answer_that_varies_around_a_step_does_not_move_the_first_look() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut looks = Looks::new(Arc::default());
        let mut first = |usual| {
            let due = looks.due(now, Some(ms(usual)));
            looks.stop();
            (due - now, looks.attention())
        };
        assert_eq!(first(70), (ms(160), ms(160)));
        for usual in [79, 81, 75, 100, 41, 100] {
            assert!([ms(160), ms(320)].contains(&first(usual).0));
        }
        assert_eq!(first(100), (ms(320), ms(320)));
        assert_eq!(first(41).0, ms(320), "not yet an eighth");
        assert_eq!(first(21).0, ms(160));
        assert_eq!(first(1).0, ms(40));
    }
}
