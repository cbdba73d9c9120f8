//! DECIDES: what is asked about a link in trouble, and what of it is told. Pure: no clock, socket,
//! channel or thread; time is an argument, and what the link's thread can see comes through
//! [`Facts`].
//!
//! > **Contract: one [`Saw`], then [`poll`](Inquiry::poll) until `Wait`; time never goes backwards;
//! > every `Saw` is harmless at any time.**
//!
//! A look, and the request for a side connection, are answered at once. So they are questions to
//! [`Facts`] in the middle of a judgement, and not outputs that would cut it in two. What is told
//! comes out of `poll`, in order.
//!
//! What evidence is built in is cold: it would lie across the stack of every healthy beat.
//!
//! The policy, and where it stands:
//!
//! * when a beat that waits is looked at, and how thoroughly: [`looks`]
//! * what a miss calls for: here
//! * what a word of a router, and a quiet moment, call for: [`silence`]
//! * what an end, or an attempt that failed, is worth: [`ends`]
//! * what the next connection, and the old one, tell afterwards: [`after`]
//! * when other links, and side connections, are asked, and how often: [`asking`]
//! * what is news, what is held back for the state behind it, what is told once: [`telling`]

mod after;
mod asking;
mod ends;
mod looks;
mod silence;
mod telling;

#[cfg(test)]
#[path = "../../tests/sim/why/mod.rs"]
mod why;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::belief::Ledger;
use super::case::{Case, Heard, OwnSide};
use super::diagnosis::Diagnosis;
use super::evidence::{Evidence, Kept, Stage};
use super::settings::Diagnose;
use crate::cause::{Cause, Loss};
use crate::heartbeat::Heartbeat;
use crate::pulse::{Report, Rule};
use crate::state::State;
use crate::tcp_info::TcpInfo;

use after::Relic;
pub(crate) use asking::{Question, Suspects};
pub(crate) use ends::Attempt;
use looks::Looks;

/// What a link's thread saw.
pub(crate) enum Saw<'a> {
    /// A connection to this peer stands, which took so long to open.
    Connected { peer: Option<SocketAddr>, ledger: Ledger, took: Duration },
    /// The pulse has this to report. It is told with [`Act::Report`]; its loss is refined in place.
    Report(&'a mut Report),
    /// A beat was answered, and that was told.
    Answered { seq: u64, rtt: Option<Duration>, late: bool },
    /// A router or firewall said this of the live connection.
    Icmp(i32),
    /// The beat in flight was looked at, and nobody has said anything. A thorough look takes our
    /// own side in, and after a miss what is known by now is told.
    Quiet { info: Option<TcpInfo>, thorough: bool },
    /// The peer says more than it was asked, and it does no harm.
    Unasked(&'a Heard),
    /// Time has passed: what was held back goes out, what is due is looked at.
    Time,
    /// The rounds of the link are over, and so are the side connections that it waited for.
    Last,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Act {
    /// Tell this, as an event and in the status.
    Tell(Arc<Diagnosis>),
    /// Write this into the status; there is no news in it.
    Note(Arc<Diagnosis>),
    /// Tell this of all links.
    Alarm(Arc<Diagnosis>),
    /// This is why the link is Down now, with the word of the event.
    Met(Cause, Box<(Loss, Option<Arc<Diagnosis>>)>),
    /// Tell the report that was judged, with this.
    Report(Option<Arc<Diagnosis>>),
    /// The trouble is over, by an answer or not: nobody needs its side connections any more.
    /// `lived` is the peer, if they were made while its kernel acknowledged what was sent.
    Over { answered: bool, lived: Option<SocketAddr> },
    /// The connection is gone, and its side connections may still tell why.
    Part { lived: Option<SocketAddr> },
    /// Make no side connection to this peer any more.
    Spare(SocketAddr),
    /// Let go of the socket of the old connection.
    LetGo,
    /// Nothing until something is seen, or until then.
    Wait(Option<Instant>),
}

/// What can be found out at once, and is asked for only where it matters.
pub(crate) trait Facts {
    /// What the kernel knows of the connection.
    fn look(&mut self) -> Option<TcpInfo>;

    /// This machine's side of a connection to that peer.
    fn own_side(&mut self, peer: Option<SocketAddr>) -> OwnSide;

    /// For how long this machine was suspended since all was well, if it was.
    fn suspended(&mut self) -> Option<Duration>;

    /// The same since a stall was told.
    fn suspended_since_stall(&mut self) -> Option<Duration>;

    /// What became of the last attempt to connect.
    fn attempt(&mut self) -> Attempt;

    /// The link is not answered, for so long: how many hosts are silent within the window, if this
    /// one answers on none of its links.
    fn suspects(&mut self, now: Instant, silent: Duration, window: Duration) -> Option<Suspects>;

    /// Asks for side connections, and says what becomes of that; nothing where the protocol
    /// panicked as it was asked what they may carry.
    fn ask(&mut self, question: Question) -> Option<Kept>;

    /// What side connections have found since the last time.
    fn found(&mut self) -> Option<Evidence>;

    /// When a side connection was accepted last: of those of this silence where the peer's kernel
    /// lived in it (`acked`), else of those of the silence before.
    fn met(&mut self, acked: bool) -> Option<Instant>;

    /// A look at the old connection, and whether the peer has reset it. None if it is not there.
    fn old(&mut self) -> Option<(TcpInfo, bool)>;
}

pub(crate) struct Inquiry {
    // The life of the link.
    settings: Diagnose,
    /// Beats are spread over an interval, so that is how far apart links notice a common trouble.
    window: Duration,
    case: Case,
    looks: Looks,
    /// By which rules the peer ends its connections, as they were told since it was Down.
    rules: Vec<Rule>,
    /// What is to be told, and what goes with the report that was judged.
    acts: VecDeque<Act>,
    judged: Option<Option<Arc<Diagnosis>>>,
    /// A diagnosis that goes with the state event behind it, or alone; and whether it is news.
    held: Option<(Arc<Diagnosis>, bool)>,
    /// The connection that was given up last, while it may have something to tell.
    relic: Option<Relic>,
    // This connection, until the next one stands.
    connection: Connection,
    // This trouble, until it is over.
    trouble: Trouble,
}

/// What is known of a connection.
#[derive(Default)]
struct Connection {
    /// keepbeat has opened it.
    is_ours: bool,
    /// The peer has opened it: nobody listens at its end of it.
    accepted: bool,
    /// The state has just turned Down, by the end that follows.
    has_fallen: bool,
}

/// A trouble that is not over.
#[derive(Default)]
struct Trouble {
    silence: Option<Silence>,
    /// Side connections are being made.
    asked: bool,
    /// They were asked for while the peer's kernel acknowledged what was sent.
    acked: bool,
}

/// A silence that nothing has ended.
struct Silence {
    /// As it was known last, to be completed by what side connections find.
    evidence: Box<Evidence>,
    /// Its connection is gone: what is known of the next one has no place in it.
    is_gone: bool,
}

impl Inquiry {
    /// For a link to `target`, if it has one.
    pub(crate) fn new(heartbeat: &Heartbeat, target: &str, now: Instant) -> Inquiry {
        Inquiry {
            settings: heartbeat.diagnose,
            window: window(heartbeat),
            case: Case::new(heartbeat.diagnose, heartbeat.timeout, target, now),
            looks: Looks::default(),
            rules: Vec::new(),
            acts: VecDeque::new(),
            judged: None,
            held: None,
            relic: None,
            connection: Connection::default(),
            trouble: Trouble::default(),
        }
    }

    /// Another pace from here on.
    pub(crate) fn set_heartbeat(&mut self, heartbeat: &Heartbeat) {
        self.window = window(heartbeat);
        self.case.set_timeout(heartbeat.timeout);
    }

    pub(crate) fn case(&mut self) -> &mut Case {
        &mut self.case
    }

    pub(crate) fn is_on(&self) -> bool {
        self.settings.evidence
    }

    /// When the beat in flight, which was `sent` then, is to be looked at; a usual answer takes
    /// `usual`. None where no beat waits.
    pub(crate) fn look_due(
        &mut self,
        sent: Option<Instant>,
        usual: Option<Duration>,
    ) -> Option<Instant> {
        let Some(sent) = sent.filter(|_| self.is_on()) else {
            self.looks.stop();
            return None;
        };
        Some(self.looks.due(sent, usual))
    }

    /// How long after a beat that is, the first time.
    pub(crate) fn attention(&self) -> Duration {
        self.looks.attention()
    }

    /// The beat in flight is being looked at, one of those of so many links; whether that is to be
    /// a thorough look.
    pub(crate) fn on_looked(&mut self, now: Instant, lookers: u32) -> bool {
        self.looks.on_looked(now, lookers)
    }

    /// Takes note of what was seen, and judges it.
    pub(crate) fn handle(&mut self, now: Instant, saw: Saw<'_>, facts: &mut dyn Facts) {
        if !self.is_on() {
            if let Saw::Report(report) = saw {
                self.pass(report);
            }
            return;
        }
        match saw {
            Saw::Connected { peer, ledger, took } => {
                self.on_connected(peer, ledger, took, now, facts);
            }
            Saw::Report(report) => self.on_report(report, now, facts),
            Saw::Answered { seq, rtt, late } => self.on_answered((seq, rtt, late), now, facts),
            Saw::Icmp(errno) => self.on_icmp(errno, now, facts),
            Saw::Quiet { info, thorough } => self.on_quiet(info, thorough, now, facts),
            Saw::Unasked(heard) => self.on_unasked(heard, now),
            Saw::Time => {
                self.collect(now, facts);
                self.on_due(now, facts);
            }
            Saw::Last => self.on_last(now, facts),
        }
    }

    /// What is to be done next.
    pub(crate) fn poll(&mut self) -> Act {
        if let Some(act) = self.acts.pop_front() {
            return act;
        }
        match self.judged.take() {
            Some(why) => Act::Report(why),
            None => Act::Wait(self.due()),
        }
    }

    /// Whether there is nothing to attend to.
    pub(crate) fn is_calm(&self) -> bool {
        self.held.is_none() && !self.trouble.asked && self.due().is_none()
    }

    /// Whether side connections are still to complete the last verdict.
    pub(crate) fn is_waiting(&self) -> bool {
        self.trouble.asked && self.trouble.silence.is_some()
    }

    /// The loss as the events tell it.
    pub(crate) fn refined(&self, loss: &Loss) -> Loss {
        let mut loss = loss.clone();
        self.refine_as_told(&mut loss);
        loss
    }

    /// Without evidence nothing is explained, and the word of the event is all.
    fn pass(&mut self, report: &Report) {
        if let Report::Disconnected { loss, expected: false, .. } = report {
            self.acts.push_back(Act::Met(loss.cause, Box::new((loss.clone(), None))));
        }
        self.judged = Some(None);
    }

    #[cold]
    #[inline(never)]
    fn on_unasked(&mut self, heard: &Heard, now: Instant) {
        let evidence = self.case.doubled(heard, now);
        self.tell(evidence, now);
    }

    #[cold]
    #[inline(never)]
    fn on_connected(
        &mut self,
        peer: Option<SocketAddr>,
        ledger: Ledger,
        took: Duration,
        now: Instant,
        facts: &mut dyn Facts,
    ) {
        let is_ours = ledger.opened;
        self.case.on_connected(peer, ledger, now);
        let info = facts.look().filter(|info| self.case.believes(info, now));
        // Nobody else asks who opened it.
        let accepted =
            self.settings.side && !is_ours && info.as_ref().is_none_or(TcpInfo::is_accepted);
        self.connection = Connection { is_ours, accepted, has_fallen: false };
        self.on_opened(info.as_ref(), took);
    }

    /// A report of the pulse, with what it calls for.
    fn on_report(&mut self, report: &mut Report, now: Instant, facts: &mut dyn Facts) {
        if !matches!(report, Report::State { loss: Some(_), .. }) {
            self.flush();
        }
        let mut why = None;
        match report {
            Report::State { to, loss: Some(loss), .. } => {
                why = self.on_trouble(loss, *to == State::Down, now, facts);
            }
            Report::State { loss: None, .. } => self.on_up(),
            Report::Missed { .. } | Report::Silent { .. } => self.on_miss(report, now, facts),
            Report::Disconnected { loss, regular: Some(regular), .. } => {
                self.on_regular_end(loss, *regular, now, facts);
            }
            Report::Disconnected { loss, lived, .. } => {
                self.on_disconnected(loss, lived.is_zero(), now, facts);
            }
            Report::Stalled { late } => why = Some(away(*late, facts.suspended_since_stall())),
            Report::Alive { .. } => self.on_alive(now, facts),
            Report::Connected { .. } | Report::Beat { .. } | Report::Ended => {}
        }
        self.judged = Some(why);
    }

    #[cold]
    #[inline(never)]
    fn on_miss(&mut self, report: &Report, now: Instant, facts: &mut dyn Facts) {
        let loss = match report {
            Report::Missed { seq, timeout, misses, cause, .. } => {
                self.case.on_missed(*seq, *misses, *cause);
                Loss::new(*cause, format!("no ack of beat {seq} within {timeout:?}"))
            }
            Report::Silent { silent, misses } => {
                self.case.on_silent(*misses);
                Loss::new(Cause::AckTimeout, format!("nothing received for {silent:.1?}"))
            }
            _ => return,
        };
        self.on_silence(loss, now, facts);
    }

    /// A miss: the looks are taken now, and the words go with the state, if that turns.
    #[cold]
    #[inline(never)]
    fn on_silence(&mut self, loss: Loss, now: Instant, facts: &mut dyn Facts) {
        let info = facts.look();
        if let Some(evidence) = self.case.on_next_beat(false, info.as_ref()) {
            self.explain(evidence, now);
        }
        self.case.set_suspended(facts.suspended());
        let own = Some(facts.own_side(self.case.peer()));
        let mut evidence = self.case.silence(&loss, now, info.as_ref(), own);
        if let Some(before) = &self.trouble.silence {
            // What was measured beside the connection holds on.
            evidence.keep_side(&before.evidence);
        }
        self.count_suspects(&mut evidence, now, facts);
        self.ask_if_wanted(&mut evidence, now, facts);
        self.held = Some(self.case.diagnose(evidence.clone(), now));
        self.set_silence(evidence, false);
    }

    fn on_up(&mut self) {
        self.connection.has_fallen = false;
        self.case.on_up();
        self.end_trouble(true);
    }

    fn on_answered(
        &mut self,
        (seq, rtt, late): (u64, Option<Duration>, bool),
        now: Instant,
        facts: &mut dyn Facts,
    ) {
        self.case.on_ack(seq, rtt, late, now);
        self.end_trouble(true);
        if self.case.has_open() {
            self.explain_by_answer(now);
        }
        if self.case.has_turned_lossy() {
            self.warn_of_loss(now, facts);
        }
    }

    #[cold]
    #[inline(never)]
    fn explain_by_answer(&mut self, now: Instant) {
        if let Some(evidence) = self.case.on_next_beat(true, None) {
            self.explain(evidence, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn warn_of_loss(&mut self, now: Instant, facts: &mut dyn Facts) {
        let evidence = self.case.lossy(now, facts.look().as_ref());
        let diagnosis = Diagnosis::of(evidence);
        if self.case.is_news(&diagnosis, now) {
            self.acts.push_back(Act::Tell(Arc::new(diagnosis)));
        }
    }

    /// The trouble is over, by an answer or by the end of the connection: nothing that side
    /// connections still find is about the link as it is now.
    fn end_trouble(&mut self, answered: bool) {
        if self.trouble.asked || self.trouble.silence.is_some() {
            let Trouble { acked, .. } = std::mem::take(&mut self.trouble);
            let lived = self.case.peer().filter(|_| acked);
            self.acts.push_back(Act::Over { answered, lived });
        }
    }
}

fn window(heartbeat: &Heartbeat) -> Duration {
    let Heartbeat { interval, timeout, fall, .. } = *heartbeat;
    interval * 11 / 10 + fall * timeout
}

/// This process itself was away: nobody else is to blame.
#[cold]
fn away(late: Duration, suspended: Option<Duration>) -> Arc<Diagnosis> {
    Arc::new(Diagnosis::of(Evidence {
        word: Some(Cause::LocalStall),
        stage: Some(Stage::Away),
        detail: Some(format!("this process woke {late:.1?} too late")),
        late_us: Some(late),
        suspended_us: suspended,
        ..Evidence::default()
    }))
}
