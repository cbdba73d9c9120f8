//! From what a link's thread sees to what its user is told of why: takes the looks that a report
//! calls for, keeps the [`Case`], asks for side connections, and hands the reporter each report
//! with its diagnosis.

mod after;
mod asking;
mod ends;
mod last;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::diagnose::{Case, Diagnosis, Evidence, Heard, Kept, Ledger, OwnSide, Stage};
use crate::drive::handle::Handle;
use crate::drive::looks::Looks;
use crate::drive::member::Member;
use crate::drive::own_side::is_about_the_path;
use crate::drive::relic::Relic;
use crate::drive::reporter::Reporter;
use crate::drive::scene::Scene;
use crate::drive::side::Slot;
use crate::drive::suspension::Suspension;
use crate::drive::{Seat, Shared};
use crate::heartbeat::Heartbeat;
use crate::pulse::{Report, Rtt, Rule};
use crate::state::State;
use crate::tcp_info::TcpInfo;

use ends::is_no_trouble;

pub(crate) struct Inquiry {
    handle: Arc<Handle>,
    shared: Arc<Shared>,
    heartbeat: Heartbeat,
    case: Case,
    slot: Arc<Slot>,
    /// Side connections are being made.
    asked: bool,
    /// They were asked for while the peer's kernel acknowledged what was sent.
    asked_acked: bool,
    /// The one before, of a silence that is over: a side connection may have been on its way.
    past: Option<Arc<Slot>>,
    member: Member,
    /// The peer opened the connection: nobody listens at its end of it.
    accepted: bool,
    /// The own address of the connection, and whether keepbeat opened it.
    local: Option<SocketAddr>,
    is_ours: bool,
    /// The connection before, while it may have something to tell.
    relic: Option<Relic>,
    looks: Looks,
    /// A diagnosis that goes with the state event behind it, or alone.
    held: Option<(Arc<Diagnosis>, bool)>,
    /// The last evidence of silence, to be completed by what side connections find.
    silence: Option<Evidence>,
    /// It is of a connection that is gone: what is known of the next one has no place in it.
    is_gone: bool,
    suspension: Suspension,
    /// By which rule the peer ends its connections, as it was told last.
    rule: Option<Rule>,
    /// The state has just turned Down, by the end that follows.
    has_fallen: bool,
    /// The protocol panicked as it was asked.
    broken: Option<Loss>,
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inquiry {
    pub(crate) fn new(seat: &Seat, heartbeat: &Heartbeat, now: Instant) -> Inquiry {
        Inquiry {
            handle: Arc::clone(&seat.handle),
            shared: Arc::clone(&seat.shared),
            heartbeat: heartbeat.clone(),
            case: Case::new(heartbeat.diagnose, heartbeat.timeout, &seat.handle.who.target, now),
            slot: Arc::default(),
            asked: false,
            asked_acked: false,
            past: None,
            member: Member::new(Arc::clone(&seat.shared)),
            accepted: false,
            local: None,
            is_ours: false,
            relic: None,
            looks: Looks::new(Arc::clone(&seat.shared.lookers)),
            held: None,
            silence: None,
            is_gone: false,
            suspension: Suspension::new(),
            rule: None,
            has_fallen: false,
            broken: None,
        }
    }

    /// Another pace from here on.
    pub(crate) fn set_heartbeat(&mut self, heartbeat: &Heartbeat) {
        self.heartbeat = heartbeat.clone();
        self.case.set_timeout(heartbeat.timeout);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.case.is_on()
    }

    pub(crate) fn case(&mut self) -> &mut Case {
        &mut self.case
    }

    /// A connection stands, before the pulse is told; it took so long to.
    pub(crate) fn on_connected(
        &mut self,
        peer: Option<SocketAddr>,
        scene: &dyn Scene,
        reporter: &Reporter,
    ) {
        if !self.is_on() {
            return;
        }
        let now = Instant::now();
        self.suspension.on_well();
        self.past = None;
        (self.local, self.is_ours) = (scene.local(), scene.is_ours());
        let wrote = Some(0).filter(|_| self.is_ours && !scene.carries_data());
        let ledger = Ledger { opened: self.is_ours, wrote, ..Ledger::default() };
        self.case.on_connected(peer, ledger, now);
        let info = scene.look().filter(|info| self.case.believes(info, now));
        // Nobody else asks who opened it.
        self.accepted = self.heartbeat.diagnose.side
            && !self.is_ours
            && info.as_ref().is_none_or(TcpInfo::is_accepted);
        self.member.move_to(peer.map(|peer| peer.ip()));
        self.on_opened(info.as_ref(), reporter);
    }

    /// A beat was written.
    pub(crate) fn on_sent(&mut self, seq: u64, at: Instant, bytes: usize, before: Option<TcpInfo>) {
        self.case.on_sent(seq, at, bytes, before);
    }

    /// When the beat in flight is to be looked at, while one waits.
    pub(crate) fn look_due(
        &mut self,
        expecting: bool,
        sent: Instant,
        rtt: &Rtt,
    ) -> Option<Instant> {
        if !self.is_on() || !expecting {
            self.looks.stop();
            return None;
        }
        Some(self.looks.due(sent, rtt.avg()))
    }

    /// How long after a beat that one is.
    pub(crate) fn attention(&self) -> Duration {
        self.looks.attention()
    }

    /// The beat in flight is being looked at; whether that is to be a thorough look.
    pub(crate) fn on_looked(&mut self, now: Instant) -> bool {
        self.looks.on_looked(now)
    }

    /// A router or firewall said something of the live connection.
    pub(crate) fn on_icmp(&mut self, errno: i32, scene: &mut dyn Scene, reporter: &mut Reporter) {
        let (now, info) = (Instant::now(), scene.look());
        if self.case.on_icmp(errno, now, info.as_ref()) {
            // A local failure leaves the same error behind.
            let own = Some(self.own_side());
            let evidence = self.case.silence(&Cause::AckTimeout.into(), now, info.as_ref(), own);
            let mut evidence = Evidence { detail: None, ..evidence };
            if self.case.wants_side(&evidence, now) {
                evidence.side = Some(self.ask(scene, &evidence, now));
            }
            self.tell(evidence.clone(), now, reporter);
            self.silence.get_or_insert(evidence);
        }
    }

    /// Whether there is nothing to attend to.
    fn is_calm(&self) -> bool {
        self.held.is_none() && !self.asked && self.due().is_none()
    }

    /// What has come up since the last time, and what is due.
    pub(crate) fn attend(&mut self, scene: &dyn Scene, reporter: &mut Reporter) {
        if self.is_calm() {
            return;
        }
        self.collect(scene, reporter);
        self.on_due(scene, reporter);
    }

    /// What side connections have found since the last time goes into the diagnosis, with what the
    /// kernel knows of the connection by now.
    fn collect(&mut self, scene: &dyn Scene, reporter: &mut Reporter) {
        self.flush(reporter);
        if let Some(evidence) = self.take_found(scene) {
            self.tell(evidence, Instant::now(), reporter);
        }
    }

    /// The evidence of silence with what was found since the last time, if there is some.
    fn take_found(&mut self, scene: &dyn Scene) -> Option<Evidence> {
        if !self.asked {
            return None;
        }
        self.look_for_intrusion();
        let found = self.slot.take()?;
        let (now, info) = (Instant::now(), scene.look());
        self.case.on_side(&found, info.as_ref(), now);
        let mut evidence = self.silence.take()?;
        evidence.merge(&found);
        if evidence.side == Some(Kept::Pending) {
            evidence.side = found.side;
        }
        if !self.is_gone {
            self.case.refresh(&mut evidence, info.as_ref(), now);
        } else if let Some(open) = self.case.open_evidence() {
            evidence = open;
        } else {
            // It goes on.
            evidence.silent_us = self.case.silent(now);
        }
        self.silence = Some(evidence.clone());
        Some(evidence)
    }

    /// The peer says more than it was asked, and it does no harm.
    pub(crate) fn on_unasked(&mut self, heard: &Heard, reporter: &mut Reporter) {
        let now = Instant::now();
        let evidence = self.case.doubled(heard, now);
        self.tell(evidence, now, reporter);
    }

    /// Whether a side connection was accepted while the peer's kernel lived.
    fn look_for_intrusion(&mut self) {
        let slot = Some(&self.slot).filter(|_| self.asked_acked).or(self.past.as_ref());
        if let Some(met) = slot.and_then(|slot| slot.met()) {
            self.case.on_intruded(met);
        }
    }

    /// A panic of the protocol that came to light here.
    pub(crate) fn take_broken(&mut self) -> Option<Loss> {
        self.broken.take()
    }

    /// A report of the pulse, with what it calls for.
    pub(crate) fn report(
        &mut self,
        mut report: Report,
        rtt: &Rtt,
        scene: &mut dyn Scene,
        reporter: &mut Reporter,
    ) {
        if !self.is_on() {
            if let Report::Disconnected { loss, expected: false, .. } = &report {
                reporter.met(loss.cause, loss, None);
            }
            return reporter.report(report, rtt, None);
        }
        let now = Instant::now();
        if !matches!(report, Report::State { loss: Some(_), .. }) {
            self.flush(reporter);
        }
        let diagnosis = match &mut report {
            Report::State { to, loss: Some(loss), .. } => {
                self.on_trouble(loss, *to == State::Down, now, scene)
            }
            Report::State { loss: None, .. } => {
                self.has_fallen = false;
                self.on_up();
                None
            }
            Report::Missed { seq, timeout, misses, cause, .. } => {
                self.case.on_missed(*seq, *misses, *cause);
                let detail = format!("no ack of beat {seq} within {timeout:?}");
                self.on_silence(Loss::new(*cause, detail), now, scene, reporter);
                None
            }
            Report::Silent { silent, misses } => {
                self.case.on_silent(*misses);
                let detail = format!("nothing received for {silent:.1?}");
                self.on_silence(Loss::new(Cause::AckTimeout, detail), now, scene, reporter);
                None
            }
            Report::Disconnected { loss, regular: Some(regular), .. } => {
                self.on_regular_end(loss, *regular, now, scene, reporter);
                None
            }
            Report::Disconnected { loss, lived, .. } => {
                self.on_disconnected(loss, lived.is_zero(), now, scene, reporter);
                None
            }
            Report::Stalled { late } => Some(self.away(*late)),
            Report::Alive { .. } => {
                self.on_alive(now, scene, reporter);
                None
            }
            Report::Connected { .. } | Report::Beat { .. } | Report::Ended => None,
        };
        let beat = match report {
            Report::Beat { seq, rtt, late } => Some((seq, rtt, late)),
            _ => None,
        };
        reporter.report(report, rtt, diagnosis);
        if let Some((seq, rtt, late)) = beat {
            self.on_beat(seq, rtt, late, now, scene, reporter);
        }
    }

    /// The loss as the events tell it.
    pub(crate) fn refined(&self, loss: &Loss) -> Loss {
        let mut loss = loss.clone();
        self.case.told().into_iter().for_each(|told| told.refine(&mut loss));
        loss
    }

    fn on_up(&mut self) {
        self.case.on_up();
        self.end_silence(true);
        self.member.well();
    }

    /// It is over, by an answer or by the end of the connection: what side connections still find
    /// is of no trouble that is.
    fn end_silence(&mut self, answered: bool) {
        if self.asked || self.silence.is_some() {
            self.spare(answered);
            self.slot.close();
            let slot = std::mem::take(&mut self.slot);
            self.past = Some(slot).filter(|_| self.asked_acked);
            (self.asked, self.asked_acked, self.silence) = (false, false, None);
        }
    }

    fn on_beat(
        &mut self,
        seq: u64,
        rtt: Option<Duration>,
        late: bool,
        now: Instant,
        scene: &dyn Scene,
        reporter: &mut Reporter,
    ) {
        self.suspension.on_well();
        self.member.on_heard(now);
        self.case.on_ack(seq, rtt, late, now);
        self.end_silence(true);
        if let Some(evidence) = self.case.on_next_beat(true, None) {
            self.explain(evidence, now, reporter);
        }
        if self.case.has_turned_lossy() {
            let evidence = self.case.lossy(now, scene.look().as_ref());
            let diagnosis = Diagnosis::of(evidence);
            if self.case.is_news(&diagnosis, now) {
                reporter.diagnosed(Arc::new(diagnosis));
            }
        }
    }

    /// No ack in time, and no miss: where the beat is held up by what the peer does not read, that
    /// is worth a word.
    fn on_alive(&mut self, now: Instant, scene: &dyn Scene, reporter: &mut Reporter) {
        self.case.on_alive();
        let info = scene.look();
        if info.as_ref().is_some_and(TcpInfo::is_asking) {
            let evidence = self.case.warning(Cause::QueuedBehindData, now, info.as_ref());
            // What has arrived waits for nothing.
            if evidence.beat_acked.is_none() {
                self.tell(evidence, now, reporter);
            }
        }
    }

    /// A miss: the looks are taken now, and the words go with the state, if that turns.
    fn on_silence(
        &mut self,
        loss: Loss,
        now: Instant,
        scene: &mut dyn Scene,
        reporter: &mut Reporter,
    ) {
        let info = scene.look();
        if let Some(evidence) = self.case.on_next_beat(false, info.as_ref()) {
            self.explain(evidence, now, reporter);
        }
        self.case.set_suspended(self.suspension.since_well());
        let own = Some(self.own_side());
        let mut evidence = self.case.silence(&loss, now, info.as_ref(), own);
        if let Some(before) = &self.silence {
            // What was measured beside the connection holds on.
            evidence.keep_side(before);
        }
        self.count_suspects(&mut evidence, now, reporter);
        if self.case.wants_side(&evidence, now) {
            evidence.side = Some(self.ask(scene, &evidence, now));
        }
        self.held = Some(self.case.diagnose(evidence.clone(), now));
        (self.silence, self.is_gone) = (Some(evidence), false);
    }

    /// The state turns for the worse.
    fn on_trouble(
        &mut self,
        loss: &mut Loss,
        is_down: bool,
        now: Instant,
        scene: &dyn Scene,
    ) -> Option<Arc<Diagnosis>> {
        self.has_fallen = is_down;
        let silence = matches!(loss.cause, Cause::AckTimeout | Cause::PartialReply);
        if let Some((diagnosis, _)) = self.held.take().filter(|_| silence) {
            diagnosis.refine(loss);
            if let Some(evidence) = self.silence.as_ref().filter(|_| is_down) {
                self.case.keep_open(evidence, now);
            }
            return Some(diagnosis);
        }
        if is_no_trouble(loss.cause) {
            return None;
        }
        let own = is_about_the_path(loss.cause).then(|| self.own_side());
        let evidence = self.ended(loss, now, scene.look().as_ref(), own);
        let (diagnosis, _) = self.case.diagnose(evidence, now);
        self.leave_alone(&diagnosis);
        diagnosis.refine(loss);
        Some(diagnosis)
    }

    /// What was silent is explained by what came after it.
    fn explain(&mut self, evidence: Evidence, now: Instant, reporter: &mut Reporter) {
        let (diagnosis, news) = self.case.diagnose_past(evidence, now);
        self.case.learn(&diagnosis);
        // That nothing is known is no explanation.
        let news = news && diagnosis.cause() != Cause::AckTimeout;
        if news && self.case.is_news(&diagnosis, now) {
            reporter.diagnosed(diagnosis);
        }
    }

    fn tell(&mut self, evidence: Evidence, now: Instant, reporter: &mut Reporter) {
        let (diagnosis, news) = self.case.diagnose(evidence, now);
        self.case.learn(&diagnosis);
        let news = news && self.case.is_news(&diagnosis, now);
        self.hand_out(diagnosis, news, reporter);
    }

    /// One alarm for all links is enough.
    fn hand_out(&self, diagnosis: Arc<Diagnosis>, news: bool, reporter: &mut Reporter) {
        if news && diagnosis.cause() != Cause::LocalNetwork {
            reporter.diagnosed(diagnosis);
        } else {
            reporter.note(diagnosis);
        }
    }

    /// A miss that turned no state, and yet is news.
    fn flush(&mut self, reporter: &mut Reporter) {
        if let Some((diagnosis, news)) = self.held.take() {
            self.hand_out(diagnosis, news, reporter);
        }
    }

    fn away(&mut self, late: Duration) -> Arc<Diagnosis> {
        Arc::new(Diagnosis::of(Evidence {
            word: Some(Cause::LocalStall),
            stage: Some(Stage::Away),
            detail: Some(format!("this process woke {late:.1?} too late")),
            late_us: Some(late),
            suspended_us: self.suspension.on_stall(),
            ..Evidence::default()
        }))
    }

    fn own_side(&self) -> OwnSide {
        self.shared.interfaces.look(self.local, self.case.peer(), self.is_ours)
    }

    /// Ask for nothing more, and let go of what was kept.
    fn close(&mut self) {
        self.slot.close();
        self.relic = None;
    }
}
