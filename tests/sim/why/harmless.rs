//! An inquiry that sees anything in any order, and finds out anything: it must come to no harm, and
//! come to rest.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cause::{Cause, Loss};
use crate::diagnose::{
    Act, Attempt, Carried, Evidence, Facts, Fresh, Inquiry, Kept, Ledger, OwnSide, Question, Saw,
    Suspects,
};
use crate::pulse::{Regular, Report, Rule};
use crate::state::State;
use crate::tcp_info::{TcpInfo, TcpState};

use super::world::Params;

/// Whoever answers without having looked.
pub struct Blind {
    rng: Rng,
    seed: u64,
    now: Instant,
}

impl Blind {
    /// So many things are seen.
    pub fn run(seed: u64, times: u32) {
        let now = Instant::now() + Duration::from_secs(100_000);
        let mut blind = Blind { rng: Rng::with_seed(seed), seed, now };
        let mut inquiry = Inquiry::new(&Params::draw(seed).heartbeat(), "tcp://peer:1", now);
        for seq in 0..times {
            blind.now += Duration::from_millis(blind.rng.u64(0..3000));
            blind.see(&mut inquiry, seq.into());
            blind.settle(&mut inquiry);
        }
    }

    fn cause(&mut self) -> Cause {
        Cause::ALL[self.rng.usize(..Cause::ALL.len())]
    }

    fn see(&mut self, inquiry: &mut Inquiry, seq: u64) {
        let (now, mut report) = (self.now, self.report(seq));
        let ms = Duration::from_millis(self.rng.u64(0..2000));
        match self.rng.u8(0..9) {
            0 => {
                let peer = Some(([10, 0, 0, self.rng.u8(..)], 1).into());
                let ledger = Ledger { opened: self.rng.bool(), ..Ledger::default() };
                inquiry.handle(now, Saw::Connected { peer, ledger, took: ms }, self);
            }
            1 => {
                let (rtt, late) = (Some(ms).filter(|_| self.rng.bool()), self.rng.bool());
                inquiry.handle(now, Saw::Answered { seq, rtt, late }, self);
            }
            2 => inquiry.handle(now, Saw::Icmp(self.rng.i32(-2..200)), self),
            3 => {
                let (info, thorough) = (self.look(), self.rng.bool());
                inquiry.handle(now, Saw::Quiet { info, thorough }, self);
            }
            4 => inquiry.handle(now, Saw::Last, self),
            5 => drop(inquiry.keeps_old(now)),
            6 => {
                let before = self.look();
                inquiry.case().on_sent(seq, now, self.rng.usize(0..2000), before);
            }
            7 => inquiry.handle(now, Saw::Time, self),
            _ => inquiry.handle(now, Saw::Report(&mut report), self),
        }
    }

    fn report(&mut self, seq: u64) -> Report {
        let (cause, ms) = (self.cause(), Duration::from_millis(self.rng.u64(0..9000)));
        let loss = Loss::from(cause);
        let (misses, late) = (self.rng.u32(0..5), ms);
        let rules = [Rule::Idle, Rule::Lifetime, Rule::Either];
        let rule = rules[self.rng.usize(..3)];
        let regular = Regular { rule, after: ms, times: self.rng.u32(2..9) };
        let regular = Some(regular).filter(|_| self.rng.bool());
        match self.rng.u8(0..8) {
            0 => Report::Missed { seq, timeout: ms, misses, cause, good: 1 },
            1 => Report::Silent { silent: ms, misses },
            2 => {
                Report::State { from: State::Up, to: State::Suspect, loss: Some(loss), down: None }
            }
            3 => Report::State { from: State::Up, to: State::Down, loss: Some(loss), down: None },
            4 => Report::State { from: State::Down, to: State::Up, loss: None, down: None },
            5 => {
                let lived = if self.rng.bool() { ms } else { Duration::ZERO };
                Report::Disconnected { loss, lived, beats: 1, expected: false, regular }
            }
            6 => Report::Stalled { late },
            _ => Report::Alive { seq },
        }
    }

    /// It rests after some acts, and gives a report that was judged back once.
    fn settle(&mut self, inquiry: &mut Inquiry) {
        let mut reports = 0;
        for _ in 0..20 {
            match inquiry.poll() {
                Act::Wait(_) => {
                    assert!(reports <= 1, "seed {}: a report twice", self.seed);
                    return;
                }
                Act::Report(_) => reports += 1,
                _ => {}
            }
        }
        panic!("seed {}: it does not come to rest", self.seed);
    }
}

impl Facts for Blind {
    fn look(&mut self) -> Option<TcpInfo> {
        let (rng, seen) = (&mut self.rng, TcpInfo::calm(|_| ()));
        let info = TcpInfo {
            state: [TcpState::Established, TcpState::CloseWait, TcpState::Closed][rng.usize(..3)],
            retransmits: rng.u8(..9),
            backoff: rng.u8(..9),
            unacked: rng.u32(..3),
            total_retransmits: rng.u32(..20),
            bytes_acked: Some(rng.u64(..100)),
            bytes_sent: Some(rng.u64(..100)),
            notsent_bytes: Some(rng.u32(..20)),
            dsack_dups: Some(rng.u32(..3)),
            ..seen
        };
        Some(info).filter(|_| self.rng.bool())
    }

    fn own_side(&mut self, _peer: Option<std::net::SocketAddr>) -> OwnSide {
        OwnSide { address_gone: self.rng.u8(..9) == 0, ..OwnSide::default() }
    }

    fn suspended(&mut self) -> Option<Duration> {
        Some(Duration::from_secs(9)).filter(|_| self.rng.u8(..9) == 0)
    }

    fn suspended_since_stall(&mut self) -> Option<Duration> {
        self.suspended()
    }

    fn attempt(&mut self) -> Attempt {
        Attempt { has_stood: self.rng.bool(), info: self.look(), ..Attempt::default() }
    }

    fn suspects(&mut self, _: Instant, _: Duration, _: Duration) -> Option<Suspects> {
        let (suspects, hosts) = (self.rng.u32(1..9), self.rng.u32(9..20));
        let (well, is_alarm) = (self.rng.u32(..3), self.rng.bool());
        let count = Suspects { suspects, hosts, well, network: None, is_alarm };
        Some(count).filter(|_| self.rng.bool())
    }

    fn ask(&mut self, _question: Question) -> Option<Kept> {
        let all = [Kept::Pending, Kept::Budget, Kept::Single, Kept::Off];
        Some(all[self.rng.usize(..4)]).filter(|_| self.rng.u8(..9) > 0)
    }

    fn found(&mut self) -> Option<Evidence> {
        let fresh = [Fresh::Connected, Fresh::Silent, Fresh::Refused, Fresh::Local];
        let beat = [Carried::Answered, Carried::Acked, Carried::Unacked];
        let found = Evidence {
            fresh: Some(fresh[self.rng.usize(..4)]),
            fresh_beat: Some(beat[self.rng.usize(..3)]).filter(|_| self.rng.bool()),
            more_fresh: Some(4),
            more_answered: Some(self.rng.u32(..5)),
            ..Evidence::default()
        };
        Some(found).filter(|_| self.rng.bool())
    }

    fn met(&mut self, _acked: bool) -> Option<Instant> {
        Some(self.now).filter(|_| self.rng.bool())
    }

    fn old(&mut self) -> Option<(TcpInfo, bool)> {
        self.look().map(|info| (info, self.rng.bool()))
    }
}
