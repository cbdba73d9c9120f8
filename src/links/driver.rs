//! The only loop of a link, of whatever kind: poll the pulse, do what it says, tell it what
//! happened. What differs from kind to kind is the [`Medium`].
//!
//! The order of the steps. Those of the pulse come first, so that one input is worked off before
//! the next is told:
//!
//! 1. `Connect`: the medium opens a connection, its conversation and login included; then the
//!    inquiry takes its first look; then `Connected`. A failed attempt is `Lost`; one that a stop
//!    cut short is nothing, and step 4 follows.
//! 2. `Beat`: a panic of the protocol that the inquiry met, or else the medium's. `Close`: the
//!    medium's. `Report`: the medium first, which may add to it; the inquiry
//!    waits for side connections where the link ends; then the inquiry, and through it the
//!    reporter.
//! 3. `Wait`: the oldest input that was told and not yet handed to the pulse. With none left, one
//!    step outside:
//! 4. A stop. What had happened before it is told first: a panic that the inquiry met, then the
//!    medium's last words; then `Stop`.
//! 5. A pause or its end; another pace. They are in force for the beat that is due now.
//! 6. The inquiry: what side connections have found, and what is due.
//! 7. What came: bytes, notes, commands. The medium tells one thing at a time.
//! 8. A panic that the inquiry met, where a connection stands to be lost by it.
//! 9. A look at a beat that is not answered as soon as usual; not once the pulse has to judge: what
//!    waits to be read is read first.
//! 10. The wait: for bytes, a bell, or the first of all that is due. When the time is up and
//!     nothing came, `Tick`; unless a stop, a pause or a pace came meanwhile, which goes first.

use std::time::Instant;

use crate::cause::{Cause, Loss};
use crate::links::common::Common;
use crate::links::inquiry::looks::{Found, look_at};
use crate::links::medium::{Due, Medium, Passed};
use crate::pulse::{Input, Output, Patience, Report};
use crate::sys;

/// `Patience::FromRtt` asks the kernel for its own timeout once in so many beats: 0.016 system
/// calls a beat.
const ASK_RTO_EVERY: u64 = 64;

/// One link on its thread.
pub(crate) struct Driver<M> {
    medium: M,
    link: Common,
}

impl<M: Medium> Driver<M> {
    pub(crate) fn new(link: Common, medium: M) -> Driver<M> {
        Driver { medium, link }
    }

    /// The whole life of the link.
    pub(crate) fn run(&mut self) {
        loop {
            match self.link.pulse.poll() {
                Output::Connect => self.connect(),
                Output::Beat(seq) => self.beat(seq),
                Output::Close => self.medium.close(&mut self.link),
                Output::Report(report) => self.report(report),
                Output::Wait(until) => match self.link.inputs.pop_front() {
                    Some((at, input)) => self.link.pulse.handle(at, input),
                    None => self.step(until),
                },
                Output::Done => break,
            }
        }
    }

    fn connect(&mut self) {
        let Driver { medium, link } = self;
        match medium.open(link) {
            Ok(at) => {
                ask_rto(medium, link);
                link.inquiry.on_connected(medium.peer(), &*medium, &link.reporter);
                link.tell_at(at, Input::Connected);
            }
            Err(loss) if loss.cause == Cause::Stopped => {}
            Err(loss) => link.tell(Input::Lost(loss)),
        }
    }

    fn beat(&mut self, seq: u64) {
        let Driver { medium, link } = self;
        match link.inquiry.take_broken() {
            Some(loss) => medium.lose(link, loss),
            None => medium.beat(link, seq),
        }
        if seq % ASK_RTO_EVERY == 0 {
            ask_rto(medium, link);
        }
    }

    fn report(&mut self, mut report: Report) {
        let Driver { medium, link } = self;
        if !medium.on_report(link, &mut report) {
            return;
        }
        let Common { inquiry, pulse, reporter, .. } = link;
        if report == Report::Ended {
            inquiry.hear_out(&*medium, reporter);
        }
        inquiry.report(report, pulse.rtt(), medium, reporter);
    }

    /// One step outside, towards `until`.
    fn step(&mut self, until: Option<Instant>) {
        let Driver { medium, link } = self;
        if link.handle.is_stopping() {
            return self.stop();
        }
        if link.has_turned() {
            return self.turn();
        }
        link.inquiry.attend(&*medium, &mut link.reporter);
        match medium.take(link, until) {
            Ok(false) => {}
            Ok(true) => return,
            Err(loss) => return medium.lose(link, loss),
        }
        if let Some(loss) = take_broken(medium, link) {
            return medium.lose(link, loss);
        }
        let expecting = link.pulse.expecting();
        let look = if M::LOOKS {
            link.inquiry.look_due(expecting.is_some(), link.beat_at, link.pulse.rtt())
        } else {
            None
        };
        if let Some(look) = look {
            let now = Instant::now();
            if look <= now && until.is_none_or(|until| until > now) {
                return self.look();
            }
        }
        let any = [look, link.inquiry.due(), until].into_iter().flatten().min();
        let attention = look.map(|_| link.inquiry.attention());
        let piece = expecting.map(|timeout| attention.map_or(timeout, |a| timeout.min(a)));
        match medium.wait(link, &Due { verdict: until, any, piece }) {
            Passed::Time => self.tick(),
            Passed::Something => {}
        }
    }

    #[cold]
    fn stop(&mut self) {
        let Driver { medium, link } = self;
        if let Some(loss) = take_broken(medium, link) {
            return medium.lose(link, loss);
        }
        if !medium.last_words(link) {
            link.tell(Input::Stop);
        }
    }

    /// What was changed from outside.
    #[cold]
    fn turn(&mut self) {
        let Driver { medium, link } = self;
        if link.handle.is_paused() != link.paused {
            link.paused = !link.paused;
            return link.tell(if link.paused { Input::Pause } else { Input::Resume });
        }
        let Some(heartbeat) = link.handle.take_heartbeat() else { return };
        link.inquiry.set_heartbeat(&heartbeat);
        medium.adjust(&heartbeat);
        link.heartbeat.clone_from(&heartbeat);
        link.tell(Input::Adjust(Box::new(heartbeat)));
    }

    /// The beat in flight is not answered as soon as usual: has a router said something?
    #[cold]
    fn look(&mut self) {
        let Driver { medium, link } = self;
        let thorough = link.inquiry.on_looked(Instant::now());
        let Some((socket, peer)) = medium.socket() else { return };
        let (found, info) = look_at(socket, peer);
        let Common { inquiry, reporter, .. } = link;
        match found {
            Found::Nothing => inquiry.on_quiet(info, thorough, medium, reporter),
            Found::Icmp(errno) => inquiry.on_icmp(errno, medium, reporter),
            Found::End(loss) => medium.on_end(link, loss),
        }
    }

    /// Time has passed.
    fn tick(&mut self) {
        let Driver { medium, link } = self;
        if !link.handle.is_stopping() && !link.has_turned() {
            medium.tick(link);
        }
    }
}

/// The kernel's own timeout, where the patience goes by it.
fn ask_rto<M: Medium>(medium: &M, link: &mut Common) {
    if link.heartbeat.patience == Patience::FromRtt {
        let rto = medium.socket().and_then(|(socket, _)| sys::retransmission_timeout(socket));
        rto.into_iter().for_each(|rto| link.tell(Input::Rto(rto)));
    }
}

/// A panic of the protocol that came to light in the inquiry. Without a connection there is none to
/// lose: the next beat takes it.
fn take_broken<M: Medium>(medium: &M, link: &mut Common) -> Option<Loss> {
    if medium.is_open() { link.inquiry.take_broken() } else { None }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use socket2::Socket;

    use super::*;
    use crate::base::gate::Gate;
    use crate::event::{Identity, LinkId};
    use crate::heartbeat::Heartbeat;
    use crate::links::handle::Handle;
    use crate::links::out::feed::Feed;
    use crate::links::resolve::by_system;
    use crate::links::seat::Seat;
    use crate::links::seat::Shared;
    use crate::links::side::Sides;
    use crate::links::socket_view::{Allowed, SocketView};
    use crate::pulse::Pulse;
    use crate::state::State;
    use crate::tcp_info::TcpInfo;

    /// A medium by script.
    #[derive(Default)]
    struct Toy {
        done: Vec<&'static str>,
        /// What each wait brings; after the last comes a stop.
        waits: VecDeque<fn(&mut Toy, &Handle) -> Passed>,
        came: VecDeque<Input>,
        last: VecDeque<Input>,
        is_open: bool,
    }

    impl SocketView for Toy {
        fn look(&self) -> Option<TcpInfo> {
            None
        }

        fn local(&self) -> Option<SocketAddr> {
            None
        }

        fn allowed(&mut self, _beat_bytes: usize) -> Result<Allowed, Loss> {
            Ok(Allowed::default())
        }
    }

    impl Medium for Toy {
        const LOOKS: bool = false;

        fn open(&mut self, link: &mut Common) -> Result<Instant, Loss> {
            self.is_open = !link.handle.is_stopping();
            if self.is_open { Ok(Instant::now()) } else { Err(Cause::Stopped.into()) }
        }

        fn is_open(&self) -> bool {
            self.is_open
        }

        fn peer(&self) -> Option<SocketAddr> {
            None
        }

        fn socket(&self) -> Option<(&Socket, SocketAddr)> {
            None
        }

        fn beat(&mut self, link: &mut Common, seq: u64) {
            self.done.push("beat");
            link.tell(Input::Sent { seq, at: Instant::now() });
        }

        fn close(&mut self, _link: &mut Common) {
            self.done.push("close");
            self.is_open = false;
        }

        fn take(&mut self, link: &mut Common, _: Option<Instant>) -> Result<bool, Loss> {
            let came = self.came.pop_front();
            Ok(came.map(|input| link.tell(input)).is_some())
        }

        fn wait(&mut self, link: &mut Common, _due: &Due) -> Passed {
            match self.waits.pop_front() {
                Some(wait) => wait(self, &link.handle),
                None => {
                    link.handle.stop();
                    Passed::Something
                }
            }
        }

        fn last_words(&mut self, link: &mut Common) -> bool {
            let last = self.last.pop_front();
            last.map(|input| link.tell(input)).is_some()
        }

        fn on_report(&mut self, _link: &mut Common, report: &mut Report) -> bool {
            match report {
                Report::Beat { .. } => self.done.push("acked"),
                Report::Missed { .. } => self.done.push("missed"),
                Report::State { to: State::Down, .. } => self.done.push("down"),
                Report::Ended => self.done.push("ended"),
                _ => {}
            }
            true
        }
    }

    /// What became of it.
    fn run(heartbeat: Heartbeat, toy: Toy) -> Vec<&'static str> {
        let now = Instant::now();
        let shared = Shared {
            feed: Arc::new(Feed::new().0),
            gate: Gate::new(1, now),
            resolve: Box::new(by_system),
            timer_slack: Duration::ZERO,
            background: false,
            promised: AtomicU64::new(0),
            readers: Arc::default(),
            sides: Sides::new(0, 0, now),
            lookers: Arc::default(),
            interfaces: Default::default(),
            roster: Default::default(),
        };
        let who = Identity { id: LinkId(1), name: "toy".into(), target: String::new() };
        let (handle, shared) = (Arc::new(Handle::new(who)), Arc::new(shared));
        let pulse = Pulse::new(heartbeat.clone(), 1, now);
        let link = Common::new(Seat { handle, shared, seed: 1 }, heartbeat, pulse, now);
        let mut driver = Driver::new(link, toy);
        driver.run();
        std::mem::take(&mut driver.medium.done)
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_came_is_taken_before_the_clock_judges() {
        let mut toy = Toy::default();
        toy.waits.push_back(|toy, _| {
            std::thread::sleep(5 * MS); // past the verdict
            toy.came.push_back(Input::Ack(None));
            Passed::Something
        });
        let done = run(Heartbeat::every(1000 * MS).timeout(MS), toy);
        assert_eq!(done, ["beat", "acked", "close", "ended"]);
    }

    #[test]
    fn what_had_happened_before_a_stop_is_told_before_it_one_thing_after_the_other() {
        let last = [Input::Ack(None), Input::Lost(Cause::Reset.into())].into();
        let done = run(Heartbeat::every(1000 * MS), Toy { last, ..Toy::default() });
        assert_eq!(done, ["beat", "acked", "down", "close", "ended"]);
    }

    #[test]
    fn a_pause_that_comes_while_it_waits_holds_for_the_beat_that_is_due() {
        let mut toy = Toy::default();
        toy.came.push_back(Input::Ack(None));
        toy.waits.push_back(|_, handle| {
            handle.set_paused(true);
            std::thread::sleep(5 * MS); // past the next beat
            Passed::Time
        });
        toy.waits.push_back(|_, _| Passed::Time);
        let done = run(Heartbeat::every(MS), toy);
        assert_eq!(done.iter().filter(|what| **what == "beat").count(), 1, "{done:?}");
    }
}
