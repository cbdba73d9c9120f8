//! From a pulse's report to the status, the log and an event.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{debug, info, trace, warn};

use crate::cause::{Cause, Loss};
use crate::diagnose::Diagnosis;
use crate::event::{Event, EventKind, Status};
use crate::links::certificate::Certificate;
use crate::links::handle::Handle;
use crate::links::out::feed::Feed;
use crate::net::connection::Connection;
use crate::net::tls::Secure;
use crate::pulse::{Report, Rtt};
use crate::state::State;

pub(crate) struct Reporter {
    pub(crate) handle: Arc<Handle>,
    pub(crate) feed: Arc<Feed>,
    /// Of the connection that is, or was last.
    pub(crate) peer: Option<SocketAddr>,
    took: Duration,
    certificate: Certificate,
    connections: u64,
    /// The number of the last beat that was sent.
    last: u64,
}

impl Reporter {
    pub(crate) fn new(handle: Arc<Handle>, feed: Arc<Feed>) -> Reporter {
        let certificate = Certificate::default();
        let (took, connections, last) = (Duration::ZERO, 0, 0);
        Reporter { handle, feed, peer: None, took, certificate, connections, last }
    }

    /// A connection was opened, which took so long.
    pub(crate) fn on_dialed(
        &mut self,
        secure: Option<&Secure>,
        connection: &Connection,
        took: Duration,
    ) {
        self.took = took;
        let warns_before = secure.and_then(Secure::warns_before);
        self.certificate.on_connected(connection.certificate_expires(), warns_before);
    }

    /// How long the last connect took.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    /// A beat was written. One that crossed the end of its connection is written again.
    pub(crate) fn on_sent(&mut self, seq: u64) {
        if std::mem::replace(&mut self.last, seq) != seq {
            self.handle.status().sent += 1;
        }
    }

    /// With why, where that is known.
    pub(crate) fn report(&mut self, report: Report, rtt: &Rtt, why: Option<Arc<Diagnosis>>) {
        let kind = self.kind(report, why);
        self.log(&kind);
        self.keep(&mut self.handle.status(), &kind, rtt);
        if matches!(kind, EventKind::Connected { .. }) {
            self.connections += 1;
        }
        self.push(kind);
        self.look_at_certificate();
    }

    /// Once a day it may be worth a warning, also on a connection that stands for months.
    fn look_at_certificate(&mut self) {
        if self.certificate.expires.is_none() {
            return;
        }
        if let Some(left) = self.certificate.warning(Instant::now(), SystemTime::now) {
            self.warn_of_certificate(left);
        }
    }

    #[cold]
    #[inline(never)]
    fn warn_of_certificate(&mut self, left: Duration) {
        let peer = self.peer.map_or_else(|| self.handle.who.target.clone(), |p| p.to_string());
        let evidence = self.certificate.evidence(left, peer, SystemTime::now());
        // Not in the status: why the link is not Up is another question.
        let kind = EventKind::Diagnosed { diagnosis: Arc::new(Diagnosis::of(evidence)) };
        self.log(&kind);
        self.push(kind);
    }

    /// What was worked out beside the events of the link.
    pub(crate) fn diagnosed(&self, diagnosis: Arc<Diagnosis>) {
        self.note(Arc::clone(&diagnosis));
        let kind = EventKind::Diagnosed { diagnosis };
        self.log(&kind);
        self.push(kind);
    }

    /// The same for the status alone, where there is no news in it.
    pub(crate) fn note(&self, diagnosis: Arc<Diagnosis>) {
        let mut status = self.handle.status();
        // Of a link that is Up it is a warning. Of another trouble than the one of now, it explains
        // what is over.
        let is_of_now = status.word.is_some() && status.word == diagnosis.evidence().word;
        if status.state == State::Up || !is_of_now {
            return;
        }
        if let Some((word, loss)) = status.word.zip(status.loss.as_mut()) {
            loss.cause = word;
            diagnosis.refine(loss);
        }
        status.diagnosis = Some(diagnosis);
    }

    /// What the last attempt met is why the link is not Up now: word, detail and diagnosis go
    /// together.
    pub(crate) fn met(&self, word: Cause, loss: &Loss, diagnosis: Option<Arc<Diagnosis>>) {
        let mut status = self.handle.status();
        if status.state == State::Down {
            (status.word, status.loss) = (Some(word), Some(loss.clone()));
            status.diagnosis = diagnosis;
        }
    }

    /// What concerns many links: an event of none.
    pub(crate) fn alarm(&self, diagnosis: Arc<Diagnosis>) {
        warn!("{diagnosis}");
        let kind = EventKind::Diagnosed { diagnosis };
        self.feed.push(
            Event { time: SystemTime::now(), link: None, peer: None, certificate: None, kind },
            true,
        );
    }

    fn push(&self, kind: EventKind) {
        let urgent = !matches!(kind, EventKind::Beat { .. });
        let link = Some(Arc::clone(&self.handle.who));
        let certificate =
            self.certificate.expires.filter(|_| matches!(kind, EventKind::Connected { .. }));
        let event = Event { time: SystemTime::now(), link, peer: self.peer, certificate, kind };
        self.feed.push(event, urgent);
    }

    fn kind(&self, report: Report, diagnosis: Option<Arc<Diagnosis>>) -> EventKind {
        match report {
            Report::Connected { attempt } => EventKind::Connected { attempt, took: self.took },
            Report::Beat { seq, rtt, late } => EventKind::Beat { seq, rtt, late },
            Report::Alive { seq } => EventKind::Alive { seq },
            Report::Silent { silent, misses } => EventKind::Silent { silent, misses },
            Report::Missed { seq, timeout, misses, cause, good } => {
                EventKind::Missed { seq, timeout, misses, cause, good }
            }
            Report::State { from, to, loss, down } => {
                EventKind::State { from, to, loss, down, diagnosis }
            }
            Report::Disconnected { loss, lived, beats, expected, .. } => {
                EventKind::Disconnected { loss, lived, beats, expected }
            }
            Report::Stalled { late } => EventKind::Stalled { late, diagnosis },
            Report::Ended => EventKind::Ended,
        }
    }

    fn keep(&self, status: &mut Status, kind: &EventKind, rtt: &Rtt) {
        match kind {
            EventKind::Connected { .. } => {
                status.peer = self.peer;
                status.reconnects = self.connections;
                status.certificate_expires = self.certificate.expires;
            }
            EventKind::Beat { late, .. } => {
                status.acked += 1;
                status.late += u64::from(*late);
                status.rtt.clone_from(rtt);
            }
            EventKind::Missed { .. } | EventKind::Silent { .. } => status.missed += 1,
            EventKind::State { to, loss, diagnosis, .. } => {
                status.turn(*to, Instant::now());
                let told = diagnosis.as_ref().and_then(|told| told.evidence().word);
                status.word = told.or(loss.as_ref().map(|loss| loss.cause));
                status.loss.clone_from(loss);
                status.diagnosis.clone_from(diagnosis);
            }
            EventKind::Disconnected { expected, .. } => {
                status.peer = None;
                status.renewals += u64::from(*expected);
            }
            EventKind::Stalled { .. } => status.stalls += 1,
            EventKind::Ended => {
                // The account of its time stands still from here on.
                let state = status.state;
                status.turn(state, Instant::now());
                status.ended = true;
            }
            EventKind::Alive { .. }
            | EventKind::Diagnosed { .. }
            | EventKind::Overflowed { .. } => {}
        }
    }

    /// No payloads, no secrets: causes carry escaped and masked text only.
    fn log(&self, kind: &EventKind) {
        let name = &self.handle.who.name;
        match kind {
            EventKind::Beat { .. } => trace!("{name}: {kind}"),
            EventKind::Connected { .. } | EventKind::State { to: State::Up, .. } => {
                info!("{name}: {kind}");
            }
            EventKind::State { to: State::Down, .. } | EventKind::Stalled { .. } => {
                warn!("{name}: {kind}");
            }
            _ => debug!("{name}: {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Evidence;
    use crate::event::{Identity, LinkId};

    #[test]
    fn word_detail_and_diagnosis_of_a_status_are_of_the_same_trouble() {
        let who = Identity { id: LinkId(1), name: "a".into(), target: "tcp://a:1".into() };
        let handle = Arc::new(Handle::new(who));
        let mut reporter = Reporter::new(Arc::clone(&handle), Arc::new(Feed::new().0));
        let of =
            |word| Arc::new(Diagnosis::of(Evidence { word: Some(word), ..Evidence::default() }));
        let silence = Loss::new(Cause::AckTimeout, "no ack of 3 beats");
        let (from, to, why) = (State::Up, State::Down, of(Cause::AckTimeout));
        let fell = Report::State { from, to, loss: Some(silence), down: None };
        reporter.report(fell, &Rtt::default(), Some(why));
        let refused = Loss::new(Cause::LoginRefused, "the server says no");
        reporter.met(Cause::LoginRefused, &refused, Some(of(Cause::LoginRefused)));
        // What other connections find of the silence comes too late.
        reporter.note(of(Cause::AckTimeout));
        let status = handle.status().clone();
        assert_eq!(status.loss, Some(refused));
        assert_eq!(
            status.diagnosis.map(|why| why.evidence().word),
            Some(Some(Cause::LoginRefused))
        );
    }
}
