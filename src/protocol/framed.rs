//! Framed: length-prefixed frames, or lines, with beats and acks of one's own choice among them.

mod prefix;
mod shape;

use memchr::memchr;

pub use prefix::Prefix;

use super::{Frame, Framing, Protocol, Rejected};
use crate::error::Error;
use shape::{Form, Found, Shape};

/// The longest beat or ack without its number. With it, it fits behind every prefix.
const LONGEST_BEAT: usize = 200;

/// Length-prefixed frames, or lines, that carry an application's data and beats among it.
///
/// A frame whose data is `beat` is a beat, one whose data is `ack` answers one, and every other is
/// the application's. The same value serves both ends of a connection, and both may ask.
///
/// | | default | bounds |
/// |---|---|---|
/// | the longest data of a frame, [`limit`](Framed::limit) | 1 MiB; 64 KiB for lines | what the [`Prefix`] can hold |
/// | beats and acks | given | 200 bytes; no `\n` in lines, and no `\r` at their end |
/// | numbers, [`numbered`](Framed::numbered) | none: acks match beats in order | |
/// | the beat has an ack | yes | [`unanswered`](Framed::unanswered) |
/// | good-bye, [`farewell`](Framed::farewell) | none | as the data of a frame |
///
/// What the application sends is refused, with [`Error::is_invalid`], if it is longer than the
/// limit, if it would read as a beat or an ack at the other end, or if it cannot be one line. A
/// longer frame of the peer is refused as soon as its length is there, before any of it is kept,
/// and a line when so many bytes have come without its end; the link is then lost with
/// `wrong-reply`.
///
/// Where `beat` and `ack` are the same bytes, whoever asks takes them for the ack; the other end
/// must be [`answering`](Framed::answering), and cannot ask.
///
/// # Examples
///
/// ```
/// use keepbeat::protocol::{Frame, Framed, Prefix, Protocol};
///
/// let mut chat = Framed::lines("ping", "pong")?.numbered();
/// assert_eq!(chat.parse(b"pong 12\r\n"), Ok(Some((Frame::Ack(Some(12)), 9))));
/// assert_eq!(chat.parse(b"hello\n"), Ok(Some((Frame::Data, 6))));
/// assert!(chat.framing().wrap(b"ping 7", &mut Vec::new()).is_err(), "it would be answered");
///
/// // An empty frame is the beat, and there is no ack, as in AMQP.
/// let quiet = Framed::prefixed(Prefix::U16Be, "", "")?.unanswered();
/// let mut out = Vec::new();
/// quiet.framing().wrap(b"hello", &mut out)?;
/// assert_eq!(out, b"\x00\x05hello");
/// assert_eq!(quiet.framing().data(&out), b"hello");
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Framed {
    shape: Shape,
    farewell: Option<Vec<u8>>,
    /// So many bytes of the line that has begun hold no line end.
    searched: usize,
}

impl Framed {
    /// Lines, each ended by `\n`; on input, a `\r` before it belongs to the end. Up to 64 KiB of
    /// data each.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid`] for a beat or an ack of more than 200 bytes, or one that is no line.
    pub fn lines(beat: impl Into<Vec<u8>>, ack: impl Into<Vec<u8>>) -> Result<Framed, Error> {
        Framed::new(Form::Line { end: b"\n" }, beat.into(), ack.into(), 64 * 1024)
    }

    /// The length of the data, then the data: 1 MiB at most, or what the prefix can hold. A frame
    /// without data is one as well, and can be the beat.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid`] for a beat or an ack of more than 200 bytes.
    pub fn prefixed(
        prefix: Prefix,
        beat: impl Into<Vec<u8>>,
        ack: impl Into<Vec<u8>>,
    ) -> Result<Framed, Error> {
        Framed::new(Form::Prefixed(prefix), beat.into(), ack.into(), 1024 * 1024)
    }

    fn new(form: Form, beat: Vec<u8>, ack: Vec<u8>, limit: usize) -> Result<Framed, Error> {
        for (what, word) in [("beat", &beat), ("ack", &ack)] {
            form.fits(word).map_err(|why| Error::invalid(format!("the {what}: {why}")))?;
            if word.len() > LONGEST_BEAT {
                let len = word.len();
                return Err(Error::invalid(format!(
                    "a {what} of {len} bytes, over {LONGEST_BEAT}"
                )));
            }
        }
        let (ack, limit) = (Some(ack), limit.min(form.most()));
        let shape = Shape { form, beat, ack, limit, numbered: false, answering: false };
        Ok(Framed { shape, farewell: None, searched: 0 })
    }

    /// A space and the beat's number follow in beats and acks, `ping 12` and `pong 12`, so that
    /// each ack names its beat: an answer that the peer left out is one miss and no more. Without
    /// their numbers they are data.
    pub fn numbered(mut self) -> Framed {
        self.shape.numbered = true;
        self
    }

    /// The beat has no ack, and the bytes given as one are data: for
    /// [`Role::SendOnly`](crate::Role::SendOnly) on both ends.
    pub fn unanswered(mut self) -> Framed {
        self.shape.ack = None;
        self
    }

    /// This end answers: where beat and ack are the same bytes, they are the beat. Changes nothing
    /// where they differ.
    pub fn answering(mut self) -> Framed {
        self.shape.answering = true;
        self
    }

    /// Lines go out with `\r\n` at their end. Changes nothing for length-prefixed frames.
    pub fn crlf(mut self) -> Framed {
        if let Form::Line { end } = &mut self.shape.form {
            *end = b"\r\n";
        }
        self
    }

    /// The longest data of a frame, in bytes, in either direction; what the prefix can hold if that
    /// is less. Beats and acks need not fit in.
    pub fn limit(mut self, bytes: usize) -> Framed {
        self.shape.limit = bytes.min(self.shape.form.most());
        self
    }

    /// The data of a frame that says good-bye when a [`Link`](crate::Link) is closed.
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid`] if it cannot be a frame: too long for the prefix, or no line.
    pub fn farewell(mut self, data: impl Into<Vec<u8>>) -> Result<Framed, Error> {
        let data = data.into();
        self.shape.form.fits(&data).map_err(|why| Error::invalid(format!("farewell: {why}")))?;
        self.farewell = Some(data);
        Ok(self)
    }

    /// Where the data of the frame at the front ends, and where the frame does.
    fn line(&mut self, bytes: &[u8]) -> Result<Option<Found>, Rejected> {
        let longest = self.shape.longest();
        // Room for both bytes of the end; what has its end behind it is refused in any case.
        let window = &bytes[..bytes.len().min(longest.saturating_add(2))];
        let from = self.searched.min(window.len());
        if let Some(at) = memchr(b'\n', &window[from..]) {
            self.searched = 0;
            let end = from + at;
            let data = if window[..end].ends_with(b"\r") { end - 1 } else { end };
            return Ok(Some(Found { start: 0, data, end: end + 1 }));
        }
        self.searched = window.len();
        let least = window.len() - usize::from(window.ends_with(b"\r"));
        if least > longest {
            return Err(self.shape.too_long(&format!("{least} bytes without a line end"), bytes));
        }
        Ok(None)
    }
}

impl Protocol for Framed {
    fn connected(&mut self, _out: &mut Vec<u8>) {
        self.searched = 0;
    }

    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        self.shape.put_word(&self.shape.beat, seq, out);
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        if let Some(ack) = &self.shape.ack {
            self.shape.put_word(ack, seq.unwrap_or(0), out);
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        let found = match self.shape.form {
            Form::Line { .. } => self.line(bytes)?,
            Form::Prefixed(prefix) => self.shape.prefixed(prefix, bytes)?,
        };
        let Some(Found { start, data, end }) = found else { return Ok(None) };
        let kind = self.shape.kind(&bytes[start..data]);
        if kind == Frame::Data && data - start > self.shape.limit {
            let what = format!("a frame of {} bytes", data - start);
            return Err(self.shape.too_long(&what, bytes));
        }
        Ok(Some((kind, end)))
    }

    fn framing(&self) -> Box<dyn Framing> {
        Box::new(self.shape.clone())
    }

    fn limit(&self) -> usize {
        self.shape.longest().saturating_add(self.shape.form.overhead())
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        if let Some(data) = &self.farewell {
            self.shape.put(data.len(), out, |out| out.extend_from_slice(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frames;
    use super::*;

    const ACK: Frame = Frame::Ack(None);
    const BEAT: Frame = Frame::Beat(None);

    fn lines() -> Framed {
        Framed::lines("ping", "pong").expect("both are lines")
    }

    fn wrapped(framed: &Framed, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        framed.framing().wrap(data, &mut out).expect("data that fits");
        out
    }

    fn beat(framed: &mut Framed, seq: u64) -> Vec<u8> {
        let mut out = Vec::new();
        framed.beat(seq, &mut out);
        out
    }

    #[test]
    fn lines_carry_beats_acks_and_data() {
        let found = frames(&mut lines(), &[b"ping\npo", b"ng\r\nhello\n\nping \npong 1\n"]);
        assert_eq!(found, [BEAT, ACK, Frame::Data, Frame::Data, Frame::Data, Frame::Data]);
        assert_eq!(beat(&mut lines(), 3), b"ping\n");
        assert_eq!(beat(&mut lines().crlf(), 3), b"ping\r\n");
        assert_eq!(wrapped(&lines().crlf(), b"x"), b"x\r\n");
        let framing = lines().framing();
        assert_eq!(framing.data(b"x\r\n"), b"x");
        assert_eq!(framing.data(b"x\n"), b"x");
    }

    #[test]
    fn numbers_pair_acks_with_beats() {
        let mut numbered = Framed::prefixed(Prefix::U8, "ping", "pong").expect("short").numbered();
        for seq in [0, 7, 10, u64::MAX] {
            let (sent, mut out) = (beat(&mut numbered, seq), Vec::new());
            assert_eq!(usize::from(sent[0]), sent.len() - 1);
            assert_eq!(frames(&mut numbered, &[&sent]), [Frame::Beat(Some(seq))]);
            numbered.ack(Some(seq), &mut out);
            assert_eq!(frames(&mut numbered, &[&out]), [Frame::Ack(Some(seq))]);
        }
        assert_eq!(frames(&mut numbered, &[b"\x04ping\x06pong x"]), [Frame::Data; 2]);
        numbered.framing().wrap(b"ping", &mut Vec::new()).expect("no beat without its number");
    }

    #[test]
    fn an_empty_frame_can_be_the_beat_and_a_beat_can_go_unanswered() {
        let mut amqp = Framed::prefixed(Prefix::U16Be, "", "").expect("short").unanswered();
        assert_eq!(frames(&mut amqp, &[b"\0\0\0\x01x"]), [BEAT, Frame::Data]);
        let mut out = Vec::new();
        amqp.ack(None, &mut out);
        assert!(out.is_empty());
        assert!(amqp.framing().wrap(b"", &mut out).is_err());
        let mut lines = Framed::lines("", "ack").expect("both are lines");
        assert_eq!(frames(&mut lines, &[b"\n\r\nack\n"]), [BEAT, BEAT, ACK]);
    }

    #[test]
    fn the_same_bytes_are_the_ack_to_who_asks_and_the_beat_to_who_answers() {
        let echo = Framed::lines("hb", "hb").expect("a line");
        assert_eq!(frames(&mut echo.clone(), &[b"hb\n"]), [ACK]);
        assert_eq!(frames(&mut echo.clone().answering(), &[b"hb\n"]), [BEAT]);
        assert_eq!(frames(&mut echo.unanswered(), &[b"hb\n"]), [BEAT]);
        assert_eq!(frames(&mut lines().answering(), &[b"ping\npong\n"]), [BEAT, ACK]);
    }

    #[test]
    fn what_cannot_be_a_frame_is_refused_before_it_is_sent() {
        let framing = lines().limit(6).framing();
        for (data, word) in [
            (b"a\nb".as_slice(), "byte 1"),
            (b"ab\r", "last byte"),
            (b"1234567", "7 bytes"),
            (b"ping", "a beat"),
            (b"pong", "an ack"),
        ] {
            let mut out = Vec::new();
            let error = framing.wrap(data, &mut out).expect_err("unfit").to_string();
            assert!(error.contains(word) && out.is_empty(), "{error}");
        }
        assert!(Framed::lines("a\n", "b").is_err());
        assert!(Framed::lines("a", "b\r").is_err());
        assert!(Framed::prefixed(Prefix::U32Le, [0; 201], "").is_err());
        assert!(Framed::prefixed(Prefix::U8, [0; 200], "").is_ok());
        assert!(lines().farewell("bye\n").is_err());
    }

    #[test]
    fn a_long_frame_is_refused_by_its_head_alone() {
        let mut short = Framed::prefixed(Prefix::U32Be, "ping", "pong").expect("short").limit(9);
        assert_eq!(short.parse(b"\0\0\0\x09"), Ok(None));
        let error = short.parse(b"\0\0\0\x0a").expect_err("over the limit").0.detail;
        assert!(error.contains("10 bytes") && error.contains("limit of 9"), "{error}");
        let http = Framed::prefixed(Prefix::U32Be, "", "a").expect("short").parse(b"HTTP/1.1 400");
        assert!(http.expect_err("no frame").0.detail.contains("HTTP/1.1"));
        let mut lines = lines().limit(9);
        assert_eq!(lines.parse(b"123456789"), Ok(None));
        assert_eq!(lines.parse(b"123456789\r"), Ok(None));
        assert_eq!(lines.parse(b"123456789\r\n"), Ok(Some((Frame::Data, 11))));
        assert!(lines.parse(b"1234567890").is_err());
    }

    #[test]
    fn beats_need_not_fit_in_the_limit_and_data_must() {
        let mut tight = lines().limit(2).numbered();
        assert_eq!(tight.parse(b"pong 12345\n"), Ok(Some((Frame::Ack(Some(12345)), 11))));
        assert_eq!(tight.parse(b"no\n"), Ok(Some((Frame::Data, 3))));
        assert!(tight.parse(b"not\n").is_err());
    }

    #[test]
    fn good_bye_is_a_frame() {
        let mut out = Vec::new();
        Protocol::farewell(&mut lines(), &mut out);
        assert!(out.is_empty());
        Protocol::farewell(&mut lines().farewell("quit").expect("a line"), &mut out);
        assert_eq!(out, b"quit\n");
    }

    #[test]
    fn a_line_that_was_half_searched_is_forgotten_with_its_connection() {
        let mut lines = lines();
        assert_eq!(lines.parse(b"a long line without"), Ok(None));
        lines.connected(&mut Vec::new());
        assert_eq!(lines.parse(b"ping\nanother beat follows"), Ok(Some((BEAT, 5))));
    }
}
