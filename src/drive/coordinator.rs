//! The coordinator's thread: takes what the links report and hands each reader its copy.
//!
//! It never blocks on a reader and never touches a link, so neither a slow reader nor a blocked
//! link can hold it up. It sleeps until the bell rings, or until beats may lie in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::drive::feed::Feed;
use crate::drive::queues::Queues;
use crate::event::Event;

/// How soon beats are handed out: between these, the sooner the more there are.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_millis(250);

/// How often a reader that lost events is looked at, until it has room to be told.
const OWED: Duration = Duration::from_millis(100);

pub(crate) fn run(
    feed: Arc<Feed>,
    reports: Receiver<Event>,
    bell: Receiver<()>,
    queues: Arc<Queues>,
    quit: Arc<AtomicBool>,
) {
    let mut tick = LATE;
    let mut owed = false;
    loop {
        // The bell has no other end that could hang up: the feed is held here.
        if feed.links.load(Ordering::Relaxed) == 0 && !owed {
            let _ = bell.recv();
        } else {
            let _ = bell.recv_timeout(if owed { tick.min(OWED) } else { tick });
        }
        // Asked before the queue is emptied, so that what was reported before the end is handed
        // out.
        let over = quit.load(Ordering::SeqCst);
        let waiting = reports.len();
        queues.deliver(reports.try_iter().take(waiting), feed.take_lost());
        owed = queues.tell_lost();
        tick = if waiting > 1 { tick / 2 } else { tick * 2 }.clamp(SOON, LATE);
        if over && reports.is_empty() {
            break;
        }
    }
    queues.close();
}
