//! A run: makes the links, shows what happens until the end, and sums it up.

use std::io;
use std::time::Instant;

use crossbeam_channel::{after, at, never, select};
use keepbeat::{Cause, Coordinator, Event, EventKind, LinkId};

use crate::args::Args;
use crate::order::Order;
use crate::output::Output;
use crate::plan::Watch;
use crate::record::Record;
use crate::signals::{Waiter, end_at_last};

/// Watches until a signal comes, the time is over, or every link has ended. True if every target
/// was alive at the end.
///
/// # Errors
///
/// The machine has no room for the links, or standard output failed.
pub fn run(args: &Args, record: Option<Record>, watches: Vec<Watch>) -> Result<bool, String> {
    let waiter = Waiter::start().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let coordinator = Coordinator::new().map_err(|error| error.to_string())?;
    let names: Vec<String> = watches.iter().map(|watch| watch.target.name()).collect();
    let mut output = Output::new(args, record, &names);
    let told = output.start(&watches);
    for Watch { target, heartbeat, protocol, .. } in watches {
        coordinator.watch(target, heartbeat, protocol).map_err(|error| error.to_string())?;
    }
    let result = told.and_then(|()| follow(args, &coordinator, &mut output, &waiter));
    conclude(&coordinator, &mut output, result)
}

fn follow(
    args: &Args,
    coordinator: &Coordinator,
    output: &mut Output,
    waiter: &Waiter,
) -> io::Result<()> {
    let over = args.duration.map_or_else(never, after);
    args.duration.into_iter().for_each(end_at_last);
    let mut running = coordinator.statuses().len();
    let mut order: Order<Option<LinkId>, Event> = Order::new();
    let told = loop {
        if running == 0 {
            break Ok(());
        }
        let due = order.due().into_iter().chain(output.due()).min();
        let due = due.map_or_else(never, at);
        select! {
            recv(coordinator.events()) -> event => {
                let Ok(event) = event else { break Ok(()) };
                match event.kind() {
                    EventKind::Ended => running -= 1,
                    // Events of an end may be among the lost ones.
                    EventKind::Overflowed { .. } => running = still_running(coordinator),
                    _ => {}
                }
                order.push(event.link(), event.time(), event, Instant::now());
            }
            recv(due) -> _ => {}
            recv(waiter.asked()) -> _ => break Ok(()),
            recv(over) -> _ => break Ok(()),
        }
        let ripe = order.take(Instant::now(), false);
        let told = ripe.iter().try_for_each(|event| output.event(event));
        if let Err(error) = told.and_then(|()| output.tick(|| coordinator.statuses())) {
            break Err(error);
        }
    };
    let rest = order.take(Instant::now(), true);
    told.and_then(|()| rest.iter().try_for_each(|event| output.event(event)))
}

/// How many links run, or have their end still in the queue.
fn still_running(coordinator: &Coordinator) -> usize {
    coordinator.statuses().iter().filter(|status| !status.ended).count()
}

/// Ends every link, then writes the remaining events and the summary. True if every target was
/// alive until then.
///
/// # Errors
///
/// Standard output failed. A closed pipe is not an error.
pub fn conclude(
    coordinator: &Coordinator,
    output: &mut Output,
    before: io::Result<()>,
) -> Result<bool, String> {
    let before_stop = coordinator.statuses();
    let _ = coordinator.stop(); // the log names a thread left behind
    let mut statuses = coordinator.statuses();
    for (status, before) in statuses.iter_mut().zip(before_stop) {
        // The summary says why a target was down before, not that it was stopped.
        if status.loss.as_ref().is_some_and(|loss| loss.cause == Cause::Stopped) {
            (status.loss, status.diagnosis) = (before.loss, before.diagnosis);
        }
    }
    let result = before.and_then(|()| {
        let mut order: Order<Option<LinkId>, Event> = Order::new();
        for event in coordinator.events().iter() {
            order.push(event.link(), event.time(), event, Instant::now());
        }
        order.take(Instant::now(), true).iter().try_for_each(|event| output.event(event))?;
        output.summary(&statuses)
    });
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(statuses.iter().all(|status| status.state.is_alive())),
    }
}
