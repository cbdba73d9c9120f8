//! A followed link: the connection, its reader and its writer are the application's. keepbeat sends
//! beats by a function of the application, and is told what came.
//!
//! Who waits for whom: the link's thread waits for its bell, or until the pulse has something to
//! judge, and for nobody else. The sender waits in the application's `send`, for whatever that
//! waits for. The application's threads wait for neither: what they tell goes into the notes of the
//! [`intake`]. Only at the end the link's thread waits for the sender, which cannot be woken; `stop`
//! waits for both and gives up after a time.

pub(crate) mod follower;
pub(crate) mod intake;
pub(crate) mod sender;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::cause::{Cause, Loss};
use crate::drive::Seat;
use crate::drive::inquiry::Inquiry;
use crate::drive::scene::{Allowed, Scene};
use crate::heartbeat::Heartbeat;
use crate::links::handle::Handle;
use crate::links::reporter::Reporter;
use crate::pulse::{Input, Output, Pulse, Report};
use crate::state::State;
use crate::tcp_info::TcpInfo;
use crate::transport::Transport;

use intake::{Ear, Told, What, not_back};
use sender::{Item, SendFn, Sender};

/// What a followed link is made from.
pub(crate) struct Followed {
    pub(crate) heartbeat: Heartbeat,
    pub(crate) ear: Arc<Ear>,
    pub(crate) rung: Receiver<()>,
    /// What opens the conversation, if anything does.
    pub(crate) opening: Vec<u8>,
    pub(crate) send: SendFn,
    pub(crate) stack: usize,
    pub(crate) transport: Transport,
}

pub(crate) struct Follow {
    handle: Arc<Handle>,
    heartbeat: Heartbeat,
    ear: Arc<Ear>,
    rung: Receiver<()>,
    pulse: Pulse,
    reporter: Reporter,
    inquiry: Inquiry,
    /// Told by the application, and not yet to the pulse.
    inputs: VecDeque<Told>,
    opening: Vec<u8>,
    /// The beat that waits for the sender. One at most: what a stuck `send` holds up is not sent in
    /// a burst afterwards.
    due: Option<u64>,
    /// When the latest beat was asked for.
    asked: Instant,
    stack: usize,
    send: Option<SendFn>,
    sender: Option<Sender>,
    paused: bool,
    /// What was told before the stop has been taken.
    heard_out: bool,
}

impl Follow {
    pub(crate) fn new(seat: Seat, from: Followed) -> Follow {
        let mut inquiry = Inquiry::new(&seat, &from.heartbeat, Instant::now());
        inquiry.case().set_transport(from.transport);
        let Seat { handle, shared, seed } = seat;
        let Followed { heartbeat, ear, rung, opening, send, stack, .. } = from;
        let bell = ear.bell();
        handle.set_waker(move || {
            let _ = bell.try_send(());
        });
        // Not since this thread runs: what was told before counts.
        let now = ear.since;
        Follow {
            reporter: Reporter::new(Arc::clone(&handle), Arc::clone(&shared.feed)),
            inquiry,
            pulse: Pulse::staying(heartbeat.clone(), seed, now),
            handle,
            heartbeat,
            ear,
            rung,
            inputs: VecDeque::new(),
            opening,
            due: None,
            asked: now,
            stack,
            send: Some(send),
            sender: None,
            paused: false,
            heard_out: false,
        }
    }

    pub(crate) fn run(&mut self) {
        loop {
            match self.pulse.poll() {
                Output::Connect => self.connect(),
                Output::Beat(seq) => self.beat(seq),
                Output::Close => {} // it is the application's
                Output::Report(report) => self.report(report),
                Output::Wait(until) => self.wait(until),
                Output::Done => break,
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.pulse.handle(Instant::now(), input);
    }

    /// The connection stands already; what is missing is the thread that sends.
    fn connect(&mut self) {
        let Some(send) = self.send.take() else { return };
        let (handle, ear) = (Arc::clone(&self.handle), Arc::clone(&self.ear));
        match Sender::start(handle, ear, self.stack, send) {
            Ok(sender) => {
                self.sender = Some(sender);
                self.inquiry.on_connected(None, &Elsewhere, &self.reporter);
                self.pulse.handle(self.ear.since, Input::Connected);
            }
            Err(error) => {
                let detail = format!("no thread for `send`: {error}");
                self.tell(Input::Lost(Loss::new(Cause::LocalResources, detail)));
            }
        }
    }

    /// It goes out as soon as the sender is free. One that still waits then never went out.
    fn beat(&mut self, seq: u64) {
        self.asked = Instant::now();
        if let Some(old) = self.due.replace(seq) {
            self.tell(Input::Skipped(old));
        }
    }

    /// One step towards `until`: a flag, what the application told, something to send, or time.
    fn wait(&mut self, until: Option<Instant>) {
        if self.handle.is_stopping() {
            return self.hear_out();
        }
        if self.handle.is_paused() != self.paused {
            self.paused = !self.paused;
            return self.tell(if self.paused { Input::Pause } else { Input::Resume });
        }
        if let Some(heartbeat) = self.handle.take_heartbeat() {
            self.inquiry.set_heartbeat(&heartbeat);
            self.heartbeat = heartbeat.clone();
            return self.tell(Input::Adjust(Box::new(heartbeat)));
        }
        if !self.inquiry.is_calm() {
            self.inquiry.attend(&Elsewhere, &mut self.reporter);
        }
        if self.inputs.is_empty() {
            self.collect(until);
        }
        if let Some((at, input)) = self.next_input() {
            return self.pulse.handle(at, input);
        }
        match self.speak() {
            Ok(Some(input)) => self.tell(input),
            Ok(None) => self.sleep(until),
            Err(loss) => self.tell(Input::Lost(loss)),
        }
    }

    /// What the application told before it let go counts; what it tells from now on does not.
    fn hear_out(&mut self) {
        if !std::mem::replace(&mut self.heard_out, true) {
            self.ear.collect(&mut self.inputs, false);
        }
        match self.next_input() {
            Some((at, input)) => self.pulse.handle(at, input),
            None => self.tell(Input::Stop),
        }
    }

    /// What the application told; then that the time is up, if it is. So what came is taken before
    /// anybody is judged, and no flood of it can put off the verdict.
    fn collect(&mut self, until: Option<Instant>) {
        let now = Instant::now();
        self.ear.collect(&mut self.inputs, self.pulse.state() != State::Up);
        if until.is_some_and(|until| until <= now) {
            self.inputs.push_back(Told { at: now, input: Input::Tick, times: 1 });
        }
    }

    /// The next of them, with the time at which it happened.
    fn next_input(&mut self) -> Option<(Instant, Input)> {
        loop {
            let first = self.inputs.front_mut()?;
            let (at, input) = (first.at, first.input.clone());
            first.times -= 1;
            if first.times == 0 {
                self.inputs.pop_front();
            }
            match input {
                // Of a frame that began before the beat: no part of its ack.
                Input::Partial if at < self.asked => continue,
                Input::Sent { seq, at } => {
                    self.reporter.on_sent(seq);
                    self.inquiry.on_sent(seq, at, 0, None);
                }
                Input::Heard(_) => self.inquiry.case().on_traffic(at),
                _ => {}
            }
            return Some((at, input));
        }
    }

    /// Hands the next frame to the sender, if there is one and the sender is free. A beat goes
    /// before answers, so that a peer that asks without end does not keep us from asking.
    fn speak(&mut self) -> Result<Option<Input>, Loss> {
        let silent = self.opening.is_empty() && self.due.is_none() && !self.ear.owes_answers();
        let Some(sender) = self.sender.as_ref().filter(|_| !silent) else { return Ok(None) };
        let Some(mut bytes) = self.ear.take_free() else { return Ok(None) };
        let what = if !self.opening.is_empty() {
            bytes.append(&mut self.opening);
            What::Opening
        } else if let Some(seq) = self.due.take() {
            self.ear.with_protocol(|protocol| protocol.beat(seq, &mut bytes))?;
            if bytes.is_empty() {
                self.ear.give_free(bytes);
                return Ok(Some(Input::Stands(seq))); // the protocol has no beat
            }
            What::Beat(seq)
        } else {
            // A protocol that has no answers appends none.
            while bytes.is_empty() {
                let Some(seq) = self.ear.next_answer() else { break };
                self.ear.with_protocol(|protocol| protocol.ack(seq, &mut bytes))?;
            }
            What::Answer
        };
        if bytes.is_empty() {
            self.ear.give_free(bytes);
        } else {
            sender.hand(Item { what, bytes });
        }
        Ok(None)
    }

    fn sleep(&self, until: Option<Instant>) {
        // The bell cannot hang up: its other end is in the ear.
        let _ = match until {
            Some(until) => self.rung.recv_deadline(until).is_ok(),
            None => self.rung.recv().is_ok(),
        };
    }

    fn report(&mut self, mut report: Report) {
        match &mut report {
            Report::State { loss: Some(loss), .. } => self.blame_send(loss),
            // Whoever reads of it finds it so.
            Report::Disconnected { loss, .. } => drop(self.ear.lose(loss.clone())),
            _ => {}
        }
        let Follow { inquiry, pulse, reporter, .. } = self;
        inquiry.report(report, pulse.rtt(), &mut Elsewhere, reporter);
    }

    /// Nothing came, and `send` hangs: that may be why.
    fn blame_send(&self, loss: &mut Loss) {
        let Heartbeat { timeout, write_timeout, .. } = self.heartbeat;
        let silence = matches!(loss.cause, Cause::AckTimeout | Cause::PartialReply);
        let Some(stuck) = self.ear.stuck().filter(|_| silence) else { return };
        if stuck >= write_timeout.min(timeout / 2) {
            loss.detail = format!("{}; {}", loss.detail, not_back(stuck));
        }
        if stuck >= write_timeout {
            loss.cause = Cause::WriteStalled;
        }
    }
}

/// The connection is the application's, and nothing is seen of it.
struct Elsewhere;

impl Scene for Elsewhere {
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
        self.ear.lose(match thread::panicking() {
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
