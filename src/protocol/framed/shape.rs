//! What does not change about frames, and so what all threads that send have a copy of: their form,
//! and which of them are beats and acks.

use std::io::Write;

use memchr::memchr;

use super::Prefix;
use crate::error::Error;
use crate::protocol::line::number;
use crate::protocol::{Frame, Framing, Rejected, escaped};

/// A space and the longest number.
const NUMBER: usize = 21;

#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) form: Form,
    pub(super) beat: Vec<u8>,
    pub(super) ack: Option<Vec<u8>>,
    pub(super) numbered: bool,
    pub(super) answering: bool,
    pub(super) limit: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Line { end: &'static [u8] },
    Prefixed(Prefix),
}

/// A whole frame at the front: its data stands from `start` to `data`.
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) data: usize,
    pub(super) end: usize,
}

impl Form {
    /// The longest data that it can hold.
    pub(super) fn most(self) -> usize {
        match self {
            Form::Line { .. } => usize::MAX,
            Form::Prefixed(prefix) => prefix.most(),
        }
    }

    /// What it adds to the data, at most.
    pub(super) fn overhead(self) -> usize {
        match self {
            Form::Line { .. } => 2,
            Form::Prefixed(prefix) => prefix.width(),
        }
    }

    /// Why this data cannot be in such a frame, whatever the limit.
    pub(super) fn fits(self, data: &[u8]) -> Result<(), String> {
        match self {
            Form::Prefixed(_) if data.len() <= self.most() => Ok(()),
            Form::Prefixed(prefix) => Err(format!(
                "{} bytes, and Prefix::{prefix:?} holds {} at most: take a longer one",
                data.len(),
                self.most()
            )),
            Form::Line { .. } => match memchr(b'\n', data) {
                Some(at) => Err(format!(
                    "byte {at} is \\n, which would end the line: escape it, or use \
                     length-prefixed frames"
                )),
                None if data.ends_with(b"\r") => Err(String::from(
                    "the last byte is \\r, which would be read as a part of the line's end: \
                     escape it, or use length-prefixed frames",
                )),
                None => Ok(()),
            },
        }
    }
}

impl Shape {
    /// The longest data of any frame; beats and acks need not keep to the limit.
    pub(super) fn longest(&self) -> usize {
        let ack = self.ack.as_ref().map_or(0, Vec::len);
        let number = if self.numbered { NUMBER } else { 0 };
        self.limit.max(self.beat.len().max(ack) + number)
    }

    /// Whose frame it is.
    pub(super) fn kind(&self, data: &[u8]) -> Frame {
        let beat = || self.read(&self.beat, data).map(Frame::Beat);
        let ack = || self.ack.as_ref().and_then(|ack| self.read(ack, data)).map(Frame::Ack);
        let found = if self.answering { beat().or_else(ack) } else { ack().or_else(beat) };
        found.unwrap_or(Frame::Data)
    }

    /// The number in a beat or an ack, if it is one.
    fn read(&self, word: &[u8], data: &[u8]) -> Option<Option<u64>> {
        if !self.numbered {
            return (data == word).then_some(None);
        }
        number(data.strip_prefix(word)?.strip_prefix(b" ")?).map(Some)
    }

    /// Appends a beat or an ack.
    pub(super) fn put_word(&self, word: &[u8], seq: u64, out: &mut Vec<u8>) {
        let digits = seq.checked_ilog10().unwrap_or(0) as usize + 1;
        let number = if self.numbered { 1 + digits } else { 0 };
        self.put(word.len() + number, out, |out| {
            out.extend_from_slice(word);
            if self.numbered {
                write!(out, " {seq}").expect("a Vec takes any bytes");
            }
        });
    }

    /// Appends a frame of `len` bytes of data.
    pub(super) fn put(&self, len: usize, out: &mut Vec<u8>, data: impl FnOnce(&mut Vec<u8>)) {
        match self.form {
            Form::Line { end } => {
                data(out);
                out.extend_from_slice(end);
            }
            Form::Prefixed(prefix) => {
                prefix.put(len, out);
                data(out);
            }
        }
    }

    pub(super) fn prefixed(&self, prefix: Prefix, bytes: &[u8]) -> Result<Option<Found>, Rejected> {
        let read = prefix.read(bytes).map_err(|why| {
            Rejected::wrong_reply(format!("{why}, `{}`: is it the same protocol?", escaped(bytes)))
        })?;
        let Some((start, len)) = read else { return Ok(None) };
        if len > self.longest() {
            return Err(self.too_long(&format!("a frame of {len} bytes"), bytes));
        }
        let end = start.saturating_add(len);
        Ok((bytes.len() >= end).then_some(Found { start, data: end, end }))
    }

    pub(super) fn too_long(&self, what: &str, bytes: &[u8]) -> Rejected {
        Rejected::wrong_reply(format!(
            "{what}, over the limit of {}, begun with `{}`: if it is the same protocol, raise \
             Framed::limit",
            self.limit,
            escaped(&bytes[..bytes.len().min(128)])
        ))
    }
}

impl Framing for Shape {
    fn wrap(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.form.fits(data).map_err(Error::unfit)?;
        if data.len() > self.limit {
            return Err(Error::unfit(format!(
                "{} bytes, and a frame holds {} at most: split it, or raise Framed::limit at both \
                 ends",
                data.len(),
                self.limit
            )));
        }
        let what = match self.kind(data) {
            Frame::Data => {
                self.put(data.len(), out, |out| out.extend_from_slice(data));
                return Ok(());
            }
            Frame::Ack(_) => "an ack",
            _ => "a beat",
        };
        Err(Error::unfit(format!(
            "`{}` would be read as {what} at the other end: send something else, or choose other \
             beats",
            escaped(data)
        )))
    }

    fn data<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        match self.form {
            Form::Prefixed(prefix) => match prefix.read(frame) {
                Ok(Some((start, _))) => &frame[start..],
                _ => frame,
            },
            Form::Line { .. } => {
                let line = frame.strip_suffix(b"\n").unwrap_or(frame);
                line.strip_suffix(b"\r").unwrap_or(line)
            }
        }
    }
}
