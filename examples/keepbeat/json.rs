//! Lines of JSON: one object for each event. Keys are only ever added, never renamed.

use std::fmt::{Display, Write};
use std::time::{Duration, Instant, SystemTime};

use keepbeat::{Cause, Diagnosis, Event, EventKind, Evidence, Fact, Loss, State, Status};

/// The line of an event, with its line end. Empty for the end of a link.
pub fn event(event: &Event) -> String {
    let line = Line::new(event.time(), "event", event.kind().word()).link(event);
    match event.kind() {
        EventKind::Connected { attempt, took } => line
            .optional_text("peer", event.peer().map(|peer| peer.to_string()).as_deref())
            .value("attempt", attempt)
            .value("connect_us", took.as_micros())
            .certificate(event.certificate_expires())
            .end(),
        EventKind::Beat { seq, rtt, late } => {
            let mut line = line.value("seq", seq);
            if let Some(rtt) = rtt {
                line = line.value("rtt_us", rtt.as_micros());
            }
            if *late { line.value("late", true).end() } else { line.end() }
        }
        EventKind::Missed { seq, timeout, misses, cause, .. } => line
            .value("seq", seq)
            .value("timeout_ms", timeout.as_millis())
            .value("misses", misses)
            .text("cause", cause.word())
            .end(),
        EventKind::State { from, to, loss, down, diagnosis } => {
            let line = line.text("from", from.word()).text("to", to.word());
            let mut line = line.loss(loss.as_ref());
            if let Some(diagnosis) = diagnosis {
                // The diagnosis may be another word than the certain one.
                line = line.text("diagnosis", diagnosis.cause().word());
                line = line.sureness(diagnosis).text("advice", diagnosis.advice());
            }
            match down {
                Some(down) => line.value("down_ms", down.as_millis()).end(),
                None => line.end(),
            }
        }
        EventKind::Disconnected { loss, lived, beats, expected } => {
            // 0 means an attempt that failed.
            let lived = lived.as_millis().max(u128::from(!lived.is_zero()));
            let line = line.loss(Some(loss)).value("lived_ms", lived).value("beats", beats);
            if *expected { line.value("expected", true).end() } else { line.end() }
        }
        EventKind::Overflowed { count } => line.value("count", count).end(),
        EventKind::Stalled { late, diagnosis: None } => diagnosed(line, &stalled(*late)),
        kind => match kind.diagnosis() {
            Some(diagnosis) => diagnosed(line, diagnosis),
            None => String::new(),
        },
    }
}

/// The diagnosis of a stall where diagnosis is off.
fn stalled(late: Duration) -> Diagnosis {
    let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
    let mut evidence = Evidence::default();
    let known = [
        ("word", Fact::Text(Cause::LocalStall.word().to_owned())),
        ("stage", Fact::Text("away".to_owned())),
        ("late_us", Fact::Number(late)),
    ];
    for (name, fact) in known {
        evidence.set(name, &fact).expect("the evidence has these");
    }
    Diagnosis::of(evidence)
}

/// The lines of a recording: the last beats, and the diagnosis. Empty without a diagnosis.
pub fn recording(event: &Event) -> String {
    let Some(diagnosis) = event.kind().diagnosis() else { return String::new() };
    let beats = diagnosis.beats().iter().map(|beat| {
        let time = event.time().checked_sub(beat.age).unwrap_or(event.time());
        let line = Line::new(time, "record", "beat");
        beat.facts().iter().fold(line, |line, (name, fact)| line.fact(name, fact)).end()
    });
    let line = Line::new(event.time(), "record", "diagnosis").link(event);
    beats.collect::<String>() + &diagnosed(line, diagnosis)
}

fn diagnosed(line: Line, diagnosis: &Diagnosis) -> String {
    line.text("cause", diagnosis.cause().word())
        .sureness(diagnosis)
        .text("detail", diagnosis.detail())
        .value("evidence", Facts(&diagnosis.evidence().facts()))
        .text("advice", diagnosis.advice())
        .end()
}

/// The line of a link at the end.
pub fn summary(status: &Status) -> String {
    let micros = |rtt: Option<Duration>| rtt.map(|rtt| rtt.as_micros());
    let loss = status.loss.as_ref().filter(|_| status.state != State::Up);
    let cause = loss.map(|loss| loss.cause);
    Line::new(SystemTime::now(), "event", "summary")
        .text("name", &status.name)
        .text("target", &status.target)
        .text("state", status.state.word())
        .optional_text("cause", cause.map(Cause::word))
        .value("beats_sent", status.sent)
        .value("beats_acked", status.acked)
        .value("misses", status.missed)
        .value("reconnects", status.reconnects)
        .value("renewals", status.renewals)
        .optional("rtt_min_us", micros(status.rtt.min()))
        .optional("rtt_avg_us", micros(status.rtt.avg()))
        .optional("rtt_max_us", micros(status.rtt.max()))
        .value("uptime_ratio", format_args!("{:.4}", status.uptime_ratio(Instant::now())))
        .certificate(status.certificate_expires)
        .end()
}

/// An object being written.
struct Line(String);

impl Line {
    /// `key` is `event` or `record`.
    fn new(time: SystemTime, key: &str, kind: &str) -> Line {
        let line = Line("{\"v\":1".to_owned());
        line.text("ts", &humantime::format_rfc3339_millis(time).to_string()).text(key, kind)
    }

    /// Name and target of the link, if the line is about a single one.
    fn link(self, event: &Event) -> Line {
        if event.link().is_none() {
            return self;
        }
        self.text("name", event.name()).text("target", event.target())
    }

    /// Days until the certificate expires, if there is one; below 0 if it has expired.
    fn certificate(self, expires: Option<SystemTime>) -> Line {
        let Some(expires) = expires else { return self };
        let day = 24 * 3600;
        let days = match expires.duration_since(SystemTime::now()) {
            Ok(left) => left.as_secs() as i64 / day,
            Err(past) => -1 - past.duration().as_secs() as i64 / day,
        };
        self.value("certificate_days", days)
    }

    fn fact(self, name: &str, fact: &Fact) -> Line {
        match fact {
            Fact::Text(text) => self.text(name, text),
            fact => self.value(name, fact),
        }
    }

    /// A number, `true`, or any other text that is JSON already.
    fn value(mut self, key: &str, value: impl Display) -> Line {
        write!(self.0, ",\"{key}\":{value}").expect("a String takes any text");
        self
    }

    fn optional(self, key: &str, value: Option<impl Display>) -> Line {
        match value {
            Some(value) => self.value(key, value),
            None => self.value(key, "null"),
        }
    }

    fn text(self, key: &str, text: &str) -> Line {
        self.value(key, Quoted(text))
    }

    fn optional_text(self, key: &str, text: Option<&str>) -> Line {
        self.optional(key, text.map(Quoted))
    }

    fn loss(self, loss: Option<&Loss>) -> Line {
        self.optional_text("cause", loss.map(|loss| loss.cause.word()))
            .optional_text("detail", loss.map(|loss| loss.detail.as_str()))
    }

    fn sureness(self, diagnosis: &Diagnosis) -> Line {
        let words = diagnosis.alternatives().iter().map(|cause| format!("\"{cause}\""));
        let alternatives = words.collect::<Vec<_>>().join(",");
        self.text("confidence", diagnosis.confidence().word())
            .value("alternatives", format_args!("[{alternatives}]"))
    }

    fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// Facts as an object of JSON.
struct Facts<'a>(&'a [(&'static str, Fact)]);

impl Display for Facts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (name, fact)) in self.0.iter().enumerate() {
            f.write_char(if n == 0 { '{' } else { ',' })?;
            match fact {
                Fact::Text(text) => write!(f, "\"{name}\":{}", Quoted(text))?,
                fact => write!(f, "\"{name}\":{fact}")?,
            }
        }
        f.write_str(if self.0.is_empty() { "{}" } else { "}" })
    }
}

/// A string of JSON.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // JSON requires some of these escapes; a terminal would obey the other characters.
                c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
