//! Readable lines: one for each change, and below a trouble why it came and what helps.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use keepbeat::{Cause, Confidence, Diagnosis, Event, EventKind, LinkId, Loss, State};

use crate::columns::{BOLD, CONNECTING, Columns, DIM, Mark, RED, YELLOW, mark, short};
use crate::why;

/// Turns events into lines. It remembers what was told of each link, so that no fact is told twice
/// and a target that is dead for days is not told at every attempt.
pub struct Text {
    pub columns: Columns,
    /// What concerns no single link stands under `None`.
    links: HashMap<Option<LinkId>, Told>,
    /// The last verdicts, and whose they were.
    recent: VecDeque<(SystemTime, LinkId, Verdict)>,
}

/// A cause, how sure it is, and what else it could be.
type Verdict = (Cause, Confidence, Vec<Cause>);

/// What is known of a link.
struct Told {
    state: State,
    /// Why the last connection or attempt failed.
    cause: Option<Cause>,
    rtt: Option<Duration>,
    /// A connection of a link that is down is news only if something comes of it.
    connected: Option<String>,
    /// A late ack was told since the state turned.
    late: bool,
    /// The connection is being renewed, as the peer announced: no news.
    renewing: bool,
    /// The causes that were explained.
    why: Explained,
}

impl Default for Told {
    fn default() -> Told {
        let (state, late, renewing) = (State::Connecting, false, false);
        let why = Explained::default();
        Told { state, cause: None, rtt: None, connected: None, late, renewing, why }
    }
}

/// What was explained of a link. A trouble after a healthy while is explained anew; until then
/// nothing is told twice, however often it comes and goes.
#[derive(Default)]
struct Explained {
    verdicts: Vec<Verdict>,
    remedies: Vec<String>,
    /// The same has just been told of many other links: their lines explain it.
    crowded: bool,
    /// The last cause that a line has named.
    cause: Option<Cause>,
    healthy_since: Option<SystemTime>,
}

/// So long without a trouble makes the next one a new one.
const HEALTHY: Duration = Duration::from_secs(60);

/// So many texts are remembered of a link.
const KEPT: usize = 16;

/// For so many links the same is explained within [`HEALTHY`]; hundreds may fall at once.
const MANY_LINKS: usize = 3;

/// So many verdicts are remembered over all links.
const RECENT: usize = 64;

const CONNECTED: Mark = Mark("○", "connected", DIM);
const DISCONNECTED: Mark = Mark("○", "closed", DIM);
const FAILED: Mark = Mark("○", "attempt", DIM);
const MISS: Mark = Mark("◌", "miss", YELLOW);
const LATE: Mark = Mark("◌", "late ack", YELLOW);
const STALL: Mark = Mark("◌", "stall", YELLOW);
const WARNING: Mark = Mark("◌", "warning", YELLOW);
const DIAGNOSED: Mark = Mark("◆", "diagnosed", YELLOW);
const MANY: Mark = Mark("◆", "diagnosed", RED);
const LOST: Mark = Mark("…", "lost", YELLOW);

/// In the place of a name, where many links or none are concerned.
const NO_LINK: &str = "*";

impl Text {
    /// For names that are `width` characters at most.
    pub fn new(colors: bool, width: usize) -> Text {
        let columns = Columns::new(colors, width);
        Text { columns, links: HashMap::new(), recent: VecDeque::new() }
    }

    /// The line with which a link begins.
    pub fn start(&self, name: &str, target: &str, words: &str) -> String {
        let detail = if name == target { words.to_owned() } else { format!("{target}, {words}") };
        self.columns.line(SystemTime::now(), CONNECTING, name, None, &detail)
    }

    /// A line that is no event: what the demo does next.
    pub fn act(&self, words: &str) -> String {
        format!("{}\n", self.columns.painted(BOLD, &format!("-- {words}")))
    }

    /// The lines of an event, none if it is no news.
    pub fn event(&mut self, event: &Event) -> String {
        let mut told = self.links.remove(&event.link()).unwrap_or_default();
        told.why.crowded = self.is_crowded(event);
        let lines = self.lines(event, &mut told);
        self.links.insert(event.link(), told);
        lines
    }

    /// Whether the diagnosis in the event has just been explained for many other links.
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

    fn line(&self, event: &Event, mark: Mark, cause: Option<Cause>, detail: &str) -> String {
        let name = event.link().map_or(NO_LINK, |_| event.name());
        self.columns.line(event.time(), mark, name, cause, detail)
    }

    fn lines(&self, event: &Event, told: &mut Told) -> String {
        let line = |mark, cause, detail: &str| self.line(event, mark, cause, detail);
        match event.kind() {
            EventKind::Connected { .. } if std::mem::take(&mut told.renewing) => String::new(),
            EventKind::Connected { attempt, took } => {
                let words = line(CONNECTED, None, &connected(event, *attempt, *took));
                if told.state == State::Down {
                    told.connected = Some(words);
                    return String::new();
                }
                words
            }
            EventKind::Beat { seq, late: true, .. } if !told.late => {
                told.late = true;
                let words = format!("beat {seq} was acked after its timeout: slow, not dead");
                line(LATE, None, &words)
            }
            EventKind::Beat { rtt, .. } => {
                told.rtt = rtt.or(told.rtt);
                String::new()
            }
            EventKind::Missed { seq, timeout, cause, .. } if told.state == State::Connecting => {
                line(MISS, Some(*cause), &format!("no ack of beat {seq} within {timeout:?}"))
            }
            EventKind::Disconnected { expected: true, loss, .. } => {
                told.renewing = true;
                match told.state {
                    // Before the first verdict it is about how to speak with this peer.
                    State::Connecting => line(DISCONNECTED, Some(loss.cause), &loss.detail),
                    _ => String::new(),
                }
            }
            EventKind::State { to, loss, down, diagnosis, .. } => {
                let before = told.connected.take().unwrap_or_default();
                told.turn(*to, loss.as_ref(), event.time());
                let detail = match loss {
                    Some(Loss { detail, .. }) => detail.clone(),
                    None => recovered(*down, told.rtt),
                };
                let why = diagnosis.as_ref().map(|diagnosis| self.why(diagnosis, told));
                before + &line(mark(*to), told.cause, &detail) + &why.unwrap_or_default()
            }
            EventKind::Disconnected { loss, lived, beats, .. } => {
                let before = told.connected.take().unwrap_or_default();
                if loss.cause == Cause::Stopped {
                    return String::new();
                }
                if told.cause.replace(loss.cause) != Some(loss.cause) {
                    let mark = if lived.is_zero() { told.attempt() } else { DISCONNECTED };
                    return before + &line(mark, Some(loss.cause), &loss.detail);
                }
                if *beats == 0 {
                    return String::new(); // the line before it said so
                }
                line(DISCONNECTED, None, &format!("after {} and {beats} acks", short(*lived)))
            }
            EventKind::Diagnosed { diagnosis } => self.diagnosed(event, diagnosis, told),
            EventKind::Stalled { late, .. } => {
                let cause = event.kind().cause();
                let who = if cause == Some(Cause::LocalStall) { "process" } else { "machine" };
                line(STALL, cause, &format!("this {who} woke {} late", short(*late)))
            }
            EventKind::Lost { count } => line(
                LOST,
                None,
                &format!("{count} events, because these lines were read too slowly"),
            ),
            _ => String::new(),
        }
    }

    /// What was worked out after the state had turned, or of a trouble that is none yet.
    fn diagnosed(&self, event: &Event, diagnosis: &Diagnosis, told: &mut Told) -> String {
        let cause = diagnosis.cause();
        let known = told.why.cause.replace(cause) == Some(cause);
        let news = told.why.verdict(diagnosis);
        if known && !news {
            return String::new();
        }
        let line = |mark, detail: &str| self.line(event, mark, Some(cause), detail);
        if let Some((word, seen)) = why::attempt(diagnosis, told.state == State::Down) {
            // The end of the attempt follows, and says nothing more.
            told.cause = Some(word);
            let why = match told.why.crowded {
                true => String::new(),
                false => self.columns.below("why", &why::words(diagnosis, Some(cause))),
            };
            return line(told.attempt(), &seen) + &why + &self.remedy(diagnosis, &mut told.why);
        }
        let mark = match event.link() {
            None => MANY,
            Some(_) if why::is_warning(diagnosis) => WARNING,
            Some(_) => DIAGNOSED,
        };
        line(mark, &why::words(diagnosis, Some(cause))) + &self.remedy(diagnosis, &mut told.why)
    }

    /// Below a state: why it turned.
    fn why(&self, diagnosis: &Diagnosis, told: &mut Told) -> String {
        told.why.cause = Some(diagnosis.cause());
        if !told.why.verdict(diagnosis) || told.why.crowded {
            return String::new();
        }
        let words = why::words(diagnosis, told.cause);
        self.columns.below("why", &words) + &self.remedy(diagnosis, &mut told.why)
    }

    fn remedy(&self, diagnosis: &Diagnosis, told: &mut Explained) -> String {
        let advice = diagnosis.advice();
        // Of what is not known there is no remedy.
        let none = diagnosis.cause() == Cause::AckTimeout || told.crowded;
        if none || !told.remedy(advice) {
            return String::new();
        }
        self.columns.below("remedy", advice)
    }
}

impl Told {
    /// The mark of an attempt that failed. Why a target is down now is as loud as why it fell.
    fn attempt(&self) -> Mark {
        if self.state == State::Down { mark(State::Down) } else { FAILED }
    }

    fn turn(&mut self, to: State, loss: Option<&Loss>, time: SystemTime) {
        (self.renewing, self.late) = (false, false);
        self.state = to;
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
    /// Whether this verdict is news.
    fn verdict(&mut self, diagnosis: &Diagnosis) -> bool {
        remember(&mut self.verdicts, verdict(diagnosis))
    }

    /// Whether this advice is news.
    fn remedy(&mut self, advice: &str) -> bool {
        remember(&mut self.remedies, advice.to_owned())
    }
}

fn verdict(diagnosis: &Diagnosis) -> Verdict {
    (diagnosis.cause(), diagnosis.confidence(), diagnosis.alternatives().to_vec())
}

/// Whether it was not there before.
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
    // The port is that of the target in any case.
    let shown = |peer: &SocketAddr| event.target().contains(&format!("//{peer}"));
    if let Some(peer) = event.peer().filter(|peer| !shown(peer)) {
        words = format!("to {peer} {words}");
    }
    if attempt > 1 {
        let _ = write!(words, ", attempt {attempt}");
    }
    words
}

fn recovered(down: Option<Duration>, rtt: Option<Duration>) -> String {
    let acked = rtt.map_or_else(|| "it stands".to_owned(), |rtt| format!("ack in {}", short(rtt)));
    match down {
        Some(down) => format!("{acked}; it was down for {}", short(down)),
        None => acked,
    }
}
