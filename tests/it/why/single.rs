//! A device that serves one client: a second connection of ours disturbs it once in its life at
//! most, and what comes of that is told as our own doing.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::peer::{ACK, Peer, Visit};

use super::*;

/// What it does with a second client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// It turns to the second one, and ends the first: in good order, by a reset, or not at all.
    Closes,
    Resets,
    Forgets,
    /// It stays with the first one, and ends the second, or lets it wait for good.
    Refuses,
    Ignores,
    /// It thinks, and then serves them both.
    ServesBoth,
}

/// Each fourth answer takes so long.
const THINKS: Duration = Duration::from_millis(900);

struct Device {
    manner: Manner,
    /// The number of the one that is served.
    client: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Device {
    fn start(manner: Manner) -> Peer {
        let (client, changed) = (Mutex::new(None), Condvar::new());
        let device = Arc::new(Device { manner, client, changed });
        Peer::new(move |visit| device.serve(visit))
    }

    fn serve(&self, mut visit: Visit) -> io::Result<()> {
        if !self.turns_to(visit.nth) {
            // The second one, while the first is there.
            return if self.manner == Manner::Refuses { Ok(()) } else { visit.swallow() };
        }
        let served = self.answer(&mut visit);
        let mut client = self.client.lock().unwrap();
        if *client == Some(visit.nth) {
            *client = None;
        }
        drop(client);
        match (self.manner, served) {
            (Manner::Resets, Ok(())) => visit.reset(),
            (Manner::Forgets, Ok(())) => visit.swallow(),
            (_, served) => served,
        }
    }

    fn turns_to(&self, nth: usize) -> bool {
        let mut client = self.client.lock().unwrap();
        let stays = matches!(self.manner, Manner::Refuses | Manner::Ignores);
        if client.is_some() && stays {
            return false;
        }
        *client = Some(nth);
        self.changed.notify_all();
        true
    }

    /// Answers until another one is served in its place.
    fn answer(&self, visit: &mut Visit) -> io::Result<()> {
        for beat in 1.. {
            visit.beat()?;
            if beat % 4 == 0 && self.thinks(visit.nth) {
                return Ok(());
            }
            visit.say(ACK)?;
        }
        Ok(())
    }

    /// Whether it has turned to another one meanwhile.
    fn thinks(&self, nth: usize) -> bool {
        let until = Instant::now() + THINKS;
        let mut client = self.client.lock().unwrap();
        while self.manner == Manner::ServesBoth || *client == Some(nth) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            client = self.changed.wait_timeout(client, left).unwrap().0;
        }
        true
    }
}

/// Beats whose answers are waited for, one by one, past all that the device thinks.
fn patient() -> Heartbeat {
    let beat = Heartbeat::every(ms(100)).timeout(ms(300)).fall(20).backoff(ms(20), ms(50));
    beat.diagnose(Diagnose::side_connections())
}

/// Lives with the device until it has thought some more times after the first disturbance.
fn live_with(manner: Manner) -> (Watch, usize) {
    let device = Device::start(manner);
    let mut watch = Watch::new(device.address, patient(), tutorial());
    watch.wait_state(State::Up);
    for _ in 0..4 {
        watch.wait_state(State::Suspect);
        watch.wait_state(State::Up);
    }
    let connects = watch.seen.iter();
    let is_connect = |kind: &EventKind| matches!(kind, EventKind::Connected { .. });
    let connects = connects.filter(|event| is_connect(event.kind())).count();
    let disturbed = device.visits() - connects;
    (watch, disturbed)
}

/// All that was told as more than possible.
fn accused(watch: &Watch) -> Vec<Cause> {
    let sure = told(watch).into_iter().filter(|told| told.confidence() >= Confidence::Likely);
    sure.map(|told| told.cause()).collect()
}

/// The causes that it fell by.
fn falls_by(watch: &Watch) -> Vec<Cause> {
    let of = |kind: &EventKind| match kind {
        EventKind::State { to: State::Down, loss, .. } => loss.as_ref().map(|loss| loss.cause),
        _ => None,
    };
    watch.seen.iter().filter_map(|event| of(event.kind())).collect()
}

#[test]
fn a_device_that_turns_to_the_second_client_is_told_as_one_and_disturbed_once() {
    for manner in [Manner::Closes, Manner::Resets] {
        let (watch, disturbed) = live_with(manner);
        assert_eq!(disturbed, 1, "{manner:?}: {:#?}", watch.seen);
        assert_eq!(falls_by(&watch), [Cause::SingleClient], "{manner:?}: {:#?}", watch.seen);
        let accused = accused(&watch);
        let ours = |cause: &Cause| matches!(cause, Cause::SingleClient | Cause::PeerSilent);
        assert!(accused.iter().all(ours), "{manner:?}: {accused:?}");
    }
}

#[test]
fn a_device_that_forgets_its_first_client_for_ours_is_told_as_one_and_disturbed_once() {
    let (watch, disturbed) = live_with(Manner::Forgets);
    assert_eq!(disturbed, 1, "{:#?}", watch.seen);
    let sure = told(&watch).into_iter().find(|told| told.confidence() >= Confidence::Likely);
    let sure = sure.expect("it is told");
    let allows =
        sure.cause() == Cause::SingleClient || sure.alternatives().contains(&Cause::SingleClient);
    assert!(allows, "{sure}\n{:#?}", watch.seen);
}

#[test]
fn a_device_that_stays_with_its_client_is_no_more_than_silent_and_asked_once() {
    for manner in [Manner::Refuses, Manner::Ignores] {
        let (watch, disturbed) = live_with(manner);
        assert!(disturbed <= 1, "{manner:?}: {disturbed} times: {:#?}", watch.seen);
        assert_eq!(falls_by(&watch), [], "{manner:?}");
        let accused = accused(&watch);
        assert!(accused.iter().all(|cause| *cause == Cause::PeerSilent), "{manner:?}: {accused:?}");
    }
}

#[test]
fn a_device_that_serves_both_in_the_end_is_asked_again_the_next_time() {
    let (watch, disturbed) = live_with(Manner::ServesBoth);
    assert!(disturbed > 1, "{:#?}", watch.seen);
    assert_eq!(falls_by(&watch), []);
    let accused = accused(&watch);
    assert!(accused.iter().all(|cause| *cause == Cause::PeerSilent), "{accused:?}");
}
