//! A followed link: the connection, its reader and its writer are the application's. keepbeat sends
//! beats by a function of the application, and is told what came.
//!
//! Who waits for whom: the link's thread waits for its bell, or until the pulse has something to
//! judge, and for nobody else. The sender waits in the application's `send`, for whatever that
//! waits for. The application's threads wait for neither: what they tell goes into the notes of the
//! [`intake`]. Only at the end the link's thread waits for the sender, which cannot be woken;
//! `stop` waits for both and gives up after a time.

pub(crate) mod follower;
pub(crate) mod intake;
pub(crate) mod sender;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;
use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::links::common::Common;
use crate::links::driver::Driver;
use crate::links::handle::{Handle, Wake};
use crate::links::medium::{Due, Medium, Passed};
use crate::links::seat::Seat;
use crate::links::socket_view::{Allowed, SocketView};
use crate::pulse::{Input, Pulse, Report};
use crate::state::State;
use crate::tcp_info::TcpInfo;
use crate::transport::Transport;

use intake::{Intake, Told, What, not_back};
use sender::{Item, SendFn, Sender};

/// What a followed link is made from.
pub(crate) struct Followed {
    pub(crate) heartbeat: Heartbeat,
    pub(crate) intake: Arc<Intake>,
    pub(crate) rung: Receiver<()>,
    /// What opens the conversation, if anything does.
    pub(crate) opening: Vec<u8>,
    pub(crate) send: SendFn,
    pub(crate) stack: usize,
    pub(crate) transport: Transport,
}

/// A connection of the application's, by what it tells and the function that sends.
pub(crate) struct Follow {
    handle: Arc<Handle>,
    intake: Arc<Intake>,
    rung: Receiver<()>,
    /// Told by the application, and not yet to the pulse.
    told: VecDeque<Told>,
    opening: Vec<u8>,
    /// The beat that waits for the sender. One at most: what a stuck `send` holds up is not sent in
    /// a burst afterwards.
    due: Option<u64>,
    stack: usize,
    send: Option<SendFn>,
    sender: Option<Sender>,
    /// What was told before the stop has been taken.
    heard_out: bool,
}

/// A followed link, to be run.
pub(crate) fn follow(seat: Seat, from: Followed) -> Driver<Follow> {
    let Followed { heartbeat, intake, rung, opening, send, stack, transport } = from;
    let handle = Arc::clone(&seat.handle);
    handle.set_bell(Wake::Channel(intake.bell()));
    // Not since this thread runs: what was told before counts.
    let now = intake.since;
    let pulse = Pulse::staying(heartbeat.clone(), seat.seed, now);
    let mut link = Common::new(seat, heartbeat, pulse, now);
    link.inquiry.case().set_transport(transport);
    let medium = Follow {
        handle,
        intake,
        rung,
        told: VecDeque::new(),
        opening,
        due: None,
        stack,
        send: Some(send),
        sender: None,
        heard_out: false,
    };
    Driver::new(link, medium)
}

impl Medium for Follow {
    const LOOKS: bool = false;

    /// The connection stands already; what is missing is the thread that sends.
    fn open(&mut self, _link: &mut Common) -> Result<Instant, Loss> {
        if let Some(send) = self.send.take() {
            let (handle, intake) = (Arc::clone(&self.handle), Arc::clone(&self.intake));
            let started = Sender::start(handle, intake, self.stack, send);
            self.sender = Some(started.map_err(|error| {
                Loss::new(Cause::LocalResources, format!("no thread for `send`: {error}"))
            })?);
        }
        Ok(self.intake.since)
    }

    fn is_open(&self) -> bool {
        self.sender.is_some()
    }

    /// It is the application's, and nothing is known of it.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    fn socket(&self) -> Option<(&Socket, SocketAddr)> {
        None
    }

    /// It goes out as soon as the sender is free. One that still waits then never went out.
    fn beat(&mut self, link: &mut Common, seq: u64) {
        link.beat_at = Instant::now();
        if let Some(old) = self.due.replace(seq) {
            link.tell(Input::Skipped(old));
        }
    }

    /// It is the application's.
    fn close(&mut self, _link: &mut Common) {}

    /// What the application told; then that the time is up, if it is. So what came is taken before
    /// anybody is judged, and no flood of it can put off the verdict.
    fn take(&mut self, link: &mut Common, verdict: Option<Instant>) -> Result<bool, Loss> {
        if self.told.is_empty() {
            let now = Instant::now();
            self.intake.collect(&mut self.told, link.pulse.state() != State::Up);
            if verdict.is_some_and(|verdict| verdict <= now) {
                self.told.push_back(Told { at: now, input: Input::Tick, times: 1 });
            }
        }
        Ok(self.hand_on(link))
    }

    fn wait(&mut self, link: &mut Common, due: &Due) -> Passed {
        match self.speak() {
            Ok(Some(input)) => link.tell(input),
            Ok(None) => self.sleep(due.any),
            Err(loss) => self.lose(link, loss),
        }
        Passed::Something
    }

    /// What the application told before it let go counts; what it tells from now on does not.
    fn last_words(&mut self, link: &mut Common) -> bool {
        if !std::mem::replace(&mut self.heard_out, true) {
            self.intake.collect(&mut self.told, false);
        }
        self.hand_on(link)
    }

    fn on_report(&mut self, link: &mut Common, report: &mut Report) -> bool {
        match report {
            Report::State { loss: Some(loss), .. } => self.blame_send(&link.heartbeat, loss),
            // Whoever reads of it finds it so.
            Report::Disconnected { loss, .. } => drop(self.intake.lose(loss.clone())),
            _ => {}
        }
        true
    }
}

impl Follow {
    /// Tells the next thing that the application told, with the time at which it happened.
    fn hand_on(&mut self, link: &mut Common) -> bool {
        loop {
            let Some(first) = self.told.front_mut() else { return false };
            let (at, input) = (first.at, first.input.clone());
            first.times -= 1;
            if first.times == 0 {
                self.told.pop_front();
            }
            match input {
                // Of a frame that began before the beat: no part of its ack.
                Input::Partial if at < link.beat_at => continue,
                Input::Sent { seq, at } => {
                    link.reporter.on_sent(seq);
                    link.inquiry.on_sent(seq, at, 0, None);
                }
                _ => {}
            }
            link.tell_at(at, input);
            return true;
        }
    }

    /// Hands the next frame to the sender, if there is one and the sender is free. A beat goes
    /// before answers, so that a peer that asks without end does not keep us from asking.
    fn speak(&mut self) -> Result<Option<Input>, Loss> {
        let silent = self.opening.is_empty() && self.due.is_none() && !self.intake.owes_answers();
        let Some(sender) = self.sender.as_ref().filter(|_| !silent) else { return Ok(None) };
        let Some(mut bytes) = self.intake.take_free() else { return Ok(None) };
        let what = if !self.opening.is_empty() {
            bytes.append(&mut self.opening);
            What::Opening
        } else if let Some(seq) = self.due.take() {
            self.intake.with_protocol(|protocol| protocol.beat(seq, &mut bytes))?;
            if bytes.is_empty() {
                self.intake.give_free(bytes);
                return Ok(Some(Input::Stands(seq))); // the protocol has no beat
            }
            What::Beat(seq)
        } else {
            // A protocol that has no answers appends none.
            while bytes.is_empty() {
                let Some(seq) = self.intake.next_answer() else { break };
                self.intake.with_protocol(|protocol| protocol.ack(seq, &mut bytes))?;
            }
            What::Answer
        };
        if bytes.is_empty() {
            self.intake.give_free(bytes);
        } else {
            sender.hand(Item { what, bytes });
        }
        Ok(None)
    }

    fn sleep(&self, until: Option<Instant>) {
        // The bell cannot hang up: its other end is in the intake.
        let _ = match until {
            Some(until) => self.rung.recv_deadline(until).is_ok(),
            None => self.rung.recv().is_ok(),
        };
    }

    /// Nothing came, and `send` hangs: that may be why.
    fn blame_send(&self, heartbeat: &Heartbeat, loss: &mut Loss) {
        let Heartbeat { timeout, write_timeout, .. } = *heartbeat;
        let silence = matches!(loss.cause, Cause::AckTimeout | Cause::PartialReply);
        let Some(stuck) = self.intake.stuck().filter(|_| silence) else { return };
        if stuck >= write_timeout.min(timeout / 2) {
            loss.detail = format!("{}; {}", loss.detail, not_back(stuck));
        }
        if stuck >= write_timeout {
            loss.cause = Cause::WriteStalled;
        }
    }
}

/// The connection is the application's, and nothing is seen of it.
impl SocketView for Follow {
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

impl Drop for Follow {
    /// However it ends, the application is told so at its next call, and the sender is told to end.
    fn drop(&mut self) {
        // Where it has been said before, why it is over, this adds nothing.
        self.intake.lose(match thread::panicking() {
            true => Loss::new(Cause::ProtocolPanicked, "the link's thread panicked"),
            false => Cause::Stopped.into(),
        });
        match self.sender.take() {
            // The panic is still to be told, and that cannot wait.
            Some(sender) if thread::panicking() => sender.leave(),
            Some(sender) => self.handle.waiting_for_send(|| sender.join()),
            None => {}
        }
    }
}
