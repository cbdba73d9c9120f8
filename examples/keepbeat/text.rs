//! Readable lines: one for each change, and below a failure why it happened and what helps.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use keepbeat::{Cause, Confidence, Diagnosis, Event, EventKind, LinkId, Loss, State};

use crate::args::{Args, Verbosity};
use crate::columns::{CONNECTING, Columns, DIM, Mark, RED, YELLOW, mark, short};
use crate::crowd::{Crowd, FEW, Member};
use crate::plan::Watch;
use crate::why;

/// Turns events into lines. It remembers what was shown of each link, so that no fact is shown
/// twice and a target that is dead for days has no line for every attempt.
pub struct Text {
    pub columns: Columns,
    verbosity: Verbosity,
    once: bool,
    /// `None` is for events that are not about one link.
    links: HashMap<Option<LinkId>, Told>,
    /// The last verdicts, each with its link.
    recent: VecDeque<(SystemTime, LinkId, Verdict)>,
    crowd: Crowd<Kind, LinkId>,
}

/// A kind of line. Targets that have the same kind at the same time fare alike.
type Kind = (Mark, Option<Cause>);

/// A line to show, and the lines that belong below it.
struct News {
    weight: Weight,
    mark: Mark,
    cause: Option<Cause>,
    detail: String,
    below: Vec<(&'static str, String)>,
}

/// How important a line is.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Weight {
    /// Shown only with -v.
    Detail,
    /// Shown unless -q was given.
    Change,
    /// Always shown: trouble, and its end.
    Trouble,
}

impl News {
    fn new(weight: Weight, mark: Mark, cause: Option<Cause>, detail: String) -> News {
        News { weight, mark, cause, detail, below: Vec::new() }
    }

    /// Adds why it happened and what helps, as far as that is known.
    fn below(mut self, lines: Vec<(&'static str, String)>) -> News {
        self.below = lines;
        self
    }
}

/// A cause, how sure it is, and the other possibilities.
type Verdict = (Cause, Confidence, Vec<Cause>);

/// What was shown of a link, and what is known of it.
struct Told {
    state: State,
    /// Why the last connection or attempt failed.
    cause: Option<Cause>,
    rtt: Option<Duration>,
    /// While a link is down, a new connection is shown only together with the first ack on it.
    connected: Option<String>,
    /// Whether its last state was not Up.
    troubled: bool,
    /// Whether a late ack was shown since the state changed.
    late: bool,
    /// Whether the connection is being renewed, as the peer announced; this is not shown.
    renewing: bool,
    /// The causes that were explained.
    why: Explained,
}

impl Default for Told {
    fn default() -> Told {
        let (state, late, renewing) = (State::Connecting, false, false);
        let (why, troubled) = (Explained::default(), false);
        Told { state, cause: None, rtt: None, connected: None, troubled, late, renewing, why }
    }
}

/// What was explained of a link. Each cause is explained once, and again only after a healthy
/// minute.
#[derive(Default)]
struct Explained {
    verdicts: Vec<Verdict>,
    remedies: Vec<String>,
    /// Whether the same was just explained for many other links.
    crowded: bool,
    /// The last cause that a line has named.
    cause: Option<Cause>,
    healthy_since: Option<SystemTime>,
}

/// After this long without a failure, the next one is explained again.
const HEALTHY: Duration = Duration::from_secs(60);

/// How many texts are remembered for each link.
const KEPT: usize = 16;

/// For how many links the same is explained within [`HEALTHY`]; hundreds may fail at once.
const MANY_LINKS: usize = 3;

/// How many verdicts are remembered over all links.
const RECENT: usize = 64;

const CONNECTED: Mark = Mark::new('○', 'o', "connected", DIM);
const DISCONNECTED: Mark = Mark::new('○', 'o', "closed", DIM);
const FAILED: Mark = Mark::new('○', 'o', "attempt", DIM);
const MISS: Mark = Mark::new('◌', '.', "miss", YELLOW);
const LATE: Mark = Mark::new('◌', '.', "late ack", YELLOW);
const STALL: Mark = Mark::new('◌', '.', "stall", YELLOW);
const WARNING: Mark = Mark::new('◌', '!', "warning", YELLOW);
const DIAGNOSED: Mark = Mark::new('◆', '#', "diagnosed", YELLOW);
const MANY: Mark = Mark::new('◆', '#', "diagnosed", RED);
const LOST: Mark = Mark::new('…', '~', "lost", YELLOW);

const ACK: Mark = Mark::new('·', '-', "ack", DIM);
const RUNNING: Mark = Mark::new('·', '-', "running", DIM);

/// The name of a line that is about many links or none.
const NO_LINK: &str = "*";

impl Text {
    /// For this number of targets.
    pub fn new(columns: Columns, args: &Args, targets: usize) -> Text {
        let (verbosity, once) = (args.verbosity, args.once);
        // With -v every line is shown.
        let many = if verbosity == Verbosity::Verbose { 0 } else { targets };
        let (links, recent, crowd) = (HashMap::new(), VecDeque::new(), Crowd::new(many));
        Text { columns, verbosity, once, links, recent, crowd }
    }

    /// The first lines, one for each target.
    pub fn starts(&mut self, watches: &[Watch]) -> String {
        if self.verbosity == Verbosity::Quiet {
            return String::new();
        }
        let (time, shown) = (SystemTime::now(), shown_at_start(watches.len(), self.verbosity));
        let mut lines = String::new();
        for Watch { target, words, .. } in &watches[..shown] {
            let (name, target) = (target.name(), target.to_string());
            let detail = if name == target { words.clone() } else { format!("{target}, {words}") };
            lines += &self.columns.line(time, CONNECTING, &name, None, &detail);
        }
        if shown < watches.len() {
            let more = format!("{} more targets", watches.len() - shown);
            lines += &self.columns.line(time, CONNECTING, NO_LINK, None, &more);
        }
        lines
    }

    /// A line about all links.
    pub fn running(&self, words: &str) -> String {
        self.columns.line(SystemTime::now(), RUNNING, NO_LINK, None, words)
    }

    /// A line that is no event: what the demo does next.
    pub fn act(&self, words: &str) -> String {
        self.columns.act(words)
    }

    /// The lines of an event; none if it is not shown.
    pub fn event(&mut self, event: &Event) -> String {
        let mut told = self.links.remove(&event.link()).unwrap_or_default();
        told.why.crowded = self.is_crowded(event);
        let news = self.news(event, &mut told);
        self.links.insert(event.link(), told);
        news.map_or_else(String::new, |news| self.shown(event, &news))
    }

    /// When the next line about many targets is due.
    pub fn due(&self) -> Option<Instant> {
        self.crowd.due()
    }

    /// The shared lines of targets that had none of their own.
    pub fn crowds(&mut self, all: bool) -> String {
        let told = self.crowd.take(Instant::now(), all);
        let now = SystemTime::now();
        let line = |((mark, cause), words): (Kind, String)| {
            self.columns.line(now, mark, NO_LINK, cause, &words)
        };
        told.into_iter().map(line).collect()
    }

    fn shown(&mut self, event: &Event, news: &News) -> String {
        let least = match self.verbosity {
            Verbosity::Quiet => Weight::Trouble,
            Verbosity::Normal => Weight::Change,
            Verbosity::Verbose => Weight::Detail,
        };
        if news.weight < least {
            return String::new();
        }
        if let Some(link) = event.link() {
            let member = Member { link, name: event.name(), host: host(event.target()) };
            if !self.crowd.admits((news.mark, news.cause), &member, Instant::now()) {
                return String::new();
            }
        }
        let name = event.link().map_or(NO_LINK, |_| event.name());
        let line = self.columns.line(event.time(), news.mark, name, news.cause, &news.detail);
        let below = news.below.iter().map(|(word, text)| self.columns.below(word, text));
        line + &below.collect::<String>()
    }

    /// Whether the diagnosis of the event was just explained for many other links.
    fn is_crowded(&mut self, event: &Event) -> bool {
        let (Some(link), Some(diagnosis)) = (event.link(), event.kind().diagnosis()) else {
            return false;
        };
        let new = verdict(diagnosis);
        let is_old = |then: SystemTime| {
            event.time().duration_since(then).is_ok_and(|passed| passed >= HEALTHY)
        };
        while self.recent.front().is_some_and(|(then, ..)| is_old(*then)) {
            self.recent.pop_front();
        }
        let same = self.recent.iter().filter(|(_, _, old)| *old == new);
        let links: HashSet<_> = same.map(|(_, link, _)| *link).collect();
        if links.contains(&link) || links.len() < MANY_LINKS {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back((event.time(), link, new));
            return false;
        }
        true
    }

    fn news(&self, event: &Event, told: &mut Told) -> Option<News> {
        use Weight::{Change, Detail, Trouble};
        let news =
            |weight, mark, cause, detail: String| Some(News::new(weight, mark, cause, detail));
        match event.kind() {
            EventKind::Connected { .. } if std::mem::take(&mut told.renewing) => None,
            EventKind::Connected { attempt, took } => {
                let words = connected(event, *attempt, *took);
                if told.state == State::Down && self.verbosity != Verbosity::Verbose {
                    told.connected = Some(words);
                    return None;
                }
                news(Change, CONNECTED, None, words)
            }
            EventKind::Beat { seq, late: true, .. } if !told.late => {
                told.late = true;
                let words = format!("beat {seq} was acked after its timeout: slow, not dead");
                news(Change, LATE, None, words)
            }
            EventKind::Beat { seq, rtt, .. } => {
                told.rtt = rtt.or(told.rtt);
                news(Detail, ACK, None, acked(*seq, *rtt))
            }
            EventKind::Missed { seq, timeout, cause, .. } => {
                // If one miss is the verdict, the state event that follows says it.
                let first = told.state == State::Connecting && !self.once;
                told.troubled |= first;
                let words = format!("no ack of beat {seq} within {timeout:?}");
                news(if first { Trouble } else { Detail }, MISS, Some(*cause), words)
            }
            EventKind::Disconnected { expected: true, loss, .. } => {
                told.renewing = true;
                match told.state {
                    // Before the first verdict it may show that the protocol does not fit.
                    State::Connecting => {
                        news(Change, DISCONNECTED, Some(loss.cause), loss.detail.clone())
                    }
                    _ => None,
                }
            }
            EventKind::State { to, loss, down, diagnosis, .. } => {
                let connected = told.connected.take();
                let weight = if told.troubled || *to != State::Up { Trouble } else { Change };
                told.turn(*to, loss.as_ref(), event.time());
                let detail = match loss {
                    Some(Loss { detail, .. }) => detail.clone(),
                    None => recovered(connected, *down, told.rtt),
                };
                let why = diagnosis.as_ref().map(|diagnosis| self.why(diagnosis, told));
                let news = News::new(weight, mark(*to), told.cause, detail);
                Some(news.below(why.unwrap_or_default()))
            }
            EventKind::Disconnected { loss, lived, beats, .. } => {
                self.disconnected(loss, *lived, *beats, told)
            }
            EventKind::Diagnosed { diagnosis } => self.diagnosed(event, diagnosis, told),
            EventKind::Stalled { late, .. } => {
                let cause = event.kind().cause();
                let who = if cause == Some(Cause::LocalStall) { "process" } else { "machine" };
                news(Trouble, STALL, cause, format!("this {who} woke {} late", short(*late)))
            }
            EventKind::Overflowed { count } => {
                let events = if *count == 1 { "1 event".into() } else { format!("{count} events") };
                let words = format!("{events}, because these lines were read too slowly");
                news(Trouble, LOST, None, words)
            }
            _ => None,
        }
    }

    /// The end of a connection or of an attempt, if the line before it has not said so.
    fn disconnected(
        &self,
        loss: &Loss,
        lived: Duration,
        beats: u64,
        told: &mut Told,
    ) -> Option<News> {
        told.connected = None;
        if loss.cause == Cause::Stopped {
            return None;
        }
        if told.cause.replace(loss.cause) != Some(loss.cause) {
            let mark = if lived.is_zero() { told.attempt() } else { DISCONNECTED };
            let detail = loss.detail.clone();
            return Some(News::new(Weight::Trouble, mark, Some(loss.cause), detail));
        }
        if beats == 0 || self.crowd.is_many() {
            return None;
        }
        let acks = if beats == 1 { "1 ack".to_owned() } else { format!("{beats} acks") };
        let words = format!("after {} and {acks}", short(lived));
        Some(News::new(Weight::Change, DISCONNECTED, None, words))
    }

    /// A diagnosis that came after the state changed, or a warning.
    fn diagnosed(&self, event: &Event, diagnosis: &Diagnosis, told: &mut Told) -> Option<News> {
        let cause = diagnosis.cause();
        // A warning does not belong to a failure.
        let of_trouble = !why::is_warning(diagnosis);
        let known = !of_trouble || told.why.cause.replace(cause) == Some(cause);
        let new = told.why.verdict(diagnosis);
        if known && !new {
            return None;
        }
        let news = |mark, detail| News::new(Weight::Trouble, mark, Some(cause), detail);
        if let Some((word, seen)) = why::attempt(diagnosis, told.state == State::Down) {
            // The end of the attempt follows and adds nothing.
            told.cause = Some(word);
            let why = (!told.why.crowded).then(|| ("why", why::words(diagnosis, Some(cause))));
            let below = why.into_iter().chain(remedy(diagnosis, &mut told.why)).collect();
            return Some(news(told.attempt(), seen).below(below));
        }
        let mark = match event.link() {
            None => MANY,
            Some(_) if why::is_warning(diagnosis) => WARNING,
            Some(_) => DIAGNOSED,
        };
        let below = remedy(diagnosis, &mut told.why).into_iter().collect();
        Some(news(mark, why::words(diagnosis, Some(cause))).below(below))
    }

    /// The lines below a state: why it changed.
    fn why(&self, diagnosis: &Diagnosis, told: &mut Told) -> Vec<(&'static str, String)> {
        told.why.cause = Some(diagnosis.cause());
        if !told.why.verdict(diagnosis) || told.why.crowded {
            return Vec::new();
        }
        let why = ("why", why::words(diagnosis, told.cause));
        [why].into_iter().chain(remedy(diagnosis, &mut told.why)).collect()
    }
}

fn remedy(diagnosis: &Diagnosis, told: &mut Explained) -> Option<(&'static str, String)> {
    let advice = diagnosis.advice();
    // An unknown cause has no remedy.
    let none = diagnosis.cause() == Cause::AckTimeout || told.crowded;
    (!none && told.remedy(advice)).then(|| ("remedy", advice.to_owned()))
}

/// How many targets have a line at the start.
fn shown_at_start(targets: usize, verbosity: Verbosity) -> usize {
    if targets > FEW && verbosity != Verbosity::Verbose { MANY_LINKS } else { targets }
}

/// The host of a target.
fn host(target: &str) -> &str {
    let (_, rest) = target.split_once("://").unwrap_or(("", target));
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

impl Told {
    /// The mark of an attempt that failed. While a target is down, it is the mark of Down.
    fn attempt(&self) -> Mark {
        if self.state == State::Down { mark(State::Down) } else { FAILED }
    }

    fn turn(&mut self, to: State, loss: Option<&Loss>, time: SystemTime) {
        (self.renewing, self.late) = (false, false);
        (self.state, self.troubled) = (to, to != State::Up);
        self.cause = loss.map(|loss| loss.cause);
        if to == State::Up {
            self.why.healthy_since = Some(time);
            return;
        }
        let healthy = self.why.healthy_since.take();
        let healthy = healthy.and_then(|since| time.duration_since(since).ok());
        if healthy.is_some_and(|healthy| healthy >= HEALTHY) {
            self.why = Explained::default();
        }
    }
}

impl Explained {
    /// Whether this verdict is new.
    fn verdict(&mut self, diagnosis: &Diagnosis) -> bool {
        remember(&mut self.verdicts, verdict(diagnosis))
    }

    /// Whether this advice is new.
    fn remedy(&mut self, advice: &str) -> bool {
        remember(&mut self.remedies, advice.to_owned())
    }
}

fn verdict(diagnosis: &Diagnosis) -> Verdict {
    (diagnosis.cause(), diagnosis.confidence(), diagnosis.alternatives().to_vec())
}

/// Remembers it. True if it was not there before.
fn remember<T: PartialEq>(known: &mut Vec<T>, new: T) -> bool {
    if known.contains(&new) {
        return false;
    }
    if known.len() == KEPT {
        known.remove(0);
    }
    known.push(new);
    true
}

fn connected(event: &Event, attempt: u32, took: Duration) -> String {
    let mut words = format!("in {}", short(took));
    // The address is left out if the target shows it already.
    let shown = |peer: &SocketAddr| event.target().contains(&format!("//{peer}"));
    if let Some(peer) = event.peer().filter(|peer| !shown(peer)) {
        words = format!("to {peer} {words}");
    }
    if attempt > 1 {
        let _ = write!(words, ", attempt {attempt}");
    }
    words
}

fn acked(seq: u64, rtt: Option<Duration>) -> String {
    match rtt {
        Some(rtt) => format!("beat {seq} in {}", short(rtt)),
        None => format!("beat {seq}"),
    }
}

fn recovered(connected: Option<String>, down: Option<Duration>, rtt: Option<Duration>) -> String {
    let acked = rtt.map_or_else(|| "it stands".to_owned(), |rtt| format!("ack in {}", short(rtt)));
    let acked = match connected {
        Some(words) => format!("connected {words}; {acked}"),
        None => acked,
    };
    match down {
        Some(down) => format!("{acked}; it was down for {}", short(down)),
        None => acked,
    }
}
