//! CONNECT: an HTTP proxy is asked for a connection to the server (RFC 9110, section 9.3.6).

use std::io;
use std::time::{Duration, Instant};

use super::{Proxy, at};
use crate::cause::{Cause, Loss};
use crate::session::facts::Facts;
use crate::session::inbound::{Coding, Door, Framing, Head, Look};
use crate::session::pipe::{Pipe, Probe, Unwritten, timed_out};

/// What is read of a refusal for its words, and for how long.
const WORDS: usize = 4096;
const WORDS_TIME: Duration = Duration::from_millis(250);

/// Asks for a tunnel. What came behind the answer belongs to whoever speaks through it.
///
/// # Errors
///
/// A [`Loss`] with the proxy's own words, if it refuses; `WouldBlock` if the time is up.
pub(crate) fn through_http(
    mut pipe: Box<dyn Pipe>,
    proxy: &Proxy,
    (host, port): (&str, u16),
    user_agent: Option<&str>,
    until: Instant,
) -> io::Result<Box<dyn Pipe>> {
    let target = at(host, port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(name) = user_agent {
        request += &format!("User-Agent: {name}\r\n");
    }
    if let Some(authorization) = proxy.authorization() {
        request += &format!("Proxy-Authorization: {authorization}\r\n");
    }
    request += "\r\n";
    pipe.write_all(request.as_bytes(), Some(left(until)?)).map_err(|unwritten| unwritten.error)?;
    let (head, ahead) = answer(&mut *pipe, proxy, until)?;
    if !head.status.is_success() {
        return Err(told(refusal(&mut *pipe, proxy, &head, ahead, until)));
    }
    Ok(if ahead.is_empty() { pipe } else { Box::new(Primed { ahead, at: 0, under: pipe }) })
}

/// How long there still is.
pub(super) fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

/// As an error that still knows its cause.
pub(crate) fn told(loss: Loss) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, loss)
}

/// It did not do what was asked of it.
pub(super) fn failed(proxy: &Proxy, what: &str) -> io::Error {
    told(Loss::new(Cause::ProxyFailed, format!("{proxy}: {what}")))
}

/// The head of its final answer, and what came behind it.
fn answer(pipe: &mut dyn Pipe, proxy: &Proxy, until: Instant) -> io::Result<(Head, Vec<u8>)> {
    let mut door = Door::default();
    door.is_connect = true;
    let mut bytes = Vec::new();
    loop {
        match door.look(&bytes).map_err(|wrong| failed(proxy, &wrong.0))? {
            Look::Final(len, head) => return Ok((head, bytes.split_off(len))),
            Look::Interim(len, _) => drop(bytes.drain(..len)),
            Look::More => {
                let mut piece = [0; 2048];
                let n = pipe.read(&mut piece, Some(left(until)?)).map_err(|error| {
                    // A connection of ours that was shut down, or a proxy that hung up.
                    let time = error.kind() == io::ErrorKind::WouldBlock;
                    if time { error } else { failed(proxy, &error.to_string()) }
                })?;
                if n == 0 {
                    return Err(failed(proxy, "it closed the connection without an answer"));
                }
                bytes.extend_from_slice(&piece[..n]);
            }
        }
    }
}

/// What it says to a request that it refuses.
fn refusal(
    pipe: &mut dyn Pipe,
    proxy: &Proxy,
    head: &Head,
    ahead: Vec<u8>,
    until: Instant,
) -> Loss {
    let until = until.min(Instant::now() + WORDS_TIME);
    let mut text = format!("{proxy} answered {} {}", head.status.as_u16(), head.reason());
    text.truncate(text.trim_end().len());
    if head.coding == Coding::None {
        if let Some(words) = words(&beginning(pipe, head.framing, ahead, until)) {
            text += &format!(": {words}");
        }
    }
    if head.status.as_u16() == 407 {
        text += "; user and password belong into the URL of the proxy";
    }
    Loss::new(Cause::ProxyFailed, text)
}

/// The beginning of a body, as far as it comes in time.
fn beginning(
    pipe: &mut dyn Pipe,
    mut framing: Framing,
    mut bytes: Vec<u8>,
    until: Instant,
) -> Vec<u8> {
    let (mut body, mut piece) = (Vec::new(), [0; WORDS]);
    while body.len() < WORDS {
        let Ok(step) = framing.step(&bytes) else { break };
        body.extend_from_slice(&bytes[step.skip..step.skip + step.data]);
        framing.take(step.data);
        bytes.drain(..step.skip + step.data);
        if framing == Framing::Over {
            break;
        }
        if step.skip + step.data > 0 {
            continue;
        }
        let read = left(until).and_then(|most| pipe.read(&mut piece, Some(most)));
        match read {
            Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            _ => break,
        }
    }
    body
}

/// The title of a page, or the first line of a text.
fn words(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").map(|at| &text[at + "<title>".len()..]);
    let line = match title {
        Some(rest) => rest.split('<').next(),
        None if lower.contains('<') => None,
        None => text.lines().map(str::trim).find(|line| !line.is_empty()),
    }?;
    let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// A pipe of which something was read already.
#[derive(Debug)]
pub(crate) struct Primed {
    pub(crate) ahead: Vec<u8>,
    pub(crate) at: usize,
    pub(crate) under: Box<dyn Pipe>,
}

impl Pipe for Primed {
    fn read(&mut self, buffer: &mut [u8], most: Option<Duration>) -> io::Result<usize> {
        let ahead = &self.ahead[self.at..];
        if ahead.is_empty() {
            return self.under.read(buffer, most);
        }
        let n = ahead.len().min(buffer.len());
        buffer[..n].copy_from_slice(&ahead[..n]);
        self.at += n;
        Ok(n)
    }

    fn write_all(&mut self, bytes: &[u8], most: Option<Duration>) -> Result<(), Unwritten> {
        self.under.write_all(bytes, most)
    }

    fn probe(&mut self) -> Probe {
        if self.at < self.ahead.len() { Probe::Bytes } else { self.under.probe() }
    }

    fn holds_bytes(&mut self) -> bool {
        self.at < self.ahead.len() || self.under.holds_bytes()
    }

    fn facts(&self) -> Facts {
        self.under.facts()
    }

    fn shed(&mut self) {
        self.under.shed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_refusal_are_short_and_plain() {
        let is = |body: &str, expected: Option<&str>| {
            assert_eq!(words(body.as_bytes()).as_deref(), expected, "{body:?}");
        };
        is("<html><head><Title>ERROR: Denied</title></head>", Some("ERROR: Denied"));
        is("\r\n  not from here \r\nmore", Some("not from here"));
        is("<p>no title", None);
        is("", None);
        is("a\0\x1b[31mb", Some("a[31mb"));
        assert_eq!(words(&b"x".repeat(5000)).unwrap().len(), 200);
    }
}
