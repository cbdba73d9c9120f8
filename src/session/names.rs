//! From names to addresses: looked up when a connection is opened, kept for a while, asked for once
//! however many want to know, and never on a thread per request.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::LOOK;
use crate::base::spawn;
use crate::links::resolve::Resolve;
use crate::protocol::guarded::caught;

/// The system's resolver tells no lifetime. A minute is what most names are given.
const TTL: Duration = Duration::from_secs(60);

/// A name that could not be looked up is not asked for again sooner.
const FAILED_TTL: Duration = Duration::from_secs(1);

/// Names that are kept. Beyond it, those that are too old go.
const MOST: usize = 4096;

/// Lookups at the same time: each has a thread, and nothing can end one that hangs.
const AT_ONCE: usize = 16;

/// glibc's resolver needs more than a page or two.
const STACK: usize = 256 * 1024;

pub(crate) struct Names {
    resolve: Arc<Resolve>,
    known: Mutex<HashMap<(String, u16), Entry>>,
    /// Rung when a lookup ends.
    room: Arc<Room>,
    lookups: Arc<AtomicU64>,
}

struct Entry {
    at: Instant,
    lookup: Arc<Lookup>,
}

/// How many lookups are under way.
#[derive(Default)]
struct Room {
    taken: Mutex<usize>,
    left: Condvar,
}

impl Room {
    /// Takes a place, waiting for one at most until then, or until a shutdown.
    fn enter(self: &Arc<Room>, until: Instant, closed: &dyn Fn() -> bool) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= AT_ONCE {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || closed() {
                return None;
            }
            let waited = self.left.wait_timeout(taken, left.min(LOOK));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken += 1;
        Some(Place(Arc::clone(self)))
    }
}

struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

/// One question, and its answer once it is there.
#[derive(Default)]
struct Lookup {
    answer: Mutex<Option<Answer>>,
    there: Condvar,
}

type Answer = Result<Vec<SocketAddr>, (ErrorKind, String)>;

impl Names {
    pub(crate) fn new(resolve: Arc<Resolve>) -> Names {
        Names { resolve, known: Mutex::default(), room: Arc::default(), lookups: Arc::default() }
    }

    pub(crate) fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// The addresses of a host, waiting for them at most until then, or until a shutdown.
    ///
    /// # Errors
    ///
    /// `TimedOut`, or what the resolver says; `NotConnected` after a shutdown.
    pub(crate) fn addresses(
        &self,
        host: &str,
        port: u16,
        until: Instant,
        closed: &dyn Fn() -> bool,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let lookup = self.lookup(host, port, until, closed)?;
        let mut answer = lookup.answer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*answer {
                Some(Ok(addresses)) => return Ok(addresses.clone()),
                Some(Err((kind, text))) => return Err(io::Error::new(*kind, text.clone())),
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = format!("`{host}`: no answer from the resolver");
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            if closed() {
                return Err(super::pipe::closed());
            }
            let waited = lookup.there.wait_timeout(answer, left.min(LOOK));
            answer = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nobody could be reached there: the next connection asks anew.
    pub(crate) fn forget(&self, host: &str, port: u16) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), port);
        // One that is still being asked for is new.
        if known.get(&key).is_some_and(|entry| entry.lookup.is_answered()) {
            known.remove(&key);
        }
    }

    fn lookup(
        &self,
        host: &str,
        port: u16,
        until: Instant,
        closed: &dyn Fn() -> bool,
    ) -> io::Result<Arc<Lookup>> {
        let (lookup, new) = self.find(host, port);
        if !new {
            return Ok(lookup);
        }
        let failed = |error: io::Error| {
            // The lookup was not started: waiting threads get this error.
            lookup.end(Err((error.kind(), error.to_string())));
            error
        };
        let text = || format!("`{host}`: {AT_ONCE} names wait for the resolver already");
        let place = self.room.enter(until, closed);
        let place = place.ok_or_else(|| failed(io::Error::new(ErrorKind::TimedOut, text())))?;
        self.ask(&lookup, host.to_owned(), port, place).map_err(failed)?;
        Ok(lookup)
    }

    /// What is known, or a new question that nobody has asked yet.
    fn find(&self, host: &str, port: u16) -> (Arc<Lookup>, bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, now) = ((host.to_owned(), port), Instant::now());
        if let Some(entry) = known.get(&key).filter(|entry| entry.is_good(now)) {
            return (Arc::clone(&entry.lookup), false);
        }
        if known.len() >= MOST {
            known.retain(|_, entry| entry.is_good(now));
        }
        if known.len() >= MOST {
            known.clear();
        }
        let lookup = Arc::new(Lookup::default());
        known.insert(key, Entry { at: now, lookup: Arc::clone(&lookup) });
        (lookup, true)
    }

    /// Looks the name up on a thread of its own, so that each caller waits only as long as it may.
    fn ask(&self, lookup: &Arc<Lookup>, host: String, port: u16, place: Place) -> io::Result<()> {
        let (lookup, resolve) = (Arc::clone(lookup), Arc::clone(&self.resolve));
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let body = move || {
            let _place = place;
            lookup.end(match caught(|| resolve(&host, port)) {
                Ok(Ok(addresses)) if addresses.is_empty() => {
                    Err((ErrorKind::NotFound, format!("`{host}` has no address")))
                }
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(error)) => Err((error.kind(), format!("`{host}`: {error}"))),
                Err(text) => Err((ErrorKind::Other, format!("`{host}`: the resolver {text}"))),
            });
        };
        spawn::spawn("keepbeat-resolve", STACK, body).map(drop)
    }
}

impl Entry {
    fn is_good(&self, now: Instant) -> bool {
        let answer = self.lookup.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let ttl = match &*answer {
            Some(Err(_)) => FAILED_TTL,
            Some(Ok(_)) => TTL,
            None => return true,
        };
        now - self.at < ttl
    }
}

impl Lookup {
    fn end(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.there.notify_all();
    }

    fn is_answered(&self) -> bool {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("lookups", &self.lookups()).finish_non_exhaustive()
    }
}
