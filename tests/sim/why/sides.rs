//! Side connections of simulated links, what all links share, and what an inquiry can find out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::diagnose::{
    Attempt, Carried, Evidence, Facts, Fresh, Kept, OwnSide, Question, Suspects,
};
use crate::heartbeat::Heartbeat;
use crate::pulse::{Heard, Roster};
use crate::tcp_info::{TcpInfo, TcpState};

use super::kernel::Flow;
use super::path::{Path, Reach};

/// So many more connections are made where the first tells nothing certain.
const MORE: u32 = 4;

/// What all links share.
#[derive(Default)]
pub struct Shared {
    pub roster: Roster<IpAddr>,
    heard: HashMap<IpAddr, Arc<Heard>>,
    /// When each side connection was opened.
    pub opened: Vec<Instant>,
}

impl Shared {
    pub fn join(&mut self, host: IpAddr, now: Instant) {
        if !self.heard.contains_key(&host) {
            self.heard.insert(host, self.roster.join(host, now));
        }
    }

    pub fn heard(&self, host: IpAddr, now: Instant) {
        if let Some(heard) = self.heard.get(&host) {
            heard.now(now);
        }
    }
}

/// The side connections of one link.
#[derive(Default)]
pub struct Side {
    /// What they find, and when.
    results: VecDeque<(Instant, Evidence)>,
    met: Option<Instant>,
    busy: Option<Instant>,
    /// When they were asked for and made.
    pub asked: Vec<Instant>,
}

impl Side {
    pub fn next(&self) -> Option<Instant> {
        self.results.front().map(|(at, _)| *at)
    }

    pub fn is_ready(&self, now: Instant) -> bool {
        self.next().is_some_and(|at| at <= now)
    }

    /// Nobody wants to know any more.
    pub fn close(&mut self, now: Instant) {
        self.results.clear();
        self.busy = self.busy.min(Some(now));
        self.met = None;
    }
}

/// What the inquiry of a link can find out now.
pub struct Eyes<'a> {
    pub now: Instant,
    pub shared: &'a mut Shared,
    pub path: &'a Path,
    pub flow: Option<&'a Flow>,
    pub old: Option<&'a Flow>,
    pub attempt: &'a Attempt,
    pub side: &'a mut Side,
    pub slept: &'a mut (Duration, Duration),
    pub is_suspect: &'a mut bool,
    pub host: IpAddr,
    pub heartbeat: &'a Heartbeat,
}

impl Eyes<'_> {
    /// One connection: what becomes of it, and when that is known.
    fn open(&mut self, at: Instant, patience: Duration) -> (Instant, Fresh, Option<(u8, u8)>) {
        self.shared.opened.push(at);
        match self.path.reach(at) {
            _ if self.path.no_way_out(at).is_some() => (at, Fresh::Local, None),
            Reach::Dead => (at + patience, Fresh::Silent, None),
            Reach::Refused => (at + self.path.rtt, Fresh::Refused, None),
            Reach::Said(Cause::Prohibited, icmp) => {
                (at + self.path.rtt, Fresh::Prohibited, Some(icmp))
            }
            Reach::Said(_, icmp) => (at + self.path.rtt, Fresh::Unreachable, Some(icmp)),
            Reach::Hung | Reach::Well => (at + self.path.rtt, Fresh::Connected, None),
        }
    }

    fn put(&mut self, at: Instant, found: &Evidence) {
        self.side.results.push_back((at, found.clone()));
    }

    /// What `links/side/exam.rs` finds, step by step.
    fn examine(&mut self, question: &Question) -> Instant {
        let patience = (self.heartbeat.timeout * 3 / 10)
            .clamp(Duration::from_millis(300), Duration::from_millis(1300));
        let mut found = Evidence::default();
        let (mut at, fresh, icmp) = self.open(self.now, patience);
        found.fresh = Some(fresh);
        found.fresh_took_us = Some(at - self.now);
        Attempt { icmp, ..Attempt::default() }.add_icmp(&mut found);
        match fresh {
            Fresh::Connected => {
                self.side.met = Some(at);
                found.fresh_rtt_us = Some(self.path.rtt);
                found.fresh_beat =
                    Some(if self.path.hung(at) { Carried::Acked } else { Carried::Answered });
                at += if self.path.hung(at) { patience } else { self.path.rtt };
            }
            Fresh::Silent if question.acked => {
                let (again, fresh, _) = self.open(at, Duration::from_millis(1300));
                (at, found.fresh_again) = (again, Some(fresh));
            }
            _ => {}
        }
        self.put(at, &found);
        let answers = matches!(fresh, Fresh::Connected | Fresh::Silent);
        if !answers || question.acked {
            return at;
        }
        let (mut last, mut answered, mut changes) = (fresh == Fresh::Connected, 0, 0);
        for tried in 1..=MORE {
            let (then, fresh, _) = self.open(at, patience);
            let is_answered = matches!(fresh, Fresh::Connected | Fresh::Refused);
            answered += u32::from(is_answered);
            changes += u32::from(is_answered != last);
            (at, last) = (then, is_answered);
            (found.more_fresh, found.more_answered) = (Some(tried), Some(answered));
            found.more_changes = Some(changes);
            self.put(at, &found);
        }
        at
    }
}

impl Facts for Eyes<'_> {
    fn look(&mut self) -> Option<TcpInfo> {
        self.flow.map(|flow| flow.look(self.now))
    }

    fn own_side(&mut self, _peer: Option<std::net::SocketAddr>) -> OwnSide {
        self.path.own_side(self.now)
    }

    fn suspended(&mut self) -> Option<Duration> {
        Some(self.slept.0).filter(|slept| !slept.is_zero())
    }

    fn suspended_since_stall(&mut self) -> Option<Duration> {
        Some(std::mem::take(&mut self.slept.1)).filter(|slept| !slept.is_zero())
    }

    fn attempt(&mut self) -> Attempt {
        self.attempt.clone()
    }

    fn suspects(&mut self, now: Instant, silent: Duration, window: Duration) -> Option<Suspects> {
        let is_news = !std::mem::replace(self.is_suspect, true);
        let roster = &mut self.shared.roster;
        let count = if is_news && silent > window {
            roster.suspect_late(self.host, now - silent, window)?
        } else {
            if is_news {
                roster.suspect(self.host, now, window);
            }
            roster.count(self.host, now, window)?
        };
        Some(Suspects {
            suspects: count.suspects,
            hosts: count.hosts,
            well: count.well,
            network: count.network.map(|(host, bits)| format!("{host}/{bits}")),
            is_alarm: count.is_alarm,
        })
    }

    fn ask(&mut self, question: Question) -> Option<Kept> {
        if self.side.busy.is_some_and(|until| until > self.now) {
            return Some(Kept::Budget);
        }
        self.side.asked.push(self.now);
        self.side.results.clear();
        self.side.busy = Some(self.examine(&question));
        Some(Kept::Pending)
    }

    fn found(&mut self) -> Option<Evidence> {
        let mut latest = None;
        while self.side.is_ready(self.now) {
            latest = self.side.results.pop_front().map(|(_, found)| found);
        }
        latest
    }

    fn met(&mut self, _acked: bool) -> Option<Instant> {
        self.side.met.filter(|met| *met <= self.now)
    }

    fn old(&mut self) -> Option<(TcpInfo, bool)> {
        let old = self.old?;
        Some((old.look(self.now), old.state == TcpState::Closed))
    }
}
