//! The coordinator's thread: takes what the links report and hands each reader its copy.
//!
//! It never blocks on a reader and never touches a link, so neither a slow reader nor a blocked
//! link can hold it up. It sleeps until the bell rings, or until beats may lie in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::drive::feed::Feed;
use crate::drive::queues::Queues;
use crate::drive::readers::Readers;
use crate::event::{Event, LinkId};

/// How soon beats are handed out: between these, the sooner the more there are.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_millis(250);

/// How often a reader that lost events is looked at, until it has room to be told: less and less.
const OWED_FIRST: Duration = Duration::from_millis(100);
const OWED_LAST: Duration = Duration::from_secs(2);

/// How long the links may take to report their end, once all have been told. One inside name
/// resolution takes longer, and has nothing more to say.
const LAST_WORDS: Duration = Duration::from_millis(900);
const AT_THE_END: Duration = Duration::from_millis(2);

/// How soon readers of frames are looked at again that take nothing.
const SLOW_READERS: Duration = Duration::from_millis(50);

pub(crate) fn run(
    feed: Arc<Feed>,
    reports: Receiver<Event>,
    bell: Receiver<()>,
    queues: Arc<Queues>,
    quit: Arc<AtomicBool>,
    readers: Arc<Readers>,
    let_go: impl Fn(Vec<LinkId>),
) {
    let (mut tick, mut owed, mut slow) = (LATE, None, None);
    let mut leaving: Option<Instant> = None;
    loop {
        let links = feed.links.load(Ordering::SeqCst);
        let beats = (links > 0).then_some(tick);
        let most = [beats, owed, slow, leaving.map(|_| AT_THE_END)].into_iter().flatten().min();
        // The bell has no other end that could hang up: the feed is held here.
        let _ = match most {
            Some(most) => bell.recv_timeout(most).is_ok(),
            None => bell.recv().is_ok(),
        };
        // Asked before the queue is emptied: what was reported before the end is handed out.
        let now = Instant::now();
        let over = leaving.is_some_and(|since| links == 0 || now - since > LAST_WORDS);
        if quit.load(Ordering::SeqCst) {
            leaving.get_or_insert(now);
        }
        let waiting = reports.len();
        let lost = feed.take_lost();
        queues.deliver(reports.try_iter().take(waiting), lost);
        owed = match (queues.tell_lost(), owed) {
            (false, _) => None,
            (true, Some(wait)) if waiting == 0 => Some((wait * 2).min(OWED_LAST)),
            (true, _) => Some(OWED_FIRST),
        };
        slow = readers.look().then_some(SLOW_READERS);
        let ended = feed.take_ended();
        if !ended.is_empty() {
            let_go(ended);
        }
        tick = if waiting > 1 { tick / 2 } else { tick * 2 }.clamp(SOON, LATE);
        if over {
            break;
        }
    }
    queues.close();
}
