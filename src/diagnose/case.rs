//! What is known of one link, in case it fails: the beat in flight and what the kernel knew as it
//! was written, the flight recorder, the pauses so far. Kept by the link's own thread; pure, times
//! and looks are arguments.

mod contact;
mod next;
mod own_side;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decide::decide;
use super::diagnosis::{Confidence, Diagnosis};
use super::evidence::{Evidence, Kept, Stage};
use super::history::{History, PAUSE};
use super::recorder::{BeatEnd, Recorder};
use super::settings::Diagnose;
use super::tls;
use crate::cause::{Cause, Loss};
use crate::tcp_info::{TcpInfo, TcpState};

pub(crate) use contact::{AT_ONCE, Heard};
pub(crate) use own_side::OwnSide;

use contact::Contact;
use next::Open;

/// So many beats are looked back on for packets that are lost again and again.
const LOOK_BACK: u32 = 8;

/// So long what other connections have found is true of the same trouble.
const SIDE_LASTS: Duration = Duration::from_secs(60);

/// So many of them with retransmissions are worth a warning.
const LOSSY: u32 = 3;

/// A beat on its way, or the first of those that were not answered.
#[derive(Clone, Debug)]
struct Sent {
    seq: u64,
    at: Instant,
    bytes: u32,
    /// For how long nothing had gone either way before it.
    idle: Duration,
    before: Option<TcpInfo>,
}

/// What a router or firewall said of the live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    errno: u32,
    /// How long the beat had waited when it was first said.
    after: Duration,
    /// How often the kernel had sent again when it was last said.
    last: u32,
    /// How many words came after that had begun.
    words: u32,
}

/// What is known of a link.
#[derive(Debug)]
pub(crate) struct Case {
    settings: Diagnose,
    timeout: Duration,
    recorder: Recorder,
    history: History,
    peer: Option<SocketAddr>,
    /// What the peer is called as long as no connection to it ever stood.
    target: Option<String>,
    /// The bytes of the beat, where they are no secret.
    beat: Option<String>,
    /// Since when the connection stands.
    since: Instant,
    stands: bool,
    /// When bytes last went either way.
    busy: Instant,
    /// The beats without an ack: how many, the first, the last.
    outstanding: u32,
    first: Option<Sent>,
    last: Option<Sent>,
    misses: u32,
    /// One of them had a part of an answer.
    partial: bool,
    good: u64,
    icmp: Option<Said>,
    /// Which of the last beats took retransmissions, a bit each.
    resent: u8,
    /// They were told of.
    is_lossy: bool,
    least_rtt: Option<Duration>,
    /// This trouble has been remembered.
    has_learnt: bool,
    /// It followed a pause that had been survived before.
    dropped: Option<Duration>,
    /// Since all was well this machine was suspended for so long.
    suspended: Option<Duration>,
    /// What side connections have found in this trouble.
    side: Evidence,
    /// When they were asked for.
    side_at: Option<Instant>,
    /// A death by silence that the next connection may explain.
    open: Option<Open>,
    told: Option<Arc<Diagnosis>>,
    surest: Option<Confidence>,
    contact: Contact,
}

impl Case {
    /// For a link to `target`, if it has one.
    pub(crate) fn new(settings: Diagnose, timeout: Duration, target: &str, now: Instant) -> Case {
        Case {
            settings,
            timeout,
            recorder: if settings.evidence { Recorder::new() } else { Recorder::default() },
            history: History::default(),
            peer: None,
            target: Some(target.to_owned()).filter(|target| !target.is_empty()),
            beat: None,
            since: now,
            stands: false,
            busy: now,
            outstanding: 0,
            first: None,
            last: None,
            misses: 0,
            partial: false,
            good: 0,
            icmp: None,
            resent: 0,
            is_lossy: false,
            least_rtt: None,
            has_learnt: false,
            dropped: None,
            suspended: None,
            side: Evidence::default(),
            side_at: None,
            open: None,
            told: None,
            surest: None,
            contact: Contact::default(),
        }
    }

    /// Whether evidence is taken at all.
    pub(crate) fn is_on(&self) -> bool {
        self.settings.evidence
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The bytes of the beat, for people.
    pub(crate) fn set_beat(&mut self, shown: Option<String>) {
        self.beat = shown;
    }

    /// A connection stands.
    pub(crate) fn on_connected(&mut self, peer: Option<SocketAddr>, now: Instant) {
        self.peer = peer.or(self.peer);
        (self.since, self.busy, self.stands) = (now, now, true);
        (self.outstanding, self.first, self.last) = (0, None, None);
        (self.misses, self.icmp, self.resent, self.is_lossy) = (0, None, 0, false);
        self.partial = false;
        self.on_contact();
        self.on_next_connected(now);
    }

    /// A beat was written; `before` is what the kernel knew just before it.
    pub(crate) fn on_sent(&mut self, seq: u64, at: Instant, bytes: usize, before: Option<TcpInfo>) {
        if !self.is_on() {
            return;
        }
        self.recorder.on_sent(seq, at, before.as_ref());
        self.count_resent(before.as_ref());
        let idle = at.saturating_duration_since(self.busy);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let sent = Sent { seq, at, bytes, idle, before };
        self.first.get_or_insert_with(|| sent.clone());
        self.last = Some(sent);
        self.outstanding += 1;
        self.busy = at;
    }

    /// Between two beats: whether segments were sent again.
    fn count_resent(&mut self, now: Option<&TcpInfo>) {
        let before = self.last.as_ref().and_then(|last| last.before.as_ref());
        let Some((now, before)) = now.zip(before) else { return };
        let again = now.total_retransmits > before.total_retransmits;
        self.resent = self.resent << 1 | u8::from(again);
    }

    /// Bytes of the application's own went out, or came.
    pub(crate) fn on_traffic(&mut self, at: Instant) {
        self.busy = self.busy.max(at);
    }

    /// An ack came: there is no trouble any more.
    pub(crate) fn on_ack(&mut self, seq: u64, rtt: Option<Duration>, late: bool, now: Instant) {
        if !self.is_on() {
            return;
        }
        self.busy = now;
        self.on_answer(rtt.is_some() || late);
        self.recorder.on_end(seq, rtt.map_or(BeatEnd::Late, BeatEnd::Acked));
        self.least_rtt = self.least_rtt.into_iter().chain(rtt).min();
        if let Some(first) = &self.first {
            self.history.survived(first.idle);
        }
        self.good += u64::from(!late);
        // What an ack of the latest leaves behind was given up, or overtaken: no trouble of now.
        let is_latest = self.last.as_ref().is_none_or(|last| last.seq <= seq);
        self.outstanding = if is_latest { 0 } else { self.outstanding.saturating_sub(1) };
        // Nor is what the kernel knew before it of any more account.
        self.first = self.last.clone().filter(|_| self.outstanding > 0);
        // A trouble that never came to a miss is over with the ack.
        if self.misses == 0 || self.told.as_ref().is_some_and(|told| told.is_warning()) {
            self.told = None;
        }
        (self.misses, self.partial) = (0, false);
        (self.icmp, self.side, self.side_at) = (None, Evidence::default(), None);
    }

    pub(crate) fn on_missed(&mut self, seq: u64, misses: u32, cause: Cause) {
        self.recorder.on_end(seq, BeatEnd::Missed);
        // What came stays in front of all that comes later.
        self.partial |= cause == Cause::PartialReply;
        self.misses = misses;
        self.has_learnt &= misses > 1;
    }

    /// Something else came, or was acknowledged: what a router said before is void.
    pub(crate) fn on_alive(&mut self) {
        self.icmp = None;
    }

    /// Nothing was received for too long, where no beat asks.
    pub(crate) fn on_silent(&mut self, misses: u32) {
        self.misses = misses;
    }

    /// The state turned Up: what was told is over.
    pub(crate) fn on_up(&mut self) {
        self.told = None;
        self.misses = 0;
        // Not before: the trouble is judged by what was known as it came.
        self.dropped.take().into_iter().for_each(|idle| self.history.dropped(idle));
    }

    /// For how long the machine was suspended since all was well, if it was.
    pub(crate) fn set_suspended(&mut self, suspended: Option<Duration>) {
        self.suspended = suspended;
    }

    /// A router or firewall said something of the live connection. True if that is news, or may
    /// tell more than the last time.
    pub(crate) fn on_icmp(&mut self, errno: i32, now: Instant, info: Option<&TcpInfo>) -> bool {
        let Ok(errno) = u32::try_from(errno) else { return false };
        let sent_again = info.map_or(0, |info| self.sent_again(info));
        let before = self.icmp.filter(|said| said.errno == errno);
        let after = self.first.as_ref().map(|first| now.saturating_duration_since(first.at));
        let after = after.unwrap_or_default();
        let said = before.unwrap_or(Said { errno, after, last: 0, words: 0 });
        let words = said.words + u32::from(sent_again > said.last);
        let said = Some(Said { last: sent_again, words, ..said });
        std::mem::replace(&mut self.icmp, said) != said
    }

    /// How often segments were sent again since the first beat that was not answered.
    fn sent_again(&self, info: &TcpInfo) -> u32 {
        let first = self.first.as_ref().or(self.last.as_ref());
        let before = first.and_then(|sent| sent.before.as_ref());
        let before = before.map_or(info.total_retransmits, |before| before.total_retransmits);
        info.total_retransmits.saturating_sub(before)
    }

    /// What side connections have found so far.
    pub(crate) fn on_side(&mut self, found: &Evidence) {
        self.side = found.clone(); // all of it, and that it is pending no more
        if let Some(Open { evidence, .. }) = &mut self.open {
            // The link's own next connection knows less than those that were made to find out.
            evidence.merge(found);
            evidence.fresh_is_next = None;
        }
    }

    /// When the connection, or the attempt, is over.
    pub(crate) fn on_disconnected(&mut self) {
        if std::mem::take(&mut self.stands) {
            self.on_contact_lost();
        }
    }

    /// The trouble by silence, as far as it is known: the kernel's look, and our own side's.
    pub(crate) fn silence(
        &self,
        loss: &Loss,
        now: Instant,
        info: Option<&TcpInfo>,
        own: Option<OwnSide>,
    ) -> Evidence {
        let mut evidence = self.begin(Stage::Silence, loss, now);
        self.add_contact(&mut evidence);
        self.add_beat(&mut evidence, now);
        self.add_kernel(&mut evidence, info);
        self.add_own_side(&mut evidence, own);
        evidence.side = Some(Kept::Off).filter(|_| !self.settings.side);
        evidence.merge(&self.side);
        evidence
    }

    /// The end of a connection that stood, or of an attempt.
    pub(crate) fn end(
        &mut self,
        loss: &Loss,
        now: Instant,
        info: Option<&TcpInfo>,
        own: Option<OwnSide>,
    ) -> Evidence {
        let stage = if self.stands { Stage::End } else { Stage::Connect };
        let mut evidence = self.begin(stage, loss, now);
        self.add_own_side(&mut evidence, own);
        if stage == Stage::Connect {
            return evidence;
        }
        self.add_contact(&mut evidence);
        self.add_at_once(&mut evidence, loss, now);
        self.add_beat(&mut evidence, now);
        if self.outstanding == 0 {
            let idle = now.saturating_duration_since(self.busy);
            evidence.idle_us = Some(idle);
            // The clock of the pause stood still in a suspension.
            let is_pause = idle >= PAUSE && self.suspended.is_none();
            evidence.idle_closes = (is_pause && loss.cause == Cause::ClosedByPeer).then_some(1);
        }
        // After death most of it reads 0: then what was known before is the evidence.
        let alive = info.filter(|info| info.state != TcpState::Closed);
        let before = self.last.as_ref().and_then(|last| last.before.as_ref());
        match alive {
            Some(info) => self.add_kernel(&mut evidence, Some(info)),
            None => evidence.least_rtt_us = before.and_then(|before| before.min_rtt),
        }
        evidence
    }

    /// A trouble that is none yet.
    pub(crate) fn warning(&self, cause: Cause, now: Instant, info: Option<&TcpInfo>) -> Evidence {
        let loss = Loss::new(cause, String::new());
        let mut evidence = self.begin(Stage::Warning, &loss, now);
        evidence.detail = None;
        self.add_beat(&mut evidence, now);
        self.add_kernel(&mut evidence, info);
        evidence
    }

    /// Packets are lost again and again, and were not before.
    pub(crate) fn has_turned_lossy(&mut self) -> bool {
        let (was, beats) = (self.is_lossy, self.resent.count_ones());
        self.is_lossy = beats >= LOSSY || was && beats > 0;
        self.is_lossy && !was
    }

    pub(crate) fn lossy(&self, now: Instant, info: Option<&TcpInfo>) -> Evidence {
        let beats = self.resent.count_ones();
        let text =
            format!("segments had to be sent again for {beats} of the last {LOOK_BACK} beats");
        let evidence = self.warning(Cause::LossyPath, now, info);
        Evidence { detail: Some(text), ..evidence }
    }

    fn begin(&self, stage: Stage, loss: &Loss, now: Instant) -> Evidence {
        let waited = self.last.as_ref().map(|sent| now.saturating_duration_since(sent.at));
        Evidence {
            word: Some(loss.cause),
            stage: Some(stage),
            detail: Some(loss.detail.clone()),
            tls: tls::word(loss),
            peer: self.peer.map(|peer| peer.to_string()).or_else(|| self.target.clone()),
            timeout_us: Some(self.timeout),
            transport: self.transport(),
            waited_us: waited,
            suspended_us: self.suspended.filter(|_| matches!(stage, Stage::Silence | Stage::End)),
            ..Evidence::default()
        }
    }

    fn add_beat(&self, evidence: &mut Evidence, now: Instant) {
        evidence.outstanding = Some(self.outstanding);
        evidence.misses = Some(self.misses);
        evidence.partial = self.partial.then_some(true);
        evidence.good = Some(self.good);
        evidence.beat_rtt_us = self.least_rtt;
        evidence.idle_survived_us = self.history.longest();
        if let Some(last) = &self.last {
            evidence.beat_bytes = Some(last.bytes);
            evidence.beat.clone_from(&self.beat);
            evidence.waited_us = Some(now.saturating_duration_since(last.at));
        }
        if let Some(first) = &self.first {
            evidence.idle_us = Some(first.idle);
            let (times, least) = self.history.forgets(first.idle);
            if times > 0 {
                // This one is among them already, once it was learnt.
                evidence.idle_forgotten = Some(times + u32::from(!self.has_learnt));
                evidence.forgotten_after_us = least.into_iter().chain([first.idle]).min();
            }
        }
    }

    /// What the kernel knows now, against what it knew before the first beat that was not answered.
    fn add_kernel(&self, evidence: &mut Evidence, info: Option<&TcpInfo>) {
        if let Some(said) = self.icmp {
            evidence.icmp_errno = Some(said.errno);
            // One alone may be the answer to what went out before, a loss probe say.
            evidence.icmp_again = Some(said.words >= 3);
            evidence.icmp_after_us = Some(said.after);
        }
        let Some(info) = info else { return };
        evidence.tcp_state = Some(info.state.word().to_owned());
        evidence.unacked = Some(info.unacked);
        evidence.unsent_bytes = info.notsent_bytes;
        evidence.window_bytes = info.snd_wnd;
        evidence.retransmits = Some(info.retransmits);
        evidence.backoff = Some(info.backoff);
        evidence.probes = Some(info.probes);
        evidence.rto_us = Some(info.rto);
        evidence.rtt_us = Some(info.rtt);
        evidence.least_rtt_us = info.min_rtt;
        evidence.ack_age_us = Some(info.last_ack_recv);
        evidence.resent_beats = Some(self.resent.count_ones()).filter(|beats| *beats > 0);
        let first = self.first.as_ref().or(self.last.as_ref());
        let Some(before) = first.and_then(|sent| sent.before.as_ref()) else { return };
        let since = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        let since32 = |now: Option<u32>, then: Option<u32>| Some(now?.saturating_sub(then?));
        evidence.segments_in = since32(info.segs_in, before.segs_in);
        evidence.acked_bytes = since(info.bytes_acked, before.bytes_acked);
        evidence.resent = Some(info.total_retransmits.saturating_sub(before.total_retransmits));
        evidence.duplicates = since32(info.dsack_dups, before.dsack_dups);
        evidence.ahead_bytes = before.bytes_ahead();
        let held = info.rwnd_limited.zip(before.rwnd_limited);
        evidence.window_closed_us = held.map(|(now, then)| now.saturating_sub(then));
    }

    /// The diagnosis of this evidence, with the last beats; and whether it is news: another cause
    /// than the last, or the same more surely than ever in this trouble.
    pub(crate) fn diagnose(&mut self, evidence: Evidence, now: Instant) -> (Arc<Diagnosis>, bool) {
        let diagnosis = Arc::new(Diagnosis::recorded(evidence, self.recorder.beats(now)));
        let before = self.told.replace(Arc::clone(&diagnosis));
        let same = before.is_some_and(|before| before.cause() == diagnosis.cause());
        let surest = self.surest.filter(|_| same);
        self.surest = surest.max(Some(diagnosis.confidence()));
        (diagnosis, self.surest > surest)
    }

    /// Whether other connections are to be made to tell more of this evidence: once in a trouble,
    /// and again when what they found is old.
    pub(crate) fn wants_side(&mut self, evidence: &Evidence, now: Instant) -> bool {
        if !self.settings.side || self.peer.is_none() {
            return false;
        }
        if self.side_at.is_some_and(|at| now.saturating_duration_since(at) > SIDE_LASTS) {
            self.side_at = None;
        }
        // What they have found before is no reason not to look again.
        let alone = Evidence {
            fresh: None,
            fresh_is_next: None,
            fresh_beat: None,
            fresh_same_length: None,
            fresh_tiny: None,
            more_fresh: None,
            more_answered: None,
            closed_port: None,
            ..evidence.clone()
        };
        let open = match decide(&alone).cause {
            Cause::AckTimeout | Cause::PeerSilent | Cause::FlowForgotten => true,
            // Only another port can tell more.
            Cause::ConnectTimeout => self.settings.closed_port && evidence.tcp_state.is_none(),
            _ => false,
        };
        self.side_at.is_none() && open
    }

    /// They have been asked for, or refused; a budget that was spent may have more the next time.
    pub(crate) fn on_side_asked(&mut self, kept: Kept, now: Instant) {
        self.side_at = Some(now).filter(|_| kept != Kept::Budget);
        if kept == Kept::Budget {
            self.side = Evidence::default(); // what it was before is old by now
        }
    }

    /// What was told last of this trouble.
    pub(crate) fn told(&self) -> Option<Arc<Diagnosis>> {
        self.told.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::evidence::{Carried, Fresh};

    #[test]
    fn what_other_connections_found_holds_until_they_are_asked_again() {
        let start = Instant::now();
        let (minute, loss) = (Duration::from_secs(61), Loss::from(Cause::AckTimeout));
        let mut case = Case::new(Diagnose::side_connections(), minute, "tcp://peer", start);
        case.on_connected(Some(SocketAddr::from(([10, 0, 0, 5], 7000))), start);
        case.on_sent(1, start, 9, None);
        let info = TcpInfo::calm(|info| info.notsent_bytes = Some(0));
        let silence = |case: &Case, now| case.silence(&loss, now, Some(&info), None);
        let cause = |case: &Case, now| decide(&silence(case, now)).cause;
        assert!(case.wants_side(&silence(&case, start), start));
        case.on_side_asked(Kept::Pending, start);
        let (fresh, beat) = (Some(Fresh::Connected), Some(Carried::Answered));
        case.on_side(&Evidence { fresh, fresh_beat: beat, ..Evidence::default() });
        assert_eq!(cause(&case, start), Cause::ConversationSilent);
        assert!(!case.wants_side(&silence(&case, start), start), "once in a trouble");
        let later = start + minute;
        assert!(case.wants_side(&silence(&case, later), later), "and again when that is old");
        case.on_side_asked(Kept::Pending, later);
        assert_eq!(cause(&case, later), Cause::ConversationSilent, "until there is an answer");
        case.on_side(&Evidence { fresh: Some(Fresh::Silent), ..Evidence::default() });
        assert_eq!(cause(&case, later), Cause::AcceptQueueFull);
        case.on_side_asked(Kept::Budget, later);
        assert_eq!(cause(&case, later), Cause::PeerSilent, "what is old is known no more");
    }

    const S: Duration = Duration::from_secs(1);

    fn case(start: Instant) -> Case {
        let mut case = Case::new(Diagnose::kernel(), S, "tcp://10.0.0.5:7000", start);
        case.on_connected(None, start);
        case
    }

    #[test]
    fn an_ack_of_the_latest_beat_leaves_nothing_of_the_earlier_ones() {
        let start = Instant::now();
        let mut case = case(start);
        for seq in 1..=50 {
            case.on_sent(seq, start + seq as u32 * S, 9, None);
        }
        case.on_ack(50, Some(S), false, start + 51 * S);
        let loss = Loss::from(Cause::ClosedByPeer);
        let end = case.end(&loss, start + 60 * S, None, None);
        assert_eq!((end.outstanding, end.idle_us), (Some(0), Some(9 * S)));
    }

    #[test]
    fn a_peer_that_is_one_ack_behind_is_measured_from_the_beat_in_flight() {
        let start = Instant::now();
        let mut case = case(start);
        case.on_sent(1, start + 40 * S, 9, None);
        case.on_sent(2, start + 41 * S, 9, None);
        for seq in 2..=9 {
            case.on_ack(seq - 1, None, true, start + (40 + seq as u32) * S);
            case.on_sent(seq + 1, start + (40 + seq as u32) * S, 9, None);
        }
        let late = case.silence(&Cause::AckTimeout.into(), start + 60 * S, None, None);
        let seen = (late.outstanding, late.idle_us.is_some_and(|idle| idle <= S));
        assert_eq!(seen, (Some(2), true), "the pause before the first was 40 s");
    }

    #[test]
    fn a_pause_across_a_suspension_is_not_learnt() {
        let start = Instant::now();
        let mut case = case(start);
        let loss = Loss::from(Cause::ClosedByPeer);
        case.set_suspended(Some(3600 * S));
        let end = case.end(&loss, start + 9 * S, None, None);
        assert_eq!((end.suspended_us, end.idle_closes), (Some(3600 * S), None));
        assert_eq!(decide(&end).cause, Cause::ResumedFromSleep);
        case.set_suspended(None);
        let end = case.end(&loss, start + 9 * S, None, None);
        assert_eq!((end.suspended_us, end.idle_closes), (None, Some(1)));
    }

    #[test]
    fn a_flow_that_is_dropped_after_a_pause_takes_back_that_it_was_survived() {
        let start = Instant::now();
        let mut case = case(start);
        case.history.survived(3600 * S);
        let mut evidence = Evidence {
            idle_us: Some(300 * S),
            idle_survived_us: Some(3600 * S),
            fresh: Some(Fresh::Connected),
            fresh_beat: Some(Carried::Answered),
            ..Evidence::default()
        };
        let told = Diagnosis::of(evidence.clone());
        assert_eq!(told.cause(), Cause::FlowDropped);
        case.learn(&told);
        assert_eq!(case.history.longest(), Some(3600 * S), "not within the same trouble");
        case.on_up();
        evidence.idle_survived_us = case.history.longest();
        assert_eq!(Diagnosis::of(evidence).cause(), Cause::FlowForgotten, "the next time");
    }
}
