//! The coordinator's thread: takes what the links report and hands each reader its copy.
//!
//! It never blocks on a reader and never touches a link, so neither a slow reader nor a blocked
//! link can hold it up. It sleeps until somebody knocks, or until beats may lie in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::base::stopping::Patience;
use crate::event::{Event, LinkId};
use crate::links::out::feed::Feed;
use crate::links::out::queues::Queues;
use crate::links::out::readers::Readers;

/// How soon beats are handed out: between these, the sooner the more there are. Each time costs two
/// wake-ups, of this thread and of the reader, so this is as rarely as `events` promises.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_millis(250);

/// The first change is handed out at once, those that come together with it so much later: where
/// thousands of links come up or fall in one moment, each of them would wake two threads.
const BURST: Duration = Duration::from_millis(1);

/// How often a reader that lost events is looked at, until it has room to be told: less and less.
const OWED_FIRST: Duration = Duration::from_millis(100);
const OWED_LAST: Duration = Duration::from_secs(2);

/// How soon readers of frames are looked at again that take nothing.
const SLOW_READERS: Duration = Duration::from_millis(50);

/// How often it is looked whether links still end, once all have been told to.
const AT_THE_END: Duration = Duration::from_millis(50);

pub(crate) fn run(
    feed: Arc<Feed>,
    reports: Receiver<Event>,
    queues: Arc<Queues>,
    quit: Arc<AtomicBool>,
    readers: Arc<Readers>,
    let_go: impl Fn(Vec<LinkId>),
) {
    let (mut tick, mut owed, mut slow) = (LATE, None, None);
    let mut leaving: Option<Leaving> = None;
    let mut batch = Vec::new();
    let mut last = Instant::now();
    loop {
        let links = feed.links.load(Ordering::SeqCst);
        let beats = (links > 0).then_some(tick);
        let end = leaving.is_some().then_some(if links > 0 { AT_THE_END } else { Duration::ZERO });
        feed.knock.wait([beats, owed, slow, end].into_iter().flatten().min());
        thread::sleep(BURST.saturating_sub(last.elapsed()));
        // Asked before the queue is emptied: what was reported before the end is handed out.
        let now = Instant::now();
        last = now;
        let over = leaving.as_mut().is_some_and(|leaving| leaving.is_over(links, now));
        if quit.load(Ordering::SeqCst) {
            leaving.get_or_insert_with(|| Leaving::new(links, now));
        }
        let waiting = reports.len();
        let lost = feed.take_lost();
        batch.extend(reports.try_iter().take(waiting));
        queues.deliver(&mut batch, lost);
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

/// All links have been told to end, and still have to report it.
struct Leaving {
    patience: Patience,
    links: usize,
}

impl Leaving {
    fn new(links: usize, now: Instant) -> Leaving {
        Leaving { patience: Patience::new(now), links }
    }

    /// Nobody is left, or nobody has ended for so long that whoever is left has no more to say.
    fn is_over(&mut self, links: usize, now: Instant) -> bool {
        if links < self.links {
            self.patience.renew(now);
        }
        self.links = links;
        links == 0 || self.patience.is_over(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;
    use crate::sys::Bell;
    use std::time::SystemTime;

    #[test]
    fn changes_that_come_together_wake_their_reader_once_a_millisecond() {
        let (feed, reports) = Feed::new();
        let (feed, queues, quit) = (Arc::new(feed), Arc::<Queues>::default(), Arc::default());
        let bell = Arc::new(Bell::new().unwrap());
        let events = queues.add_with(10_000, Some(Arc::clone(&bell)));
        let running = {
            let (feed, queues, quit) = (Arc::clone(&feed), Arc::clone(&queues), Arc::clone(&quit));
            thread::spawn(move || run(feed, reports, queues, quit, Arc::default(), |_| ()))
        };
        let start = Instant::now();
        for _ in 0..2000 {
            let (time, kind) = (SystemTime::now(), EventKind::Ended);
            feed.push(Event { time, link: None, peer: None, certificate: None, kind }, true);
            thread::yield_now(); // it may be handed out at once
        }
        quit.store(true, Ordering::SeqCst);
        feed.knock.knock();
        running.join().unwrap();
        let most = start.elapsed().as_millis() as u64 + 2; // the first one, and the end
        assert_eq!(events.len(), 2000);
        let rings = bell.clear();
        assert!(rings <= most, "{rings} wake-ups in {most} ms");
    }
}
