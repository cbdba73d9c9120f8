//! A connection as this machine's kernel sees it: what waits, what is sent again, and the figures.
//! It keeps to what Linux does, but for the loss probe before the first timeout.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::tcp_info::{TcpInfo, TcpState};

/// The least retransmission timeout, and the most that it grows to.
const LEAST_RTO: Duration = Duration::from_millis(200);
const MOST_RTO: Duration = Duration::from_secs(120);

/// A beat on its way, from this byte to that one.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub from: u64,
    pub to: u64,
    pub seq: u64,
}

pub struct Flow {
    pub id: u64,
    pub rtt: Duration,
    syns_resent: u32,
    /// Written and not acknowledged; so many of them were sent.
    waiting: VecDeque<Segment>,
    sent: usize,
    written: u64,
    acked: u64,
    bytes_sent: u64,
    bytes_resent: u64,
    received: u64,
    segments_in: u32,
    /// Timeouts in a row, how often the timeout is doubled by now, and when the next one is.
    retransmits: u32,
    backoff: u32,
    pub timer: Option<Instant>,
    total_retransmits: u32,
    twice: u32,
    last_sent: Instant,
    last_ack: Instant,
    last_received: Instant,
    pub state: TcpState,
    /// What a router said, until it is read.
    pub said: Option<i32>,
    /// When anything crossed the path last, in the eyes of a firewall.
    pub crossed: Instant,
    /// The firewall knows it no more.
    pub is_forgotten: bool,
    /// The peer's kernel knows it, and has this much of it.
    pub is_known: bool,
    pub arrived: u64,
}

impl Flow {
    pub fn open(id: u64, now: Instant, rtt: Duration, syns_resent: u32) -> Flow {
        Flow {
            id,
            rtt,
            syns_resent,
            waiting: VecDeque::new(),
            sent: 0,
            written: 0,
            acked: 0,
            bytes_sent: 0,
            bytes_resent: 0,
            received: 0,
            segments_in: 1,
            retransmits: 0,
            backoff: 0,
            timer: None,
            total_retransmits: syns_resent,
            twice: 0,
            last_sent: now,
            last_ack: now,
            last_received: now,
            state: TcpState::Established,
            said: None,
            crossed: now,
            is_forgotten: false,
            is_known: true,
            arrived: 0,
        }
    }

    fn rto(&self) -> Duration {
        ((LEAST_RTO + self.rtt) * 2_u32.pow(self.backoff.min(12))).min(MOST_RTO)
    }

    /// The application writes a beat; what goes out at once.
    pub fn write(&mut self, now: Instant, seq: u64, bytes: u64) -> Option<Segment> {
        let segment = Segment { from: self.written, to: self.written + bytes, seq };
        self.written += bytes;
        self.waiting.push_back(segment);
        // After a timeout nothing new goes out until the old is acknowledged.
        (self.retransmits == 0).then(|| self.send_next(now)).flatten()
    }

    fn send_next(&mut self, now: Instant) -> Option<Segment> {
        let segment = *self.waiting.get(self.sent)?;
        self.sent += 1;
        self.bytes_sent += segment.to - segment.from;
        self.last_sent = now;
        self.timer.get_or_insert(now + self.rto());
        Some(segment)
    }

    /// Its time is up: the first of what waits is sent again.
    pub fn time_out(&mut self, now: Instant) -> Option<Segment> {
        self.timer = None;
        let first = *self.waiting.front()?;
        self.retransmits += 1;
        self.backoff += 1;
        self.total_retransmits += 1;
        self.bytes_sent += first.to - first.from;
        self.bytes_resent += first.to - first.from;
        self.last_sent = now;
        self.timer = Some(now + self.rto());
        Some(first)
    }

    /// The peer's kernel has all up to there; what goes out now.
    pub fn on_ack(&mut self, now: Instant, to: u64, twice: bool) -> Vec<Segment> {
        self.segments_in += 1;
        self.twice += u32::from(twice);
        if to <= self.acked {
            return Vec::new();
        }
        (self.acked, self.last_ack) = (to, now);
        while self.waiting.front().is_some_and(|first| first.to <= to) {
            self.waiting.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        (self.retransmits, self.backoff, self.timer) = (0, 0, None);
        if self.sent > 0 {
            self.timer = Some(now + self.rto());
        }
        let mut out = Vec::new();
        while let Some(segment) = self.send_next(now) {
            out.push(segment);
        }
        out
    }

    pub fn on_bytes(&mut self, now: Instant, bytes: u64) {
        self.segments_in += 1;
        (self.received, self.last_received) = (self.received + bytes, now);
    }

    /// A router says something of what was sent. That takes a doubled timeout back (RFC 6069).
    pub fn on_said(&mut self, now: Instant, errno: i32) {
        self.said = Some(errno);
        if errno == libc::EHOSTUNREACH && self.backoff > 0 {
            self.backoff -= 1;
            self.timer = Some(now + self.rto());
        }
    }

    pub fn look(&self, now: Instant) -> TcpInfo {
        let unsent = self.waiting.iter().skip(self.sent).map(|one| one.to - one.from);
        let since = |then: Instant| now.saturating_duration_since(then);
        TcpInfo::calm(|info| {
            info.state = self.state;
            info.retransmits = self.retransmits as u8;
            info.backoff = self.backoff as u8;
            info.rto = self.rto();
            info.unacked = self.sent as u32;
            info.last_data_sent = since(self.last_sent);
            info.last_data_recv = since(self.last_received);
            info.last_ack_recv = since(self.last_ack);
            info.rtt = self.rtt;
            info.min_rtt = Some(self.rtt);
            info.total_retransmits = self.total_retransmits;
            info.bytes_acked = Some(self.acked + 1);
            info.bytes_received = Some(self.received);
            info.segs_in = Some(self.segments_in);
            info.notsent_bytes = Some(unsent.sum::<u64>() as u32);
            info.rwnd_limited = Some(Duration::ZERO);
            info.bytes_sent = Some(self.bytes_sent);
            info.bytes_retrans = Some(self.bytes_resent);
            info.dsack_dups = Some(self.twice);
            info.rcv_ooopack = Some(0);
            info.snd_wnd = Some(65_536);
        })
    }

    /// How its opening was seen: the round trip, and how often that was sent again.
    pub fn opening(&self) -> (Duration, u32) {
        (self.rtt, self.syns_resent)
    }
}
