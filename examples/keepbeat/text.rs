//! Readable lines: one for each change, in columns: time, what, which target, cause, detail.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use keepbeat::{Cause, Diagnosis, Event, EventKind, LinkId, Loss, State};

/// Turns events into lines. It remembers what was told of each link, so that no fact is told twice
/// and a target that is dead for days is not told at every attempt.
pub struct Text {
    pub colors: bool,
    /// The width of the column of names.
    width: usize,
    links: HashMap<LinkId, Told>,
}

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
}

impl Default for Told {
    fn default() -> Told {
        let (state, late, renewing) = (State::Connecting, false, false);
        Told { state, cause: None, rtt: None, connected: None, late, renewing }
    }
}

/// A symbol, a word and a colour: never a colour alone.
#[derive(Clone, Copy)]
struct Mark(&'static str, &'static str, &'static str);

const CONNECTING: Mark = Mark("○", "connecting", DIM);
const CONNECTED: Mark = Mark("○", "connected", DIM);
const DISCONNECTED: Mark = Mark("○", "closed", DIM);
const FAILED: Mark = Mark("○", "attempt", DIM);
const MISS: Mark = Mark("◌", "miss", YELLOW);
const LATE: Mark = Mark("◌", "late ack", YELLOW);
const STALL: Mark = Mark("◌", "stall", YELLOW);
const WHY: Mark = Mark("↳", "why", YELLOW);
const LOST: Mark = Mark("…", "lost", YELLOW);

const DIM: &str = "2";
const BOLD: &str = "1";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";

impl Text {
    /// For names that are `width` characters at most.
    pub fn new(colors: bool, width: usize) -> Text {
        Text { colors, width, links: HashMap::new() }
    }

    /// The line with which a link begins.
    pub fn start(&self, name: &str, target: &str, words: &str) -> String {
        let detail = if name == target { words.to_owned() } else { format!("{target}, {words}") };
        self.line(SystemTime::now(), CONNECTING, name, None, &detail)
    }

    /// A line that is no event: what the demo does next.
    pub fn act(&self, words: &str) -> String {
        format!("{}\n", self.painted(BOLD, &format!("-- {words}")))
    }

    /// The lines of an event, none if it is no news.
    pub fn event(&mut self, event: &Event) -> String {
        let mut told = event.link().and_then(|id| self.links.remove(&id)).unwrap_or_default();
        let lines = self.lines(event, &mut told);
        if let Some(id) = event.link() {
            self.links.insert(id, told);
        }
        lines
    }

    fn lines(&self, event: &Event, told: &mut Told) -> String {
        let line = |mark, cause: Option<Cause>, detail: &str| {
            self.line(event.time(), mark, event.name(), cause, detail)
        };
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
            EventKind::Disconnected { loss, .. } if loss.cause == Cause::Renewed => {
                told.renewing = true;
                String::new()
            }
            EventKind::State { to, loss, down, diagnosis, .. } => {
                told.renewing = false;
                let before = told.connected.take().unwrap_or_default();
                (told.state, told.late) = (*to, false);
                told.cause = loss.as_ref().map(|loss| loss.cause);
                let detail = match loss {
                    Some(Loss { detail, .. }) => detail.clone(),
                    None => recovered(*down, told.rtt),
                };
                let why = diagnosis.as_ref().map_or_else(String::new, |diagnosis| {
                    line(WHY, Some(diagnosis.cause()), &why(diagnosis))
                });
                before + &line(mark(*to), told.cause, &detail) + &why
            }
            EventKind::Disconnected { loss, lived, beats } => {
                let before = told.connected.take().unwrap_or_default();
                if loss.cause == Cause::Stopped {
                    return String::new();
                }
                if told.cause.replace(loss.cause) != Some(loss.cause) {
                    let mark = if lived.is_zero() { FAILED } else { DISCONNECTED };
                    return before + &line(mark, Some(loss.cause), &loss.detail);
                }
                if *beats == 0 {
                    return String::new(); // the line before it said so
                }
                line(DISCONNECTED, None, &format!("after {} and {beats} acks", short(*lived)))
            }
            EventKind::Diagnosed { diagnosis } => {
                line(WHY, Some(diagnosis.cause()), &why(diagnosis))
            }
            EventKind::Stalled { late, .. } => {
                let words = format!("this process woke {} late; nobody is blamed", short(*late));
                line(STALL, Some(Cause::LocalStall), &words)
            }
            EventKind::Lost { count } => line(
                LOST,
                None,
                &format!("{count} events, because these lines were read too slowly"),
            ),
            _ => String::new(),
        }
    }

    fn line(
        &self,
        time: SystemTime,
        mark: Mark,
        name: &str,
        cause: Option<Cause>,
        detail: &str,
    ) -> String {
        let Mark(symbol, word, color) = mark;
        let time = clock(time);
        let what = self.painted(color, &format!("{symbol} {word:<10}"));
        let cause = cause.map_or("", Cause::word);
        let cause = if color == DIM || cause.is_empty() {
            format!("{cause:<14}")
        } else {
            self.painted(color, &format!("{cause:<14}"))
        };
        let mut line = self.painted(DIM, &time);
        let width = self.width;
        write!(line, "  {what}  {name:<width$}  {cause}  {detail}")
            .expect("a String takes any text");
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }

    /// In this colour, if there are colours.
    pub fn painted(&self, color: &str, text: &str) -> String {
        if self.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Symbol and word of a state.
    pub fn state(&self, state: State) -> String {
        let Mark(symbol, word, color) = mark(state);
        self.painted(color, &format!("{symbol} {word:<10}"))
    }
}

fn mark(state: State) -> Mark {
    match state {
        State::Up => Mark("●", "up", GREEN),
        State::Suspect => Mark("◐", "suspect", YELLOW),
        State::Down => Mark("✖", "down", RED),
        _ => CONNECTING,
    }
}

/// How sure it is, what else it could be, who should act.
fn why(diagnosis: &Diagnosis) -> String {
    let mut words = format!("{}: {}", diagnosis.confidence(), diagnosis.detail());
    if !diagnosis.alternatives().is_empty() {
        let others: Vec<_> = diagnosis.alternatives().iter().map(|cause| cause.word()).collect();
        let _ = write!(words, "; or {}", others.join(", "));
    }
    let _ = write!(words, ". {}", diagnosis.advice());
    words
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

/// `12:34:56.789Z`: in UTC, as in the JSON lines.
fn clock(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_millis(time).to_string();
    text.split_once('T').map_or(text.clone(), |(_, clock)| clock.to_owned())
}

/// Three or four digits and a unit; from a minute on minutes and seconds.
pub fn short(time: Duration) -> String {
    if time < Duration::from_secs(60) {
        format!("{time:.1?}")
    } else {
        humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
    }
}
