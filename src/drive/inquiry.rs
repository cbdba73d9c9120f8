//! From what a link's thread sees to what its user is told of why: takes the looks that a report
//! calls for, keeps the [`Case`], asks for side connections, and hands the reporter each report
//! with its diagnosis.

mod ends;
mod last;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cause::{Cause, Loss};
use crate::diagnose::{Case, Diagnosis, Evidence, Heard, Kept, OwnSide, Stage, is_path_alive};
use crate::drive::handle::Handle;
use crate::drive::looks::Looks;
use crate::drive::member::Member;
use crate::drive::own_side::is_about_the_path;
use crate::drive::reporter::Reporter;
use crate::drive::scene::{Allowed, Scene};
use crate::drive::side::{Question, Slot};
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
    member: Member,
    /// The peer opened the connection: nobody listens at its end of it.
    accepted: bool,
    /// The own address of the connection.
    local: Option<SocketAddr>,
    looks: Looks,
    /// A diagnosis that goes with the state event behind it, or alone.
    held: Option<(Arc<Diagnosis>, bool)>,
    /// The last evidence of silence, to be completed by what side connections find.
    silence: Option<Evidence>,
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
        self.slot.close();
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
            member: Member::new(Arc::clone(&seat.shared)),
            accepted: false,
            local: None,
            looks: Looks::new(Arc::clone(&seat.shared.lookers)),
            held: None,
            silence: None,
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

    /// A connection stands, before the pulse is told.
    pub(crate) fn on_connected(&mut self, peer: Option<SocketAddr>, scene: &dyn Scene) {
        if !self.is_on() {
            return;
        }
        self.suspension.on_well();
        self.local = scene.local();
        // Nobody else asks who opened it.
        self.accepted =
            self.heartbeat.diagnose.side && scene.look().is_some_and(|info| info.is_accepted());
        self.case.on_connected(peer, Instant::now());
        self.member.move_to(peer.map(|peer| peer.ip()));
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

    pub(crate) fn on_looked(&mut self, now: Instant) {
        self.looks.on_looked(now);
    }

    /// A router or firewall said something of the live connection.
    pub(crate) fn on_icmp(&mut self, errno: i32, scene: &mut dyn Scene, reporter: &mut Reporter) {
        let (now, info) = (Instant::now(), scene.look());
        if self.case.on_icmp(errno, now, info.as_ref()) {
            // A local failure leaves the same error behind.
            let own = Some(self.own_side());
            let evidence = self.case.silence(&Cause::AckTimeout.into(), now, info.as_ref(), own);
            self.tell(Evidence { detail: None, ..evidence }, now, reporter);
        }
    }

    /// What side connections have found since the last time goes into the diagnosis.
    pub(crate) fn collect(&mut self, reporter: &mut Reporter) {
        self.flush(reporter);
        if let Some(evidence) = self.take_found() {
            self.tell(evidence, Instant::now(), reporter);
        }
    }

    /// The evidence of silence with what was found since the last time, if there is some.
    fn take_found(&mut self) -> Option<Evidence> {
        let found = self.slot.take().filter(|_| self.asked)?;
        self.case.on_side(&found);
        let evidence = self.silence.as_mut()?;
        evidence.merge(&found);
        if evidence.side == Some(Kept::Pending) {
            evidence.side = found.side;
        }
        Some(evidence.clone())
    }

    /// The peer says more than it was asked, and it does no harm.
    pub(crate) fn on_unasked(&mut self, heard: &Heard, reporter: &mut Reporter) {
        let now = Instant::now();
        self.tell(self.case.doubled(heard, now), now, reporter);
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
        self.end_silence();
        self.member.well();
    }

    /// It is over: what side connections still find is of no trouble that is.
    fn end_silence(&mut self) {
        if self.asked || self.silence.is_some() {
            (self.asked, self.silence) = (false, None);
            self.slot.close();
            self.slot = Arc::default();
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
        self.case.on_ack(seq, rtt, late, now);
        self.end_silence();
        if let Some(evidence) = self.case.on_next_beat(true, None) {
            self.explain(evidence, now, reporter);
        }
        if self.case.has_turned_lossy() {
            let evidence = self.case.lossy(now, scene.look().as_ref());
            reporter.diagnosed(Arc::new(Diagnosis::of(evidence)));
        }
    }

    /// No ack in time, and no miss: where the beat is held up by what the peer does not read, that
    /// is worth a word.
    fn on_alive(&mut self, now: Instant, scene: &dyn Scene, reporter: &mut Reporter) {
        self.case.on_alive();
        let info = scene.look();
        if info.as_ref().is_some_and(TcpInfo::is_asking) {
            let evidence = self.case.warning(Cause::QueuedBehindData, now, info.as_ref());
            self.tell(evidence, now, reporter);
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
        self.count_suspects(&mut evidence, now, reporter);
        if self.case.wants_side(&evidence, now) {
            evidence.side = Some(self.ask(scene, &evidence, now));
        }
        self.held = Some(self.case.diagnose(evidence.clone(), now));
        self.silence = Some(evidence);
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
        diagnosis.refine(loss);
        Some(diagnosis)
    }

    /// What was silent is explained by what came after it.
    fn explain(&mut self, evidence: Evidence, now: Instant, reporter: &mut Reporter) {
        let (diagnosis, news) = self.case.diagnose(evidence, now);
        self.case.learn(&diagnosis);
        if news {
            reporter.diagnosed(diagnosis);
        }
    }

    fn tell(&mut self, evidence: Evidence, now: Instant, reporter: &mut Reporter) {
        let (diagnosis, news) = self.case.diagnose(evidence, now);
        self.case.learn(&diagnosis);
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
        self.shared.interfaces.look(self.local, self.case.peer())
    }

    fn count_suspects(&mut self, evidence: &mut Evidence, now: Instant, reporter: &mut Reporter) {
        if is_path_alive(evidence) {
            return;
        }
        let Heartbeat { interval, timeout, fall, .. } = self.heartbeat;
        // Beats are spread over an interval, so that is how far apart links notice.
        let window = interval * 11 / 10 + fall * timeout;
        let Some(count) = self.member.suspect(now, window) else { return };
        (evidence.suspects, evidence.hosts) = (Some(count.suspects), Some(count.hosts));
        if count.is_alarm {
            let all = Evidence {
                word: Some(Cause::AckTimeout),
                stage: Some(Stage::Silence),
                suspects: evidence.suspects,
                hosts: evidence.hosts,
                ..Evidence::default()
            };
            reporter.alarm(Arc::new(Diagnosis::of(all)));
        }
    }

    /// Asks for side connections; what becomes of that.
    fn ask(&mut self, scene: &mut dyn Scene, evidence: &Evidence, now: Instant) -> Kept {
        let Some(address) = self.case.peer().filter(|_| !self.accepted) else {
            return Kept::Needless;
        };
        let len = evidence.beat_bytes.unwrap_or(0) as usize;
        let connecting = evidence.stage == Some(Stage::Connect);
        // Then nothing is said, and the protocol need not be asked.
        let allowed = if connecting { Ok(Allowed::default()) } else { scene.allowed(len) };
        let allowed = match allowed {
            Ok(allowed) => allowed,
            Err(loss) => {
                self.broken = Some(loss);
                return Kept::Needless;
            }
        };
        let question = Question {
            link: Arc::clone(&self.handle),
            slot: Arc::clone(&self.slot),
            address,
            allowed,
            heartbeat: self.heartbeat.clone(),
            rtt: evidence.beat_rtt_us.unwrap_or_default(),
            acked: evidence.unacked == Some(0),
            connecting,
        };
        let kept = match self.shared.sides.ask(question) {
            Ok(()) => Kept::Pending,
            Err(kept) => kept,
        };
        self.asked = kept == Kept::Pending;
        self.case.on_side_asked(kept, now);
        kept
    }
}
