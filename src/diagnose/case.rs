//! What is known of one link, in case it fails: the beat in flight and what the kernel knew as it
//! was written, the flight recorder, the pauses so far. Kept by the link's own thread; pure, times
//! and looks are arguments.

mod back;
mod contact;
mod measure;
mod next;
mod path;
mod told;
mod trouble;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::belief::Ledger;
use super::diagnosis::{Confidence, Diagnosis};
use super::evidence::{Evidence, Fresh};
use super::history::History;
use super::recorder::{BeatEnd, Recorder};
use super::settings::Diagnose;
use crate::cause::Cause;
use crate::tcp_info::TcpInfo;

use back::Back;
use contact::Contact;
use next::Open;
use path::Path;
use trouble::Trouble;

pub(crate) use contact::{AT_ONCE, Heard};
pub(crate) use next::Opening;
pub(crate) use trouble::OwnSide;

/// A beat on its way, or the first of those that were not answered.
#[derive(Clone, Debug)]
struct Sent {
    seq: u64,
    at: Instant,
    bytes: u32,
    /// For how long nothing had gone either way before it.
    idle: Duration,
    before: Option<TcpInfo>,
    /// Bytes before it that were not acknowledged, beats not counted.
    ahead: Option<u64>,
    /// How many bytes the kernel will have seen acknowledged once this one is.
    acked_at: Option<u64>,
    /// The bytes of all beats without an ack up to it.
    beats_out: u32,
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
    /// The last beat was answered in time, and none before it waits.
    in_time: bool,
    /// One of them had a part of an answer.
    partial: bool,
    good: u64,
    icmp: Option<Said>,
    /// What the last beats say of the path.
    path: Path,
    /// What has gathered since the last answer.
    trouble: Trouble,
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
    /// Connections in a row that stood, and on which no beat was acknowledged.
    swallowed: u32,
    /// Such on which beats were acknowledged, and none was answered.
    unanswered: u32,
    /// How the connection came to stand.
    opening: Opening,
    /// A death by silence that the next connection may explain.
    open: Option<Open>,
    /// A silence that has ended, and is still to be explained.
    back: Option<Back>,
    /// What this process knows of the connection without asking the kernel.
    ledger: Ledger,
    /// What the kernel told that cannot be true: of this link nothing that it tells is believed.
    nonsense: Option<String>,
    /// When a side connection of ours was accepted last, while the peer's kernel lived.
    intruded: Option<Instant>,
    /// What was told last of a silence that had ended, and when.
    warned: Option<(Cause, Instant)>,
    told: Option<Arc<Diagnosis>>,
    surest: Option<Confidence>,
    /// The same for the last silence, also after it is over.
    explained: Option<(Cause, Confidence)>,
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
            in_time: false,
            partial: false,
            good: 0,
            icmp: None,
            path: Path::default(),
            trouble: Trouble::default(),
            least_rtt: None,
            has_learnt: false,
            dropped: None,
            suspended: None,
            side: Evidence::default(),
            side_at: None,
            swallowed: 0,
            unanswered: 0,
            opening: Opening::default(),
            open: None,
            back: None,
            ledger: Ledger::default(),
            nonsense: None,
            intruded: None,
            warned: None,
            told: None,
            surest: None,
            explained: None,
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

    /// A connection stands, and the ledger of it begins.
    pub(crate) fn on_connected(&mut self, peer: Option<SocketAddr>, ledger: Ledger, now: Instant) {
        self.peer = peer.or(self.peer);
        (self.since, self.busy, self.stands) = (now, now, true);
        (self.outstanding, self.first, self.last) = (0, None, None);
        (self.misses, self.icmp, self.partial, self.in_time) = (0, None, false, false);
        (self.ledger, self.back, self.intruded) = (ledger, None, None);
        self.trouble.on_connected();
        self.opening = Opening::default();
        self.on_contact();
        self.on_next_connected(now);
    }

    /// A beat was written; `before` is what the kernel knew just before it.
    pub(crate) fn on_sent(&mut self, seq: u64, at: Instant, bytes: usize, before: Option<TcpInfo>) {
        if !self.is_on() {
            return;
        }
        let before = before.filter(|before| self.believes(before, at));
        self.recorder.on_sent(seq, at, before.as_ref());
        if std::mem::take(&mut self.in_time) {
            let last = self.last.as_ref().and_then(|last| last.before.as_ref());
            self.path.on_round(before.as_ref(), last, self.ledger.wrote.is_none());
        }
        let total = before.as_ref().map(|before| before.total_retransmits);
        self.trouble.on_sent(at, self.path, total);
        let idle = at.saturating_duration_since(self.busy);
        self.ledger.wrote = self.ledger.wrote.map(|wrote| wrote + bytes as u64);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Our own beats before it are no data that it waits behind.
        let beats = self.last.as_ref().map_or(0, |last| last.beats_out);
        // A link of our own carries nothing else.
        let has_data = self.ledger.wrote.is_none();
        let ahead = before.as_ref().filter(|_| has_data).and_then(TcpInfo::bytes_ahead);
        // The kernel's count is off by one at most.
        let ahead = ahead.map(|ahead| ahead.saturating_sub(u64::from(beats) + 1));
        let ahead = if has_data { ahead } else { before.as_ref().map(|_| 0) };
        let beats_out = beats.saturating_add(bytes);
        let acked_at = before.as_ref().filter(|_| bytes > 0).and_then(|before| {
            let all = before.bytes_ahead()?.saturating_sub(1) + u64::from(bytes);
            Some(before.bytes_acked? + all)
        });
        let sent = Sent { seq, at, bytes, idle, before, ahead, acked_at, beats_out };
        self.first.get_or_insert_with(|| sent.clone());
        self.last = Some(sent);
        self.outstanding += 1;
        self.busy = at;
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
        self.ledger.answers += 1;
        (self.swallowed, self.unanswered) = (0, 0);
        self.on_answer(rtt.is_some() || late);
        let sent = self.recorder.on_end(seq, rtt.map_or(BeatEnd::Late, BeatEnd::Acked));
        self.least_rtt = self.least_rtt.into_iter().chain(rtt).min();
        if let Some(first) = &self.first {
            self.history.survived(first.idle);
        }
        self.on_round_trip(rtt, late, sent, now);
        sent.into_iter().for_each(|sent| self.confirm_back(sent, now));
        self.begin_back(now);
        self.good += u64::from(!late);
        // What an ack of the latest leaves behind was given up, or overtaken: no trouble of now.
        let is_latest = self.last.as_ref().is_none_or(|last| last.seq <= seq);
        self.outstanding = if is_latest { 0 } else { self.outstanding.saturating_sub(1) };
        self.first = self.last.clone().filter(|_| self.outstanding > 0);
        if let Some(last) = self.last.as_mut().filter(|_| is_latest) {
            last.beats_out = 0;
        }
        // What waits behind it may have been acknowledged as long ago.
        let seen = self.trouble.seen.take();
        let acked = seen.as_ref().is_some_and(|info| self.is_beat_acked(info));
        self.trouble = Trouble::since(self.first.as_ref().map(|first| first.at), self.path);
        self.trouble.acked = acked.then_some(now);
        // A trouble that never came to a miss is over with the ack. A late one ends nothing.
        if self.misses == 0 && !late || self.told.as_ref().is_some_and(|told| told.is_warning()) {
            self.told = None;
        }
        (self.misses, self.partial) = (0, false);
        (self.icmp, self.side, self.side_at) = (None, Evidence::default(), None);
    }

    /// What an answer says of the path. Where its kernel had the beat it was not the path that took
    /// its time.
    fn on_round_trip(
        &mut self,
        rtt: Option<Duration>,
        late: bool,
        sent: Option<Instant>,
        now: Instant,
    ) {
        self.in_time = !late && self.misses == 0;
        // Of a late one nobody knows that, unless it was looked at meanwhile.
        if self.trouble.acked.is_some() || late && self.trouble.seen.is_none() {
            return;
        }
        let took = rtt.or(sent.map(|sent| now.saturating_duration_since(sent)));
        took.into_iter().for_each(|took| self.path.on_answer(took));
        if late {
            self.path.on_late();
        }
    }

    pub(crate) fn on_missed(&mut self, seq: u64, misses: u32, cause: Cause) {
        let _ = self.recorder.on_end(seq, BeatEnd::Missed);
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

    /// Whether what the kernel tells can be true; once it was not, it is not asked again.
    pub(crate) fn believes(&mut self, info: &TcpInfo, now: Instant) -> bool {
        if self.nonsense.is_none() {
            let age = self.ledger.opened.then(|| now.saturating_duration_since(self.since));
            self.nonsense = Ledger { age, ..self.ledger.clone() }.doubts(info);
        }
        self.nonsense.is_none()
    }

    /// How often segments were sent again since the first beat that was not answered.
    fn sent_again(&self, info: &TcpInfo) -> u32 {
        let first = self.first.as_ref().or(self.last.as_ref());
        let before = first.and_then(|sent| sent.before.as_ref());
        let before = before.map_or(info.total_retransmits, |before| before.total_retransmits);
        info.total_retransmits.saturating_sub(before)
    }

    /// What side connections have found so far, and what the kernel knows of this one meanwhile.
    pub(crate) fn on_side(&mut self, found: &Evidence, info: Option<&TcpInfo>, now: Instant) {
        self.side = found.clone(); // all of it, and that it is pending no more
        if is_answered(found) {
            self.trouble.begin_beside(info, now);
        }
        if let Some(Open { evidence, .. }) = &mut self.open {
            // The link's own next connection knows less than those that were made to find out.
            let next = (**evidence).clone();
            evidence.merge(found);
            evidence.fresh_is_next = None;
            next::keep_next(evidence, &next);
        }
        if is_answered(found) {
            self.begin_old_beside();
        }
    }

    /// A side connection of ours was accepted, while the peer's kernel acknowledged what we sent on
    /// this one.
    pub(crate) fn on_intruded(&mut self, at: Instant) {
        self.intruded = self.intruded.max(Some(at));
    }

    /// When the connection, or the attempt, is over.
    pub(crate) fn on_disconnected(&mut self) {
        if self.stands && self.misses > 0 && self.ledger.answers == 0 {
            let acked = self.trouble.acked.is_some();
            self.swallowed += u32::from(!acked);
            self.unanswered += u32::from(acked);
        }
        if self.misses > 0 {
            // What is sent in vain on a connection that is dead is no loss on the way.
            self.path = self.trouble.path;
        } else {
            // It did not end by silence.
            self.trouble = Trouble::default();
        }
        if std::mem::take(&mut self.stands) {
            self.on_contact_lost();
        }
    }

    /// Whether the first beat without an answer was acknowledged, and all that was before it.
    fn is_beat_acked(&self, info: &TcpInfo) -> bool {
        let Some(first) = &self.first else { return false };
        if info.unacked == 0 && info.notsent_bytes == Some(0) {
            return true;
        }
        info.bytes_acked.zip(first.acked_at).is_some_and(|(acked, all)| acked >= all)
    }

    /// Whether a beat arrived twice while nothing but beats was on its way.
    fn is_eaten(&self, info: &TcpInfo) -> bool {
        let before = self.first.as_ref().and_then(|first| first.before.as_ref());
        let Some(before) = before else { return false };
        let twice = info.dsack_dups.zip(before.dsack_dups).is_some_and(|(now, then)| now > then);
        twice && self.is_alone(info, before) == Some(true)
    }

    /// For how long nothing was answered, over all connections.
    pub(crate) fn silent(&self, now: Instant) -> Option<Duration> {
        self.trouble.since.map(|since| now.saturating_duration_since(since))
    }

    /// A look at the connection while nothing comes.
    pub(crate) fn on_look(&mut self, info: &TcpInfo, now: Instant) {
        let seen = (self.is_beat_acked(info), self.is_eaten(info));
        self.trouble.on_look(Some(info), seen, now);
    }

    pub(crate) fn on_own_side(&mut self, own: Option<&OwnSide>, now: Instant) {
        self.trouble.on_own_side(own, now);
    }
}

/// Whether one of them was answered: the path is alive for it.
fn is_answered(found: &Evidence) -> bool {
    found.fresh == Some(Fresh::Connected) || found.more_answered.is_some_and(|n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Loss;
    use crate::diagnose::decide::decide;
    use crate::diagnose::evidence::{Carried, Fresh, Kept};

    #[test]
    fn what_other_connections_found_holds_until_they_are_asked_again() {
        let start = Instant::now();
        let (minute, loss) = (Duration::from_secs(61), Loss::from(Cause::AckTimeout));
        let mut case = Case::new(Diagnose::side_connections(), minute, "tcp://peer", start);
        let peer = Some(SocketAddr::from(([10, 0, 0, 5], 7000)));
        case.on_connected(peer, Ledger::default(), start);
        case.on_sent(1, start, 9, None);
        let info = TcpInfo::calm(|info| {
            (info.notsent_bytes, info.last_ack_recv) = (Some(0), minute);
        });
        let silence = |case: &mut Case, now| case.silence(&loss, now, Some(&info), None);
        let cause = |case: &mut Case, now| decide(&silence(case, now)).cause;
        let wants = |case: &mut Case, now| {
            let evidence = silence(case, now);
            case.wants_side(&evidence, now)
        };
        let missed = start + 2 * S;
        assert!(wants(&mut case, missed));
        case.on_side_asked(Kept::Pending, missed);
        let (fresh, beat) = (Some(Fresh::Connected), Some(Carried::Answered));
        case.on_side(&Evidence { fresh, fresh_beat: beat, ..Evidence::default() }, None, missed);
        assert_eq!(cause(&mut case, missed), Cause::ConversationSilent);
        assert!(!wants(&mut case, missed), "once in a trouble");
        let later = missed + minute;
        assert!(wants(&mut case, later), "and again when that is old");
        case.on_side_asked(Kept::Pending, later);
        assert_eq!(cause(&mut case, later), Cause::ConversationSilent, "until there is an answer");
        case.on_side(&Evidence { fresh: Some(Fresh::Silent), ..Evidence::default() }, None, later);
        assert_eq!(cause(&mut case, later), Cause::AcceptQueueFull);
        case.on_side_asked(Kept::Budget, later);
        assert_eq!(cause(&mut case, later), Cause::PeerSilent, "what is old is known no more");
    }

    const S: Duration = Duration::from_secs(1);

    fn case(start: Instant) -> Case {
        let mut case = Case::new(Diagnose::kernel(), S, "tcp://10.0.0.5:7000", start);
        case.on_connected(None, Ledger::default(), start);
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
            resent_beside: Some(2),
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

    #[test]
    fn a_late_answer_says_nothing_of_the_path_unless_somebody_looked_and_ends_no_story() {
        let start = Instant::now();
        let late = |looked: bool| {
            let mut case = case(start);
            case.on_sent(1, start, 9, Some(TcpInfo::calm(|_| ())));
            case.on_missed(1, 1, Cause::AckTimeout);
            let loss = Loss::from(Cause::AckTimeout);
            let unacked = TcpInfo::calm(|info| (info.unacked, info.last_ack_recv) = (1, S));
            let info = looked.then_some(&unacked);
            let evidence = case.silence(&loss, start + S, info, None);
            case.diagnose(evidence, start + S);
            case.on_ack(1, None, true, start + 2 * S);
            case.on_ack(1, None, true, start + 2 * S);
            (case.path.late(), case.told().is_some())
        };
        assert_eq!(late(true), (Some(1), true));
        assert_eq!(late(false), (None, true), "its kernel may have had the beat all the time");
    }
}
