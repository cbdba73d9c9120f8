//! What is known of one link, in case it fails: the beat in flight and what the kernel knew as it
//! was written, the flight recorder, the pauses so far. Kept by the link's own thread; pure, times
//! and looks are arguments.

mod back;
mod connection;
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
use super::confidence::Confidence;
use super::diagnosis::Diagnosis;
use super::evidence::{Evidence, Fresh};
use super::history::History;
use super::recorder::{BeatEnd, Recorder};
use super::settings::Diagnose;
use crate::cause::Cause;
use crate::tcp_info::TcpInfo;

use connection::{Connection, Missed, Said};
use contact::Contact;
use next::Open;
use path::Path;
use trouble::Trouble;

pub(crate) use contact::{AT_ONCE, Heard};
pub(crate) use next::Opening;
pub(crate) use trouble::OwnSide;

/// What is known of a link, by how long it is true.
#[derive(Debug)]
pub(crate) struct Case {
    // As long as the link lives.
    settings: Diagnose,
    timeout: Duration,
    recorder: Recorder,
    history: History,
    peer: Option<SocketAddr>,
    /// What the peer is called as long as no connection to it ever stood.
    target: Option<String>,
    /// The bytes of the beat, where they are no secret.
    beat: Option<String>,
    /// Beats that were acknowledged in time.
    good: u64,
    /// What the last beats say of the path.
    path: Path,
    least_rtt: Option<Duration>,
    contact: Contact,
    /// What the kernel told that cannot be true: of this link nothing that it tells is believed.
    nonsense: Option<String>,
    /// For how long this machine was suspended since all was well, as it was asked last.
    suspended: Option<Duration>,
    /// The pause before this trouble is in the history already; until the next first miss.
    has_learnt: bool,
    /// It followed a pause that had been survived before.
    dropped: Option<Duration>,
    /// What was told last of a silence that had ended, and when.
    warned: Option<(Cause, Instant)>,
    /// What was told last of any silence, also after it was over, and how surely.
    explained: Option<(Cause, Confidence)>,
    // As long as the connection, and until the next one stands.
    connection: Connection,
    // Until the next answer.
    trouble: Trouble,
    tries: Tries,
    // Until the link is Up, or all was well without that.
    story: Story,
    // Until it is explained.
    /// A death by silence that the next connection may explain.
    open: Option<Box<Open>>,
}

/// What was tried since the last answer.
#[derive(Debug, Default)]
struct Tries {
    /// Connections in a row that stood, and on which no beat was acknowledged.
    swallowed: u32,
    /// Such on which beats were acknowledged, and none was answered.
    unanswered: u32,
    /// What side connections have found.
    side: Option<Box<Evidence>>,
    /// When they were asked for.
    side_at: Option<Instant>,
}

/// What was told of this trouble.
#[derive(Debug, Default)]
struct Story {
    told: Option<Arc<Diagnosis>>,
    /// The surest that its cause was told.
    surest: Option<Confidence>,
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
            good: 0,
            path: Path::default(),
            least_rtt: None,
            contact: Contact::default(),
            nonsense: None,
            suspended: None,
            has_learnt: false,
            dropped: None,
            warned: None,
            explained: None,
            connection: Connection::none(now),
            trouble: Trouble::default(),
            tries: Tries::default(),
            story: Story::default(),
            open: None,
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
        self.connection = Connection::new(ledger, now);
        self.trouble.on_connected();
        self.on_contact();
        self.on_next_connected(now);
    }

    /// Whether the kernel is to be asked before the next beat is written.
    pub(crate) fn asks_kernel(&self) -> bool {
        self.is_on() && self.connection.asks(self.path)
    }

    /// More came than an answer in one piece of one segment.
    pub(crate) fn on_more(&mut self) {
        self.connection.more_came = true;
    }

    /// A beat was written; `before` is what the kernel knew just before it, where it was asked.
    pub(crate) fn on_sent(&mut self, seq: u64, at: Instant, bytes: usize, before: Option<TcpInfo>) {
        if !self.is_on() {
            return;
        }
        let mut before = before.filter(|before| self.believes(before, at));
        self.recorder.on_sent(seq, at, before.as_ref());
        if self.asks_kernel() {
            self.connection.unasked = 0;
        } else {
            self.connection.unasked += 1;
            before = before.or_else(|| self.connection.work_out());
        }
        if std::mem::take(&mut self.connection.in_time) {
            let last = self.connection.last.as_ref().and_then(|last| last.before.as_ref());
            self.path.on_round(before.as_ref(), last, self.connection.ledger.wrote.is_none());
        }
        let total = before.as_ref().map(|before| before.total_retransmits);
        self.trouble.on_sent(at, self.path, total);
        self.connection.on_sent(seq, at, bytes, before);
    }

    /// Bytes of the application's own went out, or came.
    pub(crate) fn on_traffic(&mut self, at: Instant) {
        self.connection.busy = self.connection.busy.max(at);
    }

    /// An ack came: there is no trouble any more.
    pub(crate) fn on_ack(&mut self, seq: u64, rtt: Option<Duration>, late: bool, now: Instant) {
        if !self.is_on() {
            return;
        }
        self.connection.busy = now;
        self.connection.ledger.answers += 1;
        self.on_answer(rtt.is_some() || late);
        let sent = self.recorder.on_end(seq, rtt.map_or(BeatEnd::Late, BeatEnd::Acked));
        self.least_rtt = self.least_rtt.into_iter().chain(rtt).min();
        if let Some(first) = &self.connection.first {
            self.history.survived(first.idle);
        }
        self.on_round_trip(rtt, late, sent, now);
        sent.into_iter().for_each(|sent| self.confirm_back(sent, now));
        self.begin_back(now);
        self.good += u64::from(!late);
        self.connection.on_answered(seq);
        // What waits behind it may have been acknowledged as long ago.
        let seen = self.trouble.seen.take();
        let acked = seen.as_ref().is_some_and(|info| self.connection.is_beat_acked(info));
        let since = self.connection.first.as_ref().map(|first| first.at);
        self.trouble = Trouble::since(since, self.path);
        self.trouble.acked = acked.then_some(now);
        // A trouble that never came to a miss is over with the ack. A late one ends nothing.
        let is_warning = self.story.told.as_ref().is_some_and(|told| told.is_warning());
        if self.connection.missed.misses == 0 && !late || is_warning {
            self.story = Story::default();
        }
        self.connection.missed = Missed::default();
        self.tries = Tries::default();
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
        self.connection.in_time = !late && self.connection.missed.misses == 0;
        self.connection.on_quick(rtt);
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
        self.connection.missed.partial |= cause == Cause::PartialReply;
        self.connection.missed.misses = misses;
        self.has_learnt &= misses > 1;
    }

    /// Something else came, or was acknowledged: what a router said before is void.
    pub(crate) fn on_alive(&mut self) {
        self.connection.missed.icmp = None;
    }

    /// Nothing was received for too long, where no beat asks.
    pub(crate) fn on_silent(&mut self, misses: u32) {
        self.connection.missed.misses = misses;
    }

    /// The state turned Up: what was told is over.
    pub(crate) fn on_up(&mut self) {
        self.story = Story::default();
        self.connection.missed.misses = 0;
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
        let sent_again = info.map_or(0, |info| self.connection.sent_again(info));
        let before = self.connection.missed.icmp.filter(|said| said.errno == errno);
        let first = self.connection.first.as_ref();
        let after = first.map(|first| now.saturating_duration_since(first.at)).unwrap_or_default();
        let said = before.unwrap_or(Said { errno, after, last: 0, words: 0 });
        let words = said.words + u32::from(sent_again > said.last);
        let said = Some(Said { last: sent_again, words, ..said });
        std::mem::replace(&mut self.connection.missed.icmp, said) != said
    }

    /// Whether what the kernel tells can be true; once it was not, it is not asked again.
    pub(crate) fn believes(&mut self, info: &TcpInfo, now: Instant) -> bool {
        if self.nonsense.is_none() {
            let Connection { ledger, since, .. } = &self.connection;
            let age = ledger.opened.then(|| now.saturating_duration_since(*since));
            self.nonsense = Ledger { age, ..ledger.clone() }.doubts(info);
        }
        self.nonsense.is_none()
    }

    /// What side connections have found so far, and what the kernel knows of this one meanwhile.
    pub(crate) fn on_side(&mut self, found: &Evidence, info: Option<&TcpInfo>, now: Instant) {
        // All of it, and that it is pending no more.
        self.tries.side = Some(Box::new(found.clone()));
        if is_answered(found) {
            self.trouble.begin_beside(info, now);
        }
        if let Some(Open { evidence, .. }) = self.open.as_deref_mut() {
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
        self.connection.intruded = self.connection.intruded.max(Some(at));
    }

    /// When the connection, or the attempt, is over.
    pub(crate) fn on_disconnected(&mut self) {
        let Connection { stands, missed, ledger, .. } = &self.connection;
        if *stands && missed.misses > 0 && ledger.answers == 0 {
            let acked = self.trouble.acked.is_some();
            self.tries.swallowed += u32::from(!acked);
            self.tries.unanswered += u32::from(acked);
        }
        if missed.misses > 0 {
            // What is sent in vain on a connection that is dead is no loss on the way.
            self.path = self.trouble.path;
        } else {
            // It did not end by silence.
            self.trouble = Trouble::default();
        }
        if std::mem::take(&mut self.connection.stands) {
            self.on_contact_lost();
        }
    }

    /// For how long nothing was answered, over all connections.
    pub(crate) fn silent(&self, now: Instant) -> Option<Duration> {
        self.trouble.since.map(|since| now.saturating_duration_since(since))
    }

    /// A look at the connection while nothing comes.
    pub(crate) fn on_look(&mut self, info: &TcpInfo, now: Instant) {
        let seen = (self.connection.is_beat_acked(info), self.connection.is_eaten(info));
        self.trouble.on_look(info, seen, now);
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
