//! Events beside other work: the queue of events is a crossbeam `Receiver`, so one `select!` waits
//! for events, a clock and jobs. It needs no further thread and no callback.
//!
//! `cargo run --example select_events`

use std::time::Duration;

use crossbeam_channel::{after, bounded, select, tick};
use keepbeat::{Coordinator, Error, EventKind, Heartbeat, Line, Responder};

fn main() -> Result<(), Error> {
    env_logger::init();

    let peer = Responder::bind("127.0.0.1:0", || Line)?;
    let coordinator = Coordinator::new()?;
    let heartbeat = Heartbeat::every(Duration::from_millis(300));
    coordinator.watch(peer.local_addr(), heartbeat, Line)?;

    // Work that comes from elsewhere in the program. The sender ends after five jobs.
    let (jobs, queue) = bounded(16);
    let worker = std::thread::spawn(move || {
        for job in 1..=5 {
            std::thread::sleep(Duration::from_millis(500));
            if jobs.send(job).is_err() {
                break;
            }
        }
    });

    let clock = tick(Duration::from_secs(1));
    let end = after(Duration::from_secs(10)); // a limit on everything
    loop {
        select! {
            recv(coordinator.events()) -> event => match event {
                // However long a job keeps this loop busy, the beats go on in their own threads.
                Ok(event) if matches!(event.kind(), EventKind::Beat { .. }) => {}
                Ok(event) => println!("event   {event}"),
                Err(_) => break, // the coordinator was stopped
            },
            recv(queue) -> job => match job {
                Ok(job) => println!("job     number {job} done"),
                Err(_) => break, // no more jobs: the end of this program
            },
            recv(clock) -> _ => {
                for status in coordinator.statuses() {
                    let rtt = status.rtt.last().unwrap_or_default();
                    println!("status  {}, last ack after {rtt:.1?}", status.state);
                }
            },
            recv(end) -> _ => break,
        }
    }
    worker.join().expect("the worker does not panic");
    coordinator.stop()
}
