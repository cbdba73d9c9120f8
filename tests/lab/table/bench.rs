//! One kind at work: links of random settings over the row of hosts, Up before the fault is made,
//! and all that is told of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use keepbeat::{
    Coordinator, Diagnose, Diagnosis, Event, EventKind, Exchange, Framed, Heartbeat, Http, Line,
    Link, LinkId, State, Target, Tls,
};

use crate::row::{Row, V4, V6};
use crate::server::{BEATS, HTTP, HTTPS, LARGE, LINES, WHOLE, answer};
use crate::watching::{eventually, ms};
use crate::wire::Way;

use super::Kind;
use super::score::{Outcome, Told, judge};

/// What is said on a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speech {
    /// The tutorial's bytes, answered as its port does.
    Exchange,
    /// The same with so many bytes behind it.
    Long(usize),
    Lines,
    Http,
    Https,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose {
    Watched,
    /// The application's, which also sends a line each so many milliseconds.
    Busy(u64),
}

/// One link.
#[derive(Clone, Debug)]
pub struct Setting {
    pub host: &'static str,
    pub port: u16,
    pub interval: u64,
    pub timeout: u64,
    pub fall: u32,
    pub side: bool,
    pub closed_port: bool,
    pub speech: Speech,
    pub whose: Whose,
}

impl Setting {
    /// Of a link that beats often.
    pub fn new(interval: u64, timeout: u64, fall: u32) -> Setting {
        let (host, port, speech, whose) = (V4, BEATS.start, Speech::Exchange, Whose::Watched);
        let (side, closed_port) = (false, false);
        Setting { host, port, interval, timeout, fall, side, closed_port, speech, whose }
    }

    pub fn with_side(self, closed_port: bool) -> Setting {
        Setting { side: true, closed_port, ..self }
    }

    pub fn at(self, port: u16) -> Setting {
        Setting { port, ..self }
    }

    pub fn says(self, speech: Speech) -> Setting {
        let port = match speech {
            Speech::Lines => LINES,
            Speech::Http => HTTP,
            Speech::Https => HTTPS,
            Speech::Exchange | Speech::Long(_) => self.port,
        };
        Setting { speech, port, ..self }
    }

    pub fn busy(self, every: u64) -> Setting {
        Setting { whose: Whose::Busy(every), port: LINES, speech: Speech::Lines, ..self }
    }

    fn heartbeat(&self) -> Heartbeat {
        let how = match (self.side, self.closed_port) {
            (false, _) => Diagnose::kernel(),
            (true, false) => Diagnose::side_connections(),
            (true, true) => Diagnose::side_connections().closed_port(),
        };
        Heartbeat::every(ms(self.interval))
            .timeout(ms(self.timeout))
            .fall(self.fall)
            .connect_timeout(ms((3 * self.timeout).max(4000)))
            .backoff(ms(100), ms(1000))
            .diagnose(how)
    }

    fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Eight links: of all intervals and timeouts, some with side connections, one over IPv6, one of
/// each other protocol.
pub fn usual(bench: &mut Bench) -> Vec<Setting> {
    let mut links: Vec<_> = (0..8).map(|n| drawn(&mut bench.rng, n % 2 == 0)).collect();
    links[1].host = V6;
    let http = links[2].clone().says(Speech::Http);
    let lines = links[3].clone().says(Speech::Lines);
    (links[2], links[3]) = (http, lines);
    links
}

/// The tutorial's bytes alone.
pub fn plain(bench: &mut Bench) -> Vec<Setting> {
    (0..8).map(|n| drawn(&mut bench.rng, n % 2 == 0)).collect()
}

/// With side connections alone.
pub fn with_side(bench: &mut Bench) -> Vec<Setting> {
    (0..8).map(|_| drawn(&mut bench.rng, true)).collect()
}

pub fn drawn(rng: &mut Rng, side: bool) -> Setting {
    let interval = *rng.choice(&[300, 500, 1000, 1000, 2000, 3000]).unwrap();
    let timeout = *rng.choice(&[300, 500, 1000, 1000, 1500]).unwrap();
    let link = Setting::new(interval, timeout, rng.u32(1..=3));
    if side { link.with_side(rng.bool()) } else { link }
}

/// A link with all that is told of it.
struct Subject {
    setting: Setting,
    coordinator: Arc<Coordinator>,
    id: LinkId,
    told: Vec<Event>,
    _keeps: Option<Link>,
}

impl Subject {
    fn new(setting: Setting, coordinator: Arc<Coordinator>) -> Subject {
        let (beat, address) = (setting.heartbeat(), setting.address());
        let mut keeps = None;
        let id = match (setting.whose, setting.speech) {
            (Whose::Busy(every), _) => {
                let stream = TcpStream::connect(&address).unwrap();
                let lines = Framed::lines("PING", "PONG").unwrap();
                let link = coordinator.adopt(stream, beat, lines).unwrap();
                keep_busy(&link, every);
                keeps.insert(link).id()
            }
            (_, Speech::Exchange) => {
                coordinator.watch(address.as_str(), beat, bytes(&setting, 0)).unwrap()
            }
            (_, Speech::Long(more)) => {
                coordinator.watch(address.as_str(), beat, bytes(&setting, more)).unwrap()
            }
            (_, Speech::Lines) => coordinator.watch(address.as_str(), beat, Line).unwrap(),
            (_, Speech::Http) => watch_http(&coordinator, "http", &address, beat),
            (_, Speech::Https) => watch_http(&coordinator, "https", &address, beat),
        };
        Subject { setting, coordinator, id, told: Vec::new(), _keeps: keeps }
    }

    /// All events so far, of those that are about this link or about all.
    fn listen(&mut self, events: &[Event]) {
        let ours = |event: &&Event| event.link().is_none_or(|link| link == self.id);
        self.told.extend(events.iter().filter(ours).cloned());
    }

    fn diagnoses(&self, since: SystemTime) -> Vec<(SystemTime, Arc<Diagnosis>)> {
        let stalled = |event: &&Event| matches!(event.kind(), EventKind::Stalled { .. });
        let later = self.told.iter().filter(|event| event.time() >= since && !stalled(event));
        later
            .filter_map(|event| Some((event.time(), Arc::clone(event.kind().diagnosis()?))))
            .collect()
    }

    fn outcome(&self, kind: &Kind, since: SystemTime) -> Outcome {
        let lost = self.told.iter().find_map(|event| match event.kind() {
            EventKind::Missed { timeout, .. } if event.time() >= since => {
                Some(event.time() - *timeout)
            }
            _ => None,
        });
        let diagnoses = self.diagnoses(since);
        let told: Vec<_> = diagnoses
            .iter()
            .map(|(at, diagnosis)| {
                let waited = at.duration_since(lost.unwrap_or(*at)).unwrap_or_default();
                let took = waited.as_millis() as u64 * 100 / self.setting.timeout;
                Told { diagnosis, took: lost.map(|_| took) }
            })
            .collect();
        judge(kind, &told, self.story(since))
    }

    fn story(&self, since: SystemTime) -> String {
        let mut story = format!("   {:?}\n", self.setting);
        for event in &self.told {
            if matches!(event.kind(), EventKind::Beat { late: false, .. }) {
                continue;
            }
            let at = match event.time().duration_since(since) {
                Ok(after) => after.as_secs_f64(),
                Err(before) => -before.duration().as_secs_f64(),
            };
            story += &format!("   {at:7.3} {}\n", event.to_string().replace('\n', " "));
            if let Some(diagnosis) = event.kind().diagnosis() {
                let facts = diagnosis.evidence().facts();
                let facts: Vec<_> =
                    facts.iter().map(|(name, fact)| format!("{name}={fact}")).collect();
                story += &format!("              {}\n", facts.join(" "));
            }
        }
        story
    }
}

fn bytes(setting: &Setting, more: usize) -> Exchange {
    let beat = ["heartbeat", &"-".repeat(more)].concat();
    let expect = match setting.port {
        LARGE | WHOLE => answer(setting.port),
        _ => b"heartbeat_ack".to_vec(),
    };
    Exchange::new(beat, expect)
}

fn watch_http(coordinator: &Coordinator, scheme: &str, at: &str, beat: Heartbeat) -> LinkId {
    let target = Target::new(&format!("{scheme}://{at}/")).unwrap();
    let http = Http::for_target(&target).unwrap();
    let target = match target.is_tls() {
        true => target.tls(Tls::new().danger_accept_any_certificate()),
        false => target,
    };
    coordinator.watch(target, beat, http).unwrap()
}

fn keep_busy(link: &Link, every: u64) {
    let (writer, frames) = (link.try_clone().unwrap(), link.frames().clone());
    thread::spawn(move || {
        while writer.send("data").is_ok() {
            thread::sleep(ms(every)); // the pace of this application
        }
    });
    thread::spawn(move || frames.iter().for_each(drop));
}

/// The hosts, the links, and the draws of one kind.
pub struct Bench {
    pub row: Row,
    pub rng: Rng,
    /// How the path is while all is well.
    pub base: Way,
    /// Links that share one coordinator, in place of one each.
    pub together: bool,
    /// How names are found, for those links.
    pub resolve: Option<fn() -> Coordinator>,
    /// So many of the links are judged, from the first on; else all.
    pub judged: Option<usize>,
    /// What must live as long as the kind.
    pub keeps: Vec<Box<dyn std::any::Any>>,
    subjects: Vec<Subject>,
    coordinators: Vec<Arc<Coordinator>>,
}

impl Bench {
    fn new(rng: Rng) -> Bench {
        let mut rng = rng;
        let row = Row::new(rng.u64(..));
        let (delay, jitter) = (ms(rng.u64(0..25)), ms(rng.u64(0..3)));
        let base = Way { delay, jitter, ..Way::default() };
        row.wire.set(base);
        let (together, resolve, judged, keeps) = (false, None, None, Vec::new());
        let (subjects, coordinators) = (Vec::new(), Vec::new());
        Bench { row, rng, base, together, resolve, judged, keeps, subjects, coordinators }
    }

    fn coordinator(&mut self) -> Arc<Coordinator> {
        if self.together && !self.coordinators.is_empty() {
            return Arc::clone(&self.coordinators[0]);
        }
        let made = match self.resolve {
            Some(make) => make(),
            None => Coordinator::builder().side_connections(8, 4000).build().unwrap(),
        };
        self.coordinators.push(Arc::new(made));
        Arc::clone(&self.coordinators[self.coordinators.len() - 1])
    }

    fn watch(&mut self, links: Vec<Setting>) {
        for setting in links {
            let coordinator = self.coordinator();
            self.subjects.push(Subject::new(setting, coordinator));
        }
    }

    /// Reads what has been told.
    fn listen(&mut self) {
        for coordinator in &self.coordinators {
            let events: Vec<_> = coordinator.events().try_iter().collect();
            for subject in &mut self.subjects {
                if Arc::ptr_eq(&subject.coordinator, coordinator) {
                    subject.listen(&events);
                }
            }
        }
    }

    /// Until all are Up, with some good beats.
    fn up(&mut self) {
        let up = |subject: &Subject| {
            let status = subject.coordinator.status(subject.id).unwrap();
            status.state == State::Up && status.acked >= 3
        };
        eventually("all are Up", || self.subjects.iter().all(up));
        self.listen();
    }

    /// Lets so much time of the fault pass.
    pub fn wait(&mut self, millis: u64) {
        let until = Instant::now() + ms(millis);
        while Instant::now() < until {
            thread::sleep(until.saturating_duration_since(Instant::now()).min(ms(200)));
            self.listen();
        }
    }

    /// The path is as it was but for this, both ways.
    pub fn path(&self, change: impl Fn(&mut Way)) {
        self.each_way(&change, &change);
    }

    /// The same for the way to the server, and for the way back.
    pub fn each_way(&self, there: impl Fn(&mut Way), back: impl Fn(&mut Way)) {
        let (mut one, mut other) = (self.base, self.base);
        there(&mut one);
        back(&mut other);
        self.row.wire.set_each(one, other);
    }

    /// As at first.
    pub fn heal(&self) {
        self.row.heal();
        self.row.wire.set(self.base);
    }

    /// How many clients the server has had.
    pub fn visits(&mut self) -> u64 {
        self.row.server.order("count")
    }

    /// How often the links have connected.
    pub fn connects(&self) -> u64 {
        let status = |one: &Subject| one.coordinator.status(one.id).unwrap();
        self.subjects.iter().map(|one| status(one).reconnects + 1).sum()
    }
}

pub fn nothing(_: &mut Bench) {}

/// What every kind begins with: a path of some length.
pub fn run(kind: &Kind, seed: u64) -> (Vec<Outcome>, Result<(), String>) {
    let name = kind.name.bytes().fold(seed, |all, byte| all.wrapping_mul(31) + u64::from(byte));
    let mut bench = Bench::new(Rng::with_seed(name));
    let links = (kind.links)(&mut bench);
    // The hosts find each other, which takes a second by IPv6.
    for host in [V4, V6] {
        drop(TcpStream::connect((host, BEATS.start)));
    }
    let (begun, since) = if kind.late {
        let begun = (Instant::now(), SystemTime::now());
        (kind.fault)(&mut bench);
        bench.watch(links);
        begun
    } else {
        bench.watch(links);
        bench.up();
        let pause = bench.rng.u64(..1000);
        bench.wait(pause);
        let begun = (Instant::now(), SystemTime::now());
        (kind.fault)(&mut bench);
        begun
    };
    let left = Duration::from_secs(kind.listen).saturating_sub(begun.elapsed());
    bench.wait(left.as_millis() as u64);
    let judged = bench.judged.unwrap_or(bench.subjects.len());
    let judged = &bench.subjects[..judged];
    let outcomes = judged.iter().map(|subject| subject.outcome(kind, since)).collect();
    (outcomes, (kind.check)(&mut bench))
}

/// Reads and writes as much as it can over a connection of its own.
pub fn bulk(host: &str, port: u16) {
    let mut stream = TcpStream::connect((host, port)).unwrap();
    let mut reader = stream.try_clone().unwrap();
    thread::spawn(move || while reader.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
    let line = ["-".repeat(999).as_str(), "\n"].concat();
    thread::spawn(move || while stream.write_all(line.as_bytes()).is_ok() {});
}
