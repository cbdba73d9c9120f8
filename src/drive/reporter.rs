//! From a pulse's report to the status, the log and an event.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{debug, info, trace, warn};

use crate::drive::feed::Feed;
use crate::drive::handle::Handle;
use crate::event::{Event, EventKind, Status};
use crate::pulse::{Report, Rtt};
use crate::state::State;

pub(crate) struct Reporter {
    pub(crate) handle: Arc<Handle>,
    pub(crate) feed: Arc<Feed>,
    /// Of the connection that is, or was last.
    pub(crate) peer: Option<SocketAddr>,
    /// How long the last connect took.
    pub(crate) took: Duration,
    connections: u64,
}

impl Reporter {
    pub(crate) fn new(handle: Arc<Handle>, feed: Arc<Feed>) -> Reporter {
        Reporter { handle, feed, peer: None, took: Duration::ZERO, connections: 0 }
    }

    /// A beat was written.
    pub(crate) fn on_sent(&self) {
        self.handle.status().sent += 1;
    }

    pub(crate) fn report(&mut self, report: Report, rtt: &Rtt) {
        let urgent = !matches!(report, Report::Beat { .. });
        let kind = self.kind(report);
        self.log(&kind);
        self.note(&mut self.handle.status(), &kind, rtt);
        if matches!(kind, EventKind::Connected { .. }) {
            self.connections += 1;
        }
        let link = Some(Arc::clone(&self.handle.who));
        let event = Event { time: SystemTime::now(), link, peer: self.peer, kind };
        self.feed.push(event, urgent);
    }

    fn kind(&self, report: Report) -> EventKind {
        match report {
            Report::Connected { attempt } => EventKind::Connected { attempt, took: self.took },
            Report::Beat { seq, rtt, late } => EventKind::Beat { seq, rtt, late },
            Report::Alive { seq } => EventKind::Alive { seq },
            Report::Silent { silent, misses } => EventKind::Silent { silent, misses },
            Report::Missed { seq, timeout, misses, cause, good } => {
                EventKind::Missed { seq, timeout, misses, cause, good }
            }
            Report::State { from, to, loss, down } => EventKind::State { from, to, loss, down },
            Report::Disconnected { loss, lived, beats } => {
                EventKind::Disconnected { loss, lived, beats }
            }
            Report::Stalled { late } => EventKind::Stalled { late },
            Report::Ended => EventKind::Ended,
        }
    }

    fn note(&self, status: &mut Status, kind: &EventKind, rtt: &Rtt) {
        match kind {
            EventKind::Connected { .. } => {
                status.peer = self.peer;
                status.reconnects = self.connections;
            }
            EventKind::Beat { late, .. } => {
                status.acked += 1;
                status.late += u64::from(*late);
                status.rtt.clone_from(rtt);
            }
            EventKind::Missed { .. } | EventKind::Silent { .. } => status.missed += 1,
            EventKind::State { to, loss, .. } => {
                status.turn(*to, Instant::now());
                status.loss.clone_from(loss);
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
            EventKind::Alive { .. } | EventKind::Lost { .. } => {}
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
