//! How the peer meets us: whether it ever answered, what it said in place of an answer, and
//! connections that it ended before a word.

use std::time::{Duration, Instant};

use super::Case;
use crate::cause::{Cause, Loss};
use crate::diagnose::confidence::Confidence;
use crate::diagnose::evidence::{Evidence, Stage};
use crate::diagnose::last_words::{self, Said};
use crate::diagnose::service::Service;
use crate::target::Target;
use crate::transport::Transport;

/// A connection that ended sooner was dropped at once; a beat so late after the connect was held
/// back to see that.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(500);

/// A beat so soon after the connect was not held back.
const WITH_THE_CONNECT: Duration = Duration::from_millis(90);

/// An end so soon behind a beat came over it.
const UPON_A_BEAT: Duration = Duration::from_secs(1);

/// What a peer said since it last answered, as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heard {
    /// The last words, or the bytes where there are none.
    pub(crate) words: String,
    pub(crate) said: Said,
    /// How many bytes there were.
    pub(crate) len: u32,
    /// How long ago the last of them came.
    pub(crate) age: Duration,
    /// How often something was said.
    pub(crate) bursts: u32,
    /// It was the first thing that was said on the connection, and the only one.
    pub(crate) is_first: bool,
    /// Something of it came since the last beat went out.
    pub(crate) since_beat: bool,
    /// What listens, as far as the words tell.
    pub(crate) service: Option<Service>,
}

impl Heard {
    /// How sure it is that the words are the reason for an end that comes now.
    pub(crate) fn weight(&self) -> Option<Confidence> {
        last_words::weight(self.said, self.age, self.bursts, self.is_first)
    }
}

/// How the peer met us so far.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// The link opens its connections itself, and all that comes on them is seen.
    is_watched: bool,
    /// What is spoken, and to whom, as a target.
    spoken: String,
    /// A beat was answered, on whatever connection; that one stands is no answer.
    answered: bool,
    /// On this connection one was, or the connection counts as one that stands.
    answered_here: bool,
    heard: Option<Heard>,
    /// Connections in a row that were dropped at once, before this one.
    drops: Drops,
    /// This one was, too.
    drop: Option<Drop>,
    /// What carries a connection of which nothing is seen.
    transport: Option<Transport>,
}

/// Connections in a row that were dropped at once.
#[derive(Clone, Copy, Debug, Default)]
struct Drops {
    all: u32,
    /// Before a byte of ours was sent.
    unsent: u32,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Drop {
    is_unsent: bool,
}

impl Drops {
    fn and(self, drop: Drop) -> Drops {
        Drops { all: self.all + 1, unsent: self.unsent + u32::from(drop.is_unsent) }
    }
}

impl Case {
    /// The link opens its connections itself, and all that comes on them is seen: only then do the
    /// manners of the peer tell something.
    pub(crate) fn set_watched(&mut self, scheme: &str, target: &Target) {
        self.contact.is_watched = true;
        self.contact.spoken = format!("{scheme}://{}", target.place());
    }

    /// It is followed: nothing is seen of the connection but what is told.
    pub(crate) fn set_transport(&mut self, transport: Transport) {
        self.contact.transport = Some(transport);
    }

    /// The longest wait for an ack, from here on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(super) fn transport(&self) -> Option<Transport> {
        self.contact.transport
    }

    /// What the peer said since its last answer, known just before that is asked for.
    pub(crate) fn set_heard(&mut self, heard: Option<Heard>) {
        self.contact.heard = heard;
    }

    /// Whether no beat was ever answered.
    pub(super) fn is_first_contact(&self) -> bool {
        self.contact.is_watched && !self.contact.answered
    }

    pub(super) fn on_contact(&mut self) {
        (self.contact.answered_here, self.contact.heard) = (false, None);
    }

    /// A beat is done; `by_bytes` says that the peer answered it.
    pub(super) fn on_answer(&mut self, by_bytes: bool) {
        let Contact { answered, answered_here, heard, drops, .. } = &mut self.contact;
        *answered |= by_bytes;
        (*answered_here, *heard, *drops) = (true, None, Drops::default());
    }

    /// The connection has ended, and was told.
    pub(super) fn on_contact_lost(&mut self) {
        let Contact { drop, drops, .. } = &mut self.contact;
        *drops = drop.take().map(|drop| drops.and(drop)).unwrap_or_default();
    }

    pub(super) fn add_contact(&self, evidence: &mut Evidence) {
        if self.is_first_contact() {
            evidence.first_contact = Some(true);
            evidence.target = Some(self.contact.spoken.clone());
        }
        let Some(heard) = &self.contact.heard else { return };
        evidence.said = Some(heard.words.clone());
        evidence.said_kind = Some(heard.said);
        evidence.said_age_us = Some(heard.age);
        evidence.said_times = Some(heard.bursts);
        evidence.said_first = Some(heard.is_first).filter(|is| *is);
        evidence.said_since_beat = Some(heard.since_beat).filter(|is| *is);
        let is_ours = |service: &Service| {
            service.is_spoken_by(self.contact.spoken.split("://").next().unwrap_or_default())
        };
        let service = heard.service.filter(|service| !is_ours(service));
        evidence.service = service.filter(|s| self.is_first_contact() || *s == Service::Echo);
    }

    /// The peer answered one beat twice.
    pub(crate) fn doubled(&mut self, heard: &Heard, now: Instant) -> Evidence {
        let detail = format!("the ack came once more, as `{}`: it answers twice", heard.words);
        let warning = self.warning(Cause::UnaskedBytes, now, None);
        Evidence { detail: Some(detail), ..warning }
    }

    /// Of an end: whether it came before a word of the peer, and over what.
    pub(super) fn add_at_once(&mut self, evidence: &mut Evidence, loss: &Loss, now: Instant) {
        let lived = now.saturating_duration_since(self.connection.since);
        evidence.lived_us = Some(lived);
        let is_end = matches!(loss.cause, Cause::ClosedByPeer | Cause::Reset);
        let Contact { is_watched, answered_here, heard, .. } = &self.contact;
        let is_wordless = *is_watched && !answered_here && heard.is_none();
        if !is_end || !is_wordless || evidence.stage != Some(Stage::End) {
            return;
        }
        // How long the connection stood before the first beat on it, and that beat waited.
        let first = self.connection.first.as_ref().map(|first| (first.idle, first.at));
        let with_the_connect = first.is_none_or(|(idle, _)| idle <= WITH_THE_CONNECT);
        let is_unsent = first.is_none();
        self.contact.drop = (lived <= AT_ONCE && with_the_connect).then_some(Drop { is_unsent });
        let drops = self.contact.drop.map(|drop| self.contact.drops.and(drop));
        evidence.drops = drops.map(|drops| drops.all);
        evidence.drops_unsent = drops.map(|drops| drops.unsent).filter(|unsent| *unsent > 0);
        let waited = first.map(|(_, at)| now.saturating_duration_since(at));
        let upon =
            self.connection.outstanding == 1 && waited.is_some_and(|waited| waited <= UPON_A_BEAT);
        evidence.upon_beat = Some(upon && self.is_first_contact()).filter(|upon| *upon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Diagnose;
    use crate::diagnose::belief::Ledger;
    use crate::diagnose::decide::decide;

    const MS: Duration = Duration::from_millis(1);

    fn case(now: Instant) -> Case {
        let mut case = Case::new(Diagnose::kernel(), 1000 * MS, "tcp://10.0.0.5:5432", now);
        case.set_watched("tcp", &Target::new("10.0.0.5:5432").expect("a target"));
        case
    }

    /// A connection that ends after so long, with a beat written after so long, if one was.
    fn end(case: &mut Case, start: Instant, beat: Option<Duration>, lived: Duration) -> Evidence {
        case.on_connected(None, Ledger::default(), start);
        beat.into_iter().for_each(|after| case.on_sent(1, start + after, 9, None));
        let evidence = case.end(&Loss::from(Cause::Reset), start + lived, None, None);
        case.on_disconnected();
        evidence
    }

    #[test]
    fn connections_that_are_dropped_at_once_are_counted_until_one_is_not() {
        let now = Instant::now();
        let mut case = case(now);
        assert_eq!(end(&mut case, now, None, MS).drops, Some(1));
        let sent = end(&mut case, now, Some(MS), 2 * MS);
        assert_eq!((sent.drops, sent.drops_unsent), (Some(2), Some(1)));
        case.on_disconnected(); // an attempt
        assert_eq!(end(&mut case, now, None, MS).drops, Some(3));
        case.on_connected(None, Ledger::default(), now);
        case.on_disconnected(); // an end that was not asked about
        assert_eq!(end(&mut case, now, None, MS).drops, Some(1));
        let late = end(&mut case, now, Some(500 * MS), 510 * MS);
        assert_eq!((late.drops, late.upon_beat), (None, Some(true)), "it stood until the beat");
        let short = end(&mut case, now, Some(300 * MS), 310 * MS);
        assert_eq!(short.drops, None, "it stood for the moment of a shorter timeout");
        assert_eq!(end(&mut case, now, None, 600 * MS).drops, None);
        case.on_connected(None, Ledger::default(), now);
        case.on_sent(1, now, 9, None);
        case.on_ack(1, Some(MS), false, now);
        let acked = case.end(&Loss::from(Cause::Reset), now + MS, None, None);
        assert_eq!((acked.drops, acked.upon_beat, acked.first_contact), (None, None, None));
    }

    #[test]
    fn first_contact_ends_with_the_first_answer_also_a_late_one() {
        let now = Instant::now();
        let mut case = case(now);
        assert_eq!(end(&mut case, now, Some(MS), MS).first_contact, Some(true));
        case.on_connected(None, Ledger::default(), now);
        case.on_sent(1, now, 9, None);
        case.on_ack(1, None, true, now);
        let dropped = end(&mut case, now, Some(MS), MS);
        assert_eq!((dropped.first_contact, dropped.upon_beat), (None, None));
        assert_eq!(decide(&dropped).cause, Cause::DroppedAtOnce);
    }
}
