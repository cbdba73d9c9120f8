//! What the application tells a followed link, on its own threads: bytes it read, acks it parsed,
//! that it wrote. Parsed here, kept in bounded notes, and taken by the link's thread.
//!
//! Who waits for whom: `parser` is held while bytes are parsed, or one beat is made from the
//! protocol; `notes`, which may be taken under it, for some nanoseconds. Neither is held while the
//! application's `send` runs. So a reader that tells what it read waits for no writer: one that
//! did, behind a writer that waits for the peer, would be a deadlock as soon as the peer does the
//! same.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::net::inbox::{Inbox, Next};
use crate::protocol::Frame;
use crate::protocol::guarded::Guarded;
use crate::pulse::Input;
use crate::role::Role;

/// Acks that wait for the link's thread, which takes them at once. Those without a number are
/// counted, however many they are; of numbered ones this is three times what can be outstanding.
const MOST_ACKS: usize = 1024;

/// Beats of the peer that wait for an answer. A quarter of an hour of one a second: so many may
/// come at once when the application has not read for a while.
const MOST_ANSWERS: usize = 1024;

pub(crate) struct Intake {
    /// Since when the application may tell what came.
    pub(super) since: Instant,
    role: Role,
    write_timeout: Duration,
    parser: Mutex<Parser>,
    notes: Mutex<Notes>,
    bell: Sender<()>,
}

struct Parser {
    protocol: Guarded,
    inbox: Inbox,
}

/// One input for the pulse, as it happened; acks without a number may stand for several.
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) input: Input,
    pub(super) times: u64,
}

impl Told {
    fn once(at: Instant, input: Input) -> Told {
        Told { at, input, times: 1 }
    }
}

struct Notes {
    heard: Option<Instant>,
    partial: Option<Instant>,
    wrote: Option<Instant>,
    acks: VecDeque<Told>,
    /// What became of the latest beats: a few, since the link hands over one at a time.
    sends: Vec<Told>,
    /// Beats of the peer that wait for their answer.
    answers: VecDeque<Option<u64>>,
    /// Since when the application's `send` has been running.
    sending: Option<Instant>,
    /// The buffer for the next item, while the sender is free.
    free: Option<Vec<u8>>,
    /// Also data wakes the link's thread: it is not Up, and this may change it.
    eager: bool,
    over: Option<Loss>,
}

/// What an item for the sender is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    Opening,
    Beat(u64),
    Answer,
}

impl Intake {
    /// The intake, and the end of its bell that the link's thread listens to.
    pub(crate) fn new(
        heartbeat: &Heartbeat,
        protocol: Guarded,
        limit: usize,
    ) -> (Intake, Receiver<()>) {
        let (bell, rung) = bounded(1);
        let notes = Notes {
            heard: None,
            partial: None,
            wrote: None,
            acks: VecDeque::new(),
            sends: Vec::with_capacity(2),
            answers: VecDeque::new(),
            sending: None,
            // Room for the beats of most protocols from the start.
            free: Some(Vec::with_capacity(128)),
            eager: true,
            over: None,
        };
        let intake = Intake {
            since: Instant::now(),
            role: heartbeat.role,
            write_timeout: heartbeat.write_timeout,
            parser: Mutex::new(Parser { protocol, inbox: Inbox::with_limit(limit) }),
            notes: Mutex::new(notes),
            bell,
        };
        (intake, rung)
    }

    /// Wakes the link's thread. A bell that has been rung already is enough.
    pub(crate) fn ring(&self) {
        let _ = self.bell.try_send(());
    }

    /// How to do that for whoever has no intake.
    pub(crate) fn bell(&self) -> Sender<()> {
        self.bell.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parser(&self) -> MutexGuard<'_, Parser> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the application read just now.
    pub(crate) fn heard(&self, bytes: &[u8]) -> Result<(), Loss> {
        let at = Instant::now();
        let mut parser = self.parser();
        self.check()?;
        let result = parser.take(bytes, |next| match next {
            Next::Frame(frame) => self.on_frame(at, frame),
            Next::Partial => {
                self.notes().partial = Some(at);
                Ok(())
            }
            Next::Nothing => Ok(()),
        });
        result.map_err(|loss| self.lose(loss))
    }

    fn on_frame(&self, at: Instant, frame: Frame) -> Result<(), Loss> {
        match frame {
            Frame::Ack(seq) => self.on_ack(at, seq),
            Frame::Beat(seq) if self.role.answers() => return self.on_beat(at, seq),
            Frame::Beat(_) | Frame::Data | Frame::Own | Frame::Unasked => self.on_life(at),
        }
        Ok(())
    }

    fn on_ack(&self, at: Instant, seq: Option<u64>) {
        if !self.role.expects_acks() {
            return self.on_life(at);
        }
        let mut notes = self.notes();
        notes.partial = None;
        let full = notes.acks.len() >= MOST_ACKS;
        match notes.acks.back_mut() {
            Some(last) if last.input == Input::Ack(seq) && seq.is_none() => {
                (last.at, last.times) = (at, last.times + 1);
            }
            // Beyond all that can be outstanding: life, and the pulse judges those that came first.
            _ if full => notes.heard = notes.heard.max(Some(at)),
            _ => notes.acks.push_back(Told::once(at, Input::Ack(seq))),
        }
        drop(notes);
        self.ring();
    }

    fn on_beat(&self, at: Instant, seq: Option<u64>) -> Result<(), Loss> {
        let mut notes = self.notes();
        notes.partial = None;
        notes.heard = notes.heard.max(Some(at));
        if notes.answers.len() >= MOST_ANSWERS {
            let stuck = notes.sending.map_or(Duration::ZERO, |since| at - since);
            drop(notes);
            let detail =
                format!("{MOST_ANSWERS} beats of the peer wait for an answer, and more came");
            return Err(match stuck > self.write_timeout {
                true => Loss::new(Cause::WriteStalled, format!("{detail}; {}", not_back(stuck))),
                false => Loss::new(Cause::WrongReply, detail),
            });
        }
        notes.answers.push_back(seq);
        drop(notes);
        self.ring();
        Ok(())
    }

    fn on_life(&self, at: Instant) {
        let mut notes = self.notes();
        notes.partial = None;
        notes.heard = notes.heard.max(Some(at));
        let eager = notes.eager;
        drop(notes);
        if eager {
            self.ring();
        }
    }

    /// The application found an ack by itself.
    pub(crate) fn acked(&self, seq: Option<u64>) -> Result<(), Loss> {
        let at = Instant::now();
        self.check()?;
        self.on_ack(at, seq);
        Ok(())
    }

    /// The application found some other whole frame by itself.
    pub(crate) fn alive(&self) -> Result<(), Loss> {
        let at = Instant::now();
        self.check()?;
        self.on_life(at);
        Ok(())
    }

    /// The application wrote something of its own. Nobody need be woken for it.
    pub(crate) fn wrote(&self) -> Result<(), Loss> {
        self.check()?;
        self.notes().wrote = Some(Instant::now());
        Ok(())
    }

    /// It is over, unless it was before; why.
    pub(crate) fn lose(&self, loss: Loss) -> Loss {
        let loss = self.notes().over.get_or_insert(loss).clone();
        self.ring();
        loss
    }

    fn check(&self) -> Result<(), Loss> {
        match &self.notes().over {
            Some(loss) => Err(loss.clone()),
            None => Ok(()),
        }
    }

    /// Runs `f` on the protocol, on the link's thread; not after a panic of it on another.
    pub(super) fn with_protocol(
        &self,
        f: impl FnOnce(&mut Guarded) -> Result<(), Loss>,
    ) -> Result<(), Loss> {
        let mut parser = self.parser();
        self.check()?;
        f(&mut parser.protocol).map_err(|loss| self.lose(loss))
    }

    /// Everything that was told since it was last asked, in the order of time.
    pub(super) fn collect(&self, inputs: &mut VecDeque<Told>, eager: bool) {
        let mut notes = self.notes();
        notes.eager = eager;
        inputs.extend(notes.sends.drain(..));
        inputs.extend(notes.acks.drain(..));
        inputs.extend(notes.wrote.take().map(|at| Told::once(at, Input::Wrote(at))));
        inputs.extend(notes.heard.take().map(|at| Told::once(at, Input::Heard(at))));
        inputs.extend(notes.partial.take().map(|at| Told::once(at, Input::Partial)));
        inputs.make_contiguous().sort_by_key(|told| told.at);
        // What came before the end is told before it.
        if let Some(loss) = &notes.over {
            inputs.push_back(Told::once(Instant::now(), Input::Lost(loss.clone())));
        }
    }

    /// The buffer for the next item, if the sender is free.
    pub(super) fn take_free(&self) -> Option<Vec<u8>> {
        self.notes().free.take()
    }

    /// The buffer of an item that came to nothing, or has been sent.
    pub(super) fn give_free(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        self.notes().free = Some(bytes);
    }

    /// The next beat of the peer that waits for its answer.
    pub(super) fn next_answer(&self) -> Option<Option<u64>> {
        self.notes().answers.pop_front()
    }

    pub(super) fn owes_answers(&self) -> bool {
        !self.notes().answers.is_empty()
    }

    /// Said before `send` is called, so that the ack cannot be told before it.
    pub(super) fn on_sending(&self, what: What) {
        let at = Instant::now();
        let mut notes = self.notes();
        notes.sending = Some(at);
        if let What::Beat(seq) = what {
            notes.sends.push(Told::once(at, Input::Sent { seq, at }));
        }
    }

    /// `send` has returned, and all is well.
    pub(super) fn on_sent(&self, what: What, bytes: Vec<u8>) {
        let at = Instant::now();
        let mut notes = self.notes();
        notes.sending = None;
        match what {
            What::Beat(seq) if !self.role.expects_acks() => {
                notes.sends.push(Told::once(at, Input::Stands(seq)));
            }
            What::Beat(_) => {}
            What::Opening | What::Answer => notes.wrote = Some(at),
        }
        drop(notes);
        self.give_free(bytes);
        self.ring();
    }

    /// For how long `send` has been running.
    pub(super) fn stuck(&self) -> Option<Duration> {
        self.notes().sending.map(|since| since.elapsed())
    }
}

/// `send` in words, when it does not return.
pub(super) fn not_back(stuck: Duration) -> String {
    format!("`send` has not returned for {stuck:.1?}")
}

impl Parser {
    /// Takes the bytes in portions, so that the inbox stays small however many they are.
    fn take(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(Next) -> Result<(), Loss>,
    ) -> Result<(), Loss> {
        while !bytes.is_empty() {
            let space = self.inbox.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.inbox.filled(n);
            bytes = &bytes[n..];
            loop {
                let next = self.inbox.next(&mut self.protocol)?;
                let more = matches!(next, Next::Frame(_));
                on(next)?;
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Line;

    fn intake(role: Role) -> Intake {
        let beat = Heartbeat::default().role(role);
        Intake::new(&beat, Guarded::new(Box::new(Line)), 1024).0
    }

    #[test]
    fn acks_are_bounded_and_those_without_a_number_lose_none() {
        let intake = intake(Role::Active);
        let most = 100 * MOST_ACKS;
        for seq in 0..most {
            intake.acked(Some(seq as u64)).unwrap();
        }
        assert_eq!(intake.notes().acks.len(), MOST_ACKS);
        intake.collect(&mut VecDeque::new(), true);
        for _ in 0..most {
            intake.acked(None).unwrap();
        }
        let mut told = VecDeque::new();
        intake.collect(&mut told, true);
        assert_eq!((told.len(), told[0].times), (1, most as u64));
    }

    #[test]
    fn answers_that_are_owed_are_bounded() {
        let intake = intake(Role::Passive);
        let told = (0..).take_while(|_| intake.heard(b"beat 1\n").is_ok()).count();
        assert_eq!((told, intake.notes().answers.len()), (MOST_ANSWERS, MOST_ANSWERS));
    }

    #[test]
    fn what_was_told_comes_out_in_the_order_of_time() {
        let intake = intake(Role::Active);
        intake.acked(Some(1)).unwrap();
        intake.on_sending(What::Beat(2));
        intake.alive().unwrap();
        intake.acked(Some(2)).unwrap();
        intake.heard(b"ack").unwrap();
        intake.lose(Cause::Reset.into());
        assert!(intake.heard(b" 3\n").is_err());
        let mut told = VecDeque::new();
        intake.collect(&mut told, true);
        assert!(told.iter().is_sorted_by_key(|told| told.at));
        let kinds: Vec<_> = told.iter().map(|told| &told.input).collect();
        assert!(
            matches!(
                kinds[..],
                [
                    Input::Ack(Some(1)),
                    Input::Sent { seq: 2, .. },
                    Input::Heard(_),
                    Input::Ack(Some(2)),
                    Input::Partial,
                    Input::Lost(_)
                ]
            ),
            "{kinds:?}"
        );
    }
}
