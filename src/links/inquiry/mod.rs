//! The acting half of a diagnosis: takes the looks that the pure [inquiry](crate::diagnose) asks
//! for, asks side connections, tells the reporter. What is asked and what is told is decided there.

mod facts;
mod last;
pub(crate) mod looks;
mod member;
pub(crate) mod overheard;
pub(crate) mod own_side;
mod relic;
mod suspension;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::Loss;
use crate::diagnose::{self, Act, Case, Heard, Ledger, Saw};
use crate::heartbeat::Heartbeat;
use crate::links::inquiry::looks::Looker;
use crate::links::inquiry::relic::Relic;
use crate::links::reporter::Reporter;
use crate::links::seat::Seat;
use crate::links::socket_view::{Quiet, SocketView, Unseen};
use crate::pulse::{Report, Rtt};
use crate::tcp_info::TcpInfo;

use facts::{LinkFacts, Tools};

pub(crate) struct Inquiry {
    policy: diagnose::Inquiry,
    tools: Tools,
    looker: Looker,
    /// When something is to be looked at again, without any beat.
    due: Option<Instant>,
}

impl Inquiry {
    pub(crate) fn new(seat: &Seat, heartbeat: &Heartbeat, now: Instant) -> Inquiry {
        Inquiry {
            policy: diagnose::Inquiry::new(heartbeat, &seat.handle.who.target, now),
            tools: Tools::new(seat, heartbeat),
            looker: Looker::new(Arc::clone(&seat.shared.lookers)),
            due: None,
        }
    }

    /// Another pace from here on.
    pub(crate) fn set_heartbeat(&mut self, heartbeat: &Heartbeat) {
        self.policy.set_heartbeat(heartbeat);
        self.tools.heartbeat = heartbeat.clone();
    }

    pub(crate) fn is_on(&self) -> bool {
        self.policy.is_on()
    }

    pub(crate) fn case(&mut self) -> &mut Case {
        self.policy.case()
    }

    /// A connection stands, before the pulse is told.
    pub(crate) fn on_connected(
        &mut self,
        peer: Option<SocketAddr>,
        view: &dyn SocketView,
        reporter: &Reporter,
    ) {
        if !self.is_on() {
            return;
        }
        let is_ours = view.is_ours();
        // Of a connection that carries data nobody counts the bytes.
        let wrote = Some(0).filter(|_| is_ours && !view.carries_data());
        let ledger = Ledger { opened: is_ours, wrote, ..Ledger::default() };
        self.tools.on_connected(peer, view);
        let saw = Saw::Connected { peer, ledger, took: reporter.took() };
        self.see(saw, Instant::now(), &mut Quiet(view), reporter);
    }

    /// A beat was written.
    pub(crate) fn on_sent(&mut self, seq: u64, at: Instant, bytes: usize, before: Option<TcpInfo>) {
        self.policy.case().on_sent(seq, at, bytes, before);
    }

    /// When the beat in flight is to be looked at, while one waits.
    pub(crate) fn look_due(
        &mut self,
        expecting: bool,
        sent: Instant,
        rtt: &Rtt,
    ) -> Option<Instant> {
        let sent = Some(sent).filter(|_| expecting);
        if sent.is_none() {
            self.looker.stop();
        }
        self.policy.look_due(sent, rtt.avg())
    }

    /// How long after a beat that one is.
    pub(crate) fn attention(&self) -> Duration {
        self.policy.attention()
    }

    /// The beat in flight is being looked at; whether that is to be a thorough look.
    pub(crate) fn on_looked(&mut self, now: Instant) -> bool {
        self.policy.on_looked(now, self.looker.look())
    }

    /// A router or firewall said something of the live connection.
    pub(crate) fn on_icmp(
        &mut self,
        errno: i32,
        view: &mut dyn SocketView,
        reporter: &mut Reporter,
    ) {
        self.see(Saw::Icmp(errno), Instant::now(), view, reporter);
    }

    /// The beat in flight was looked at, and nobody has said anything.
    pub(crate) fn on_quiet(
        &mut self,
        info: Option<TcpInfo>,
        thorough: bool,
        view: &mut dyn SocketView,
        reporter: &mut Reporter,
    ) {
        self.see(Saw::Quiet { info, thorough }, Instant::now(), view, reporter);
    }

    /// The peer says more than it was asked, and it does no harm.
    pub(crate) fn on_unasked(&mut self, heard: &Heard, reporter: &mut Reporter) {
        self.see(Saw::Unasked(heard), Instant::now(), &mut Unseen, reporter);
    }

    /// The connection is given up after a silence: its socket may tell more.
    pub(crate) fn keep(&mut self, socket: &Arc<Socket>) {
        let now = Instant::now();
        if self.policy.keeps_old(now) {
            self.tools.relic = Some(Relic::new(Arc::clone(socket)));
            self.due = Some(now);
        }
    }

    /// When something is to be looked at again, without any beat.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What has come up since the last time, and what is due.
    pub(crate) fn attend(&mut self, view: &dyn SocketView, reporter: &mut Reporter) {
        if !self.policy.is_calm() {
            self.see(Saw::Time, Instant::now(), &mut Quiet(view), reporter);
        }
    }

    /// A panic of the protocol that came to light here.
    pub(crate) fn take_broken(&mut self) -> Option<Loss> {
        self.tools.broken.take()
    }

    /// A report of the pulse, with what it calls for.
    pub(crate) fn report(
        &mut self,
        mut report: Report,
        rtt: &Rtt,
        view: &mut dyn SocketView,
        reporter: &mut Reporter,
    ) {
        let now = Instant::now();
        if self.is_on() {
            self.tools.on_report(&report, now);
        }
        if matches!(report, Report::Disconnected { .. }) {
            self.looker.stop();
        }
        let why = self.see(Saw::Report(&mut report), now, view, reporter);
        let answered = match report {
            Report::Beat { seq, rtt, late } => Some(Saw::Answered { seq, rtt, late }),
            _ => None,
        };
        reporter.report(report, rtt, why);
        answered.into_iter().for_each(|saw| drop(self.see(saw, now, view, reporter)));
    }

    /// The loss as the events tell it.
    pub(crate) fn refined(&self, loss: &Loss) -> Loss {
        self.policy.refined(loss)
    }

    /// Has it judged, and does what follows; what goes with a report.
    fn see(
        &mut self,
        saw: Saw<'_>,
        now: Instant,
        view: &mut dyn SocketView,
        reporter: &Reporter,
    ) -> Option<Arc<diagnose::Diagnosis>> {
        let mut facts = LinkFacts { tools: &mut self.tools, view };
        self.policy.handle(now, saw, &mut facts);
        let mut why = None;
        loop {
            match self.policy.poll() {
                Act::Tell(diagnosis) => reporter.diagnosed(diagnosis),
                Act::Note(diagnosis) => reporter.note(diagnosis),
                Act::Alarm(diagnosis) => reporter.alarm(diagnosis),
                Act::Met(word, met) => reporter.met(word, &met.0, met.1),
                Act::Report(with) => why = with,
                Act::Over { answered, lived } => self.tools.on_over(answered, lived),
                Act::Part { lived } => self.tools.on_parted(lived),
                Act::Spare(peer) => self.tools.shared.sides.spared.add(peer),
                Act::LetGo => self.tools.relic = None,
                Act::Wait(until) => {
                    self.due = until;
                    return why;
                }
            }
        }
    }
}
