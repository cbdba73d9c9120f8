//! Events in async code, without a word about which runtime: a thread waits for them, and wakes
//! whoever awaits the next. What is used of async is `Future` and `Waker`, both of the standard
//! library, so this works on any executor; the one below is the smallest there is.
//!
//! A runtime that can wait for descriptors (tokio's `AsyncFd`, `async-io`) needs no thread: give it
//! that of `Coordinator::event_queue`, and take what waits by `try_next`.
//!
//! `cargo run --example async_events`

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use keepbeat::crossbeam_channel::Receiver;
use keepbeat::{Coordinator, Event, EventKind, Heartbeat, Line, Responder, State};

/// What the waiting thread hands over: one event at a time, so that all others stay in the queue of
/// the coordinator, which counts what it cannot keep.
#[derive(Default)]
struct Slot {
    event: Option<Event>,
    over: bool,
    /// Who awaits the next one.
    waker: Option<Waker>,
}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    taken: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: it ends with the coordinator, or when nobody awaits any more.
    fn hand_over(&self, events: &Receiver<Event>) {
        loop {
            let event = events.recv().ok();
            let mut slot = self.lock();
            while slot.event.is_some() && !slot.over {
                slot = self.taken.wait(slot).unwrap_or_else(PoisonError::into_inner);
            }
            slot.over |= event.is_none();
            slot.event = event;
            let (over, waker) = (slot.over, slot.waker.take());
            drop(slot); // before anybody wakes who takes it
            waker.into_iter().for_each(Waker::wake);
            if over {
                return;
            }
        }
    }
}

/// Events to be awaited, one after the other.
struct Events(Arc<Shared>);

impl Events {
    fn new(events: Receiver<Event>) -> Events {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        thread::spawn(move || theirs.hand_over(&events));
        Events(shared)
    }

    /// The next event; none once the coordinator has stopped and all were taken. It may be dropped
    /// before it is ready, as `select!` does: no event is lost by that.
    async fn next(&self) -> Option<Event> {
        poll_fn(|context| {
            let mut slot = self.0.lock();
            match slot.event.take() {
                Some(event) => {
                    self.0.taken.notify_one();
                    Poll::Ready(Some(event))
                }
                None if slot.over => Poll::Ready(None),
                None => {
                    slot.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.taken.notify_one();
    }
}

/// Runs one future to its end: what a runtime is for.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

async fn watch(coordinator: &Coordinator, responder: Responder) -> Result<(), keepbeat::Error> {
    let events = Events::new(coordinator.events().clone());
    let heartbeat = Heartbeat::every(Duration::from_millis(50));
    coordinator.watch(responder.local_addr(), heartbeat, Line)?;
    let mut beats = 0;
    while let Some(event) = events.next().await {
        match event.kind() {
            EventKind::Beat { .. } => {
                beats += 1;
                if beats == 5 {
                    println!("five beats; now the peer goes");
                    responder.stop();
                }
            }
            EventKind::State { to: State::Down, .. } => {
                println!("{event}");
                coordinator.stop()?; // and the events end
            }
            _ => println!("{event}"),
        }
    }
    Ok(())
}

fn main() -> Result<(), keepbeat::Error> {
    env_logger::init();
    let responder = Responder::bind("127.0.0.1:0", || Line)?;
    let coordinator = Coordinator::new()?;
    block_on(watch(&coordinator, responder))
}
