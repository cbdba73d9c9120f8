//! From a pulse's report to the status, the log and an event.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{debug, info, trace, warn};

use crate::cause::Cause;
use crate::diagnose::{Confidence, Diagnosis};
use crate::drive::certificate::Certificate;
use crate::drive::feed::Feed;
use crate::drive::handle::Handle;
use crate::drive::socket::Connection;
use crate::drive::tls::Secure;
use crate::event::{Event, EventKind, Status};
use crate::pulse::{Report, Rtt};
use crate::state::State;

pub(crate) struct Reporter {
    pub(crate) handle: Arc<Handle>,
    pub(crate) feed: Arc<Feed>,
    /// Of the connection that is, or was last.
    pub(crate) peer: Option<SocketAddr>,
    /// How long the last connect took.
    took: Duration,
    certificate: Certificate,
    connections: u64,
}

impl Reporter {
    pub(crate) fn new(handle: Arc<Handle>, feed: Arc<Feed>) -> Reporter {
        let certificate = Certificate::default();
        Reporter { handle, feed, peer: None, took: Duration::ZERO, certificate, connections: 0 }
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

    /// A beat was written.
    pub(crate) fn on_sent(&self) {
        self.handle.status().sent += 1;
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
            let peer = self.peer.map_or_else(|| self.handle.who.target.clone(), |p| p.to_string());
            let evidence = self.certificate.evidence(left, peer, SystemTime::now());
            // Not in the status: why the link is not Up is another question.
            let kind = EventKind::Diagnosed { diagnosis: Arc::new(Diagnosis::of(evidence)) };
            self.log(&kind);
            self.push(kind);
        }
    }

    /// What was worked out beside the events of the link.
    pub(crate) fn diagnosed(&mut self, diagnosis: Arc<Diagnosis>) {
        self.note(Arc::clone(&diagnosis));
        let kind = EventKind::Diagnosed { diagnosis };
        self.log(&kind);
        self.push(kind);
    }

    /// The same for the status alone, where there is no news in it.
    pub(crate) fn note(&self, diagnosis: Arc<Diagnosis>) {
        let mut status = self.handle.status();
        if status.state == State::Up {
            return; // a warning: why it is not Up is no question
        }
        // The word of the loss is that of a silence, as it is or as it was refined before.
        let before = status.diagnosis.as_ref();
        let before = before.filter(|told| told.evidence().word == Some(Cause::AckTimeout));
        let refined = before.map(|told| told.cause());
        let is_silence = |cause| cause == Cause::AckTimeout || refined == Some(cause);
        let sure = diagnosis.evidence().word == Some(Cause::AckTimeout)
            && diagnosis.confidence() >= Confidence::Likely;
        if let Some(loss) = status.loss.as_mut().filter(|loss| sure && is_silence(loss.cause)) {
            loss.cause = diagnosis.cause();
        }
        status.diagnosis = Some(diagnosis);
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
            Report::Disconnected { loss, lived, beats } => {
                EventKind::Disconnected { loss, lived, beats }
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
                status.loss.clone_from(loss);
                status.diagnosis.clone_from(diagnosis);
            }
            EventKind::Disconnected { loss, .. } => {
                status.peer = None;
                if status.state == State::Down {
                    status.loss = Some(loss.clone());
                }
            }
            EventKind::Stalled { .. } => status.stalls += 1,
            EventKind::Ended => {
                // The account of its time stands still from here on.
                let state = status.state;
                status.turn(state, Instant::now());
                status.ended = true;
            }
            EventKind::Alive { .. } | EventKind::Diagnosed { .. } | EventKind::Lost { .. } => {}
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
