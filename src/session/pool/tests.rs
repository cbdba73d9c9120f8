//! The pool on numbers: connections, sockets and waiters are `u32`. A seeded walk plays all that
//! requests, the watcher and time can do to it, with closes that take their time, and holds it to
//! what it promises.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::act::Look;
use super::places::Seen;
use super::*;
use crate::protocol::http::hint::Hint;
use crate::sys::Happened;

struct Numbers;

impl Keeps for Numbers {
    type Conn = u32;
    type Socket = u32;
    type Waiter = u32;
}

const ANY: Want = Want { fresh: false, to_the_last: false, idle_at_most: Duration::MAX };

fn bounds(max_per_host: usize, max_total: usize) -> Bounds {
    Bounds {
        idle_timeout: Duration::from_secs(90),
        max_lifetime: Duration::from_secs(1800),
        max_idle_per_host: 3,
        max_per_host,
        max_total,
    }
}

fn key(host: usize) -> Key {
    Key { https: false, authority: format!("h{host}.test").parse().expect("a name") }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn told(id: SlotId, ended: bool) -> Happened {
    Happened { token: id.token(), ended, hung_up: false, failed: false }
}

/// What an ordinary request gets.
fn get(pool: &mut Pool<Numbers>, host: usize, now: Instant) -> Grant<u32> {
    match pool.checkout(&key(host), ANY, now, || panic!("it must not wait")) {
        Checkout::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

/// Opens so many connections and gives them back, one second after the other.
fn idle(pool: &mut Pool<Numbers>, host: usize, conns: &[u32], start: Instant) {
    let mut ids = Vec::new();
    for _ in conns {
        match get(pool, host, start) {
            Grant::Open(id) => ids.push(id),
            kept => panic!("{kept:?}"),
        }
    }
    for (n, (id, conn)) in ids.into_iter().zip(conns).enumerate() {
        let now = start + secs(n as u64);
        pool.opening(id, *conn, true);
        pool.give_back(id, *conn, now, Hint::default(), now);
    }
}

fn closed(pool: &mut Pool<Numbers>) -> Vec<u32> {
    let acts = pool.acts().unwrap_or_default();
    let without_heir: Vec<_> =
        acts.closes.iter().filter(|close| !close.has_heir).map(|close| close.id).collect();
    pool.left(&without_heir, Instant::now());
    acts.closes.into_iter().map(|close| close.conn).collect()
}

#[test]
fn the_newest_is_given_and_the_oldest_is_let_go() {
    let (mut pool, now) = (Pool::new(bounds(9, 9), 1), Instant::now());
    idle(&mut pool, 0, &[1, 2, 3, 4], now);
    assert_eq!(closed(&mut pool), [1], "more than three are not kept");
    let Grant::Kept(taken) = get(&mut pool, 0, now + secs(5)) else { panic!("three are idle") };
    assert_eq!((taken.conn, taken.idle), (4, secs(2)));
    assert_eq!((pool.stats.open, pool.stats.idle), (3, 2));
}

#[test]
fn room_is_made_by_the_oldest_which_is_closed_before_another_is_opened() {
    let (mut pool, now) = (Pool::new(bounds(2, 9), 1), Instant::now());
    idle(&mut pool, 0, &[1, 2], now);
    let fresh = Want { fresh: true, ..ANY };
    let Checkout::Granted(Grant::Open(_)) = pool.checkout(&key(0), fresh, now + secs(2), || 0)
    else {
        panic!("there is room")
    };
    let acts = pool.acts().expect("something is to be done");
    let closes: Vec<_> = acts.closes.iter().map(|close| (close.conn, close.has_heir)).collect();
    assert_eq!(closes, [(1, true)]);
    assert_eq!((pool.stats.open, pool.leaving), (2, 0));
}

#[test]
fn a_place_counts_until_its_connection_is_closed() {
    let (mut pool, now) = (Pool::new(bounds(1, 9), 1), Instant::now());
    idle(&mut pool, 0, &[1], now);
    pool.look(now + secs(90));
    assert_eq!((pool.stats.open, pool.leaving), (0, 1), "it is let go, and not closed yet");
    let acts = pool.acts().expect("something is to be done");
    assert!(!acts.closes[0].has_heir);
    // Another thread comes in between.
    let waits = pool.checkout(&key(0), ANY, now + secs(90), || 7);
    assert!(matches!(waits, Checkout::Wait(1)), "{waits:?}");
    assert!(pool.acts().is_none());
    pool.left(&[acts.closes[0].id], now + secs(90));
    let acts = pool.acts().expect("something is to be done");
    assert!(matches!(acts.grants[..], [(7, Grant::Open(_))]));
}

#[test]
fn one_that_is_looked_at_is_nobodys_meanwhile() {
    let (mut pool, now) = (Pool::new(bounds(9, 9), 1), Instant::now());
    idle(&mut pool, 0, &[1], now);
    let id = SlotId { index: 0, generation: 1 };
    let happened = [told(id, false)];
    let look = |pool: &mut Pool<Numbers>| {
        let mut looks = pool.happened(&happened, now);
        assert_eq!(looks.len(), 1);
        looks.pop().expect("one")
    };
    let Look { id, conn, .. } = look(&mut pool);
    assert!(matches!(get(&mut pool, 0, now), Grant::Open(_)), "not the one that is looked at");
    assert!(pool.happened(&happened, now).is_empty(), "nor by two");
    pool.looked(id, conn, Seen::Quiet, now);
    assert!(matches!(get(&mut pool, 0, now), Grant::Kept(taken) if taken.conn == 1));
    // What was seen decides, and a close that happens then.
    for (seen, close, why) in [
        (Seen::Bytes, false, Eviction::UnexpectedBytes),
        (Seen::Closed, false, Eviction::ClosedByPeer),
        (Seen::Silent, false, Eviction::Silent),
        (Seen::Reset, false, Eviction::Reset),
        (Seen::Quiet, true, Eviction::SessionClosed),
    ] {
        let mut pool = Pool::new(bounds(9, 9), 1);
        idle(&mut pool, 0, &[1], now);
        let Look { id, conn, .. } = look(&mut pool);
        if close {
            pool.close(now);
        }
        pool.looked(id, conn, seen, now);
        assert_eq!(closed(&mut pool), [1], "{seen:?}");
        assert_eq!(pool.stats.evicted(why), 1, "{seen:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_lifetimes() {
    let now = Instant::now();
    let lifetimes = |seed| {
        let mut pool: Pool<Numbers> = Pool::new(bounds(9, 9), seed);
        idle(&mut pool, 0, &[1, 2, 3], now);
        let members = pool.slots.iter().filter_map(|slot| slot.taken.as_ref());
        members.map(|member| member.dies - now).collect::<Vec<_>>()
    };
    assert_eq!(lifetimes(7), lifetimes(7));
    assert_ne!(lifetimes(7), lifetimes(8));
    assert!(lifetimes(7).iter().all(|life| (secs(1350)..=secs(1800)).contains(life)));
}

/// A world around a pool: what is open as servers see it, who uses what, who waits.
struct World {
    pool: Pool<Numbers>,
    random: fastrand::Rng,
    now: Instant,
    /// Each connection that is not closed, and its host.
    open: HashMap<u32, usize>,
    used: Vec<(SlotId, u32, usize)>,
    /// Who waits: its number in the queue, and its host.
    waiting: Vec<(u32, u64, usize)>,
    looks: Vec<Look<u32>>,
    /// Let go, and still to be closed, by a thread that takes its time.
    closing: Vec<(SlotId, u32)>,
    names: u32,
    most: usize,
}

const PER_HOST: usize = 3;
const IN_ALL: usize = 5;

impl World {
    fn new(seed: u64) -> World {
        World {
            pool: Pool::new(bounds(PER_HOST, IN_ALL), seed),
            random: fastrand::Rng::with_seed(seed),
            now: Instant::now(),
            open: HashMap::new(),
            used: Vec::new(),
            waiting: Vec::new(),
            looks: Vec::new(),
            closing: Vec::new(),
            names: 0,
            most: 0,
        }
    }

    fn name(&mut self) -> u32 {
        self.names += 1;
        self.names
    }

    /// Takes what a request was given.
    fn take(&mut self, grant: Grant<u32>, host: usize) {
        match grant {
            Grant::Kept(Taken { id, conn, .. }) => {
                assert_eq!(self.open.get(&conn), Some(&host), "{conn} is not of {host}, or closed");
                assert!(self.used.iter().all(|(_, other, _)| *other != conn), "{conn} twice");
                self.used.push((id, conn, host));
            }
            Grant::Open(id) => {
                let conn = self.name();
                self.pool.opening(id, conn, true);
                self.open.insert(conn, host);
                self.used.push((id, conn, host));
                let of_host = self.open.values().filter(|other| **other == host).count();
                assert!(of_host <= PER_HOST && self.open.len() <= IN_ALL, "{:?}", self.open);
                self.most = self.most.max(self.open.len());
            }
        }
    }

    /// Does what the pool wants done: at once what somebody else's turn depends on, the rest some
    /// time.
    fn act(&mut self) {
        while let Some(acts) = self.pool.acts() {
            for close in acts.closes {
                match close.has_heir {
                    true => assert!(self.open.remove(&close.conn).is_some(), "closed twice"),
                    false => self.closing.push((close.id, close.conn)),
                }
            }
            for (waiter, grant) in acts.grants {
                let at =
                    self.waiting.iter().position(|(other, ..)| *other == waiter).expect("it waits");
                let (_, number, host) = self.waiting.remove(at);
                let first =
                    self.waiting.iter().all(|(_, other, of)| *of != host || *other > number);
                assert!(first, "another one of the same host came first");
                self.take(grant, host);
            }
        }
    }

    fn close_some(&mut self, all: bool) {
        let mut left = Vec::new();
        let random = &mut self.random;
        let open = &mut self.open;
        self.closing.retain(|(id, conn)| {
            let closes = all || random.bool();
            if closes {
                assert!(open.remove(conn).is_some(), "closed twice");
                left.push(*id);
            }
            !closes
        });
        self.pool.left(&left, self.now);
        self.act();
    }

    fn ask(&mut self) {
        let (host, waiter, fresh) = (self.random.usize(..3), self.name(), self.random.u8(..8) == 0);
        let want = Want { fresh, ..ANY };
        let checkout = self.pool.checkout(&key(host), want, self.now, || waiter);
        let grant = match checkout {
            Checkout::Granted(grant) => Some(grant),
            Checkout::Wait(number) => {
                self.waiting.push((waiter, number, host));
                None
            }
            Checkout::Closed => panic!("it is open"),
        };
        self.act();
        if let Some(grant) = grant {
            self.take(grant, host);
        }
    }

    fn let_go(&mut self) {
        let at = self.random.usize(..self.used.len());
        let (id, conn, _) = self.used.swap_remove(at);
        match self.random.u8(..4) {
            0 => {
                self.open.remove(&conn);
                self.pool.leave_used(id, Eviction::NotReusable, self.now);
            }
            n => {
                let max = (n == 1).then(|| self.random.u64(..3));
                let hint = Hint { max, ..Hint::default() };
                self.pool.give_back(id, conn, self.now, hint, self.now);
            }
        }
        self.act();
    }

    fn happen(&mut self) {
        let index = self.random.u32(..8);
        let generation = self.pool.slots.get(index as usize).map_or(0, |slot| slot.generation);
        let happened = told(SlotId { index, generation }, self.random.bool());
        let looks = self.pool.happened(&[happened], self.now);
        self.looks.extend(looks);
        self.act();
    }

    fn look(&mut self) {
        let at = self.random.usize(..self.looks.len());
        let Look { id, conn, .. } = self.looks.swap_remove(at);
        let seen = [Seen::Quiet, Seen::Bytes, Seen::Closed, Seen::Silent, Seen::Reset];
        let seen = seen[self.random.usize(..seen.len())];
        self.pool.looked(id, conn, seen, self.now);
        self.act();
    }

    fn step(&mut self) {
        match self.random.u8(..12) {
            0..=3 => self.ask(),
            4..=6 if !self.used.is_empty() => self.let_go(),
            7 => self.happen(),
            8 if !self.looks.is_empty() => self.look(),
            9 => {
                self.now += Duration::from_millis(self.random.u64(..60_000));
                self.pool.look(self.now);
                self.act();
            }
            10 if !self.waiting.is_empty() => {
                let at = self.random.usize(..self.waiting.len());
                let (_, number, _) = self.waiting.swap_remove(at);
                assert!(self.pool.give_up(number), "what was granted is not in the queue");
            }
            _ => self.close_some(false),
        }
        self.check();
    }

    fn check(&self) {
        let counted = self.pool.stats.open + self.pool.leaving;
        assert_eq!(counted, self.open.len(), "{} used, {:?}", self.used.len(), self.open);
        let idle = self.pool.hosts.iter().map(|host| host.idle.len()).sum::<usize>();
        assert_eq!(self.pool.stats.idle, idle);
        assert_eq!(idle + self.used.len() + self.closing.len(), self.open.len());
        let taken = self.pool.slots.iter().filter(|slot| slot.taken.is_some()).count();
        assert_eq!(taken + self.pool.free.len(), self.pool.slots.len());
        let free: HashSet<_> = self.pool.free.iter().collect();
        assert_eq!(free.len(), self.pool.free.len(), "a place is free twice");
    }

    /// Nobody wants anything any more.
    fn end(mut self) {
        self.close_some(true);
        while !self.used.is_empty() {
            self.let_go();
            self.close_some(true);
        }
        assert!(self.waiting.is_empty(), "somebody waits, and nothing is in use");
        while !self.looks.is_empty() {
            self.look();
            self.close_some(true);
        }
        assert!(self.pool.close(self.now).is_empty());
        self.act();
        self.close_some(true);
        self.check();
        assert!(self.open.is_empty() && self.pool.leaving == 0, "{:?}", self.open);
    }
}

#[test]
fn no_walk_breaks_what_it_promises() {
    let seed = fastrand::u64(..);
    println!("seeds from {seed} on");
    let mut most = 0;
    for seed in seed..seed.saturating_add(150) {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        most = most.max(world.most);
        world.end();
    }
    assert_eq!(most, IN_ALL, "no walk came to its limit");
}
