//! Keeps idle connections warm: sends the small requests that [`Warm`] asks for.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::debug;

use super::body::Body;
use super::call::Order;
use super::core::Taken;
use super::eviction::Eviction;
use super::limits::Limits;
use super::pipe::Probe;
use super::pool::places::{Key, Want};
use super::replay::Replay;
use super::request::{Inner, Parts};
use super::url::Asked;
use super::warm::{Warm, Warmer};

/// A heartbeat that takes longer has found a dead connection.
const ANSWER: Duration = Duration::from_secs(5);

/// Connections are looked at this often at least: what was learnt may have changed.
const LOOK: Duration = Duration::from_millis(500);

/// From the first request on there is a thread for it.
pub(super) fn start(warmer: &Warmer, inner: &Arc<Inner>) {
    let inner = Arc::downgrade(inner);
    warmer.start(move |warm, stop| run(&warm, &inner, &stop));
}

fn run(warm: &Warm, inner: &Weak<Inner>, stop: &Receiver<()>) {
    let mut wait = Duration::ZERO;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(wait) {
        let Some(inner) = inner.upgrade() else { return };
        let now = Instant::now();
        let due = inner.core.pool().due(warm.at_most, now);
        if let Some((key, taken)) = due.now {
            beat(warm, &inner, &key, taken);
            wait = Duration::ZERO;
        } else {
            wait = due.next.map_or(LOOK, |next| next.saturating_duration_since(now).min(LOOK));
        }
    }
}

/// One small request on this very connection. What comes of it shows in the pool: the connection
/// returns to it, or not.
fn beat(warm: &Warm, inner: &Inner, key: &Key, mut taken: Taken) {
    // Whatever lies there already is no answer to this.
    if !matches!(taken.conn.probe(), Probe::Quiet) {
        return inner.core.leave_unused(taken, Eviction::UnexpectedBytes);
    }
    let scheme = if key.https { "https" } else { "http" };
    let Ok(uri) = format!("{scheme}://{}{}", key.authority, warm.path).parse() else {
        return inner.core.leave_unused(taken, Eviction::NotReusable);
    };
    let parts = Parts::new(Asked { method: warm.method.clone(), uri }, Replay::Never);
    let deadline = Some(Instant::now() + ANSWER);
    let limits = Limits { deadline, connect: ANSWER, first_byte: None, silence: None };
    let want = Want { fresh: false, to_the_last: false, idle_at_most: Duration::ZERO };
    let mut body = Body::empty();
    let order =
        Order { pinned: Some(taken), ..inner.order(key.clone(), &parts, &body, limits, want) };
    match inner.once(&parts, &mut body, order) {
        Ok((_, mut conn)) => {
            conn.drain();
            inner.core.pool().stats.warmed += 1;
        }
        Err(failed) => {
            let error = failed.told(&parts.asked);
            debug!("a heartbeat failed: {error}");
        }
    }
}
