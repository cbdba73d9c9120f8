//! A firewall that forgets idle connections: those live that have beats enough, and of those that
//! die it is told why.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};
use keepbeat::{
    Cause, Confidence, Coordinator, Diagnosis, Event, EventKind, Framed, Heartbeat, State,
};

use crate::case::Case;
use crate::net::{Lab, SERVER};
use crate::server::LINES;
use crate::watching::{
    LIMIT, TIMEOUT, TIMES, Watched, beat as often, ms, number, protocol, with_side,
};
use crate::{Test, recording};

pub const TESTS: &[Test] = &[
    ("behind_a_firewall_that_forgets_connections_live_by_their_beats", forgets),
    ("behind_a_firewall_that_forgets_an_observed_connection_lives", observed_lives),
    ("a_dropped_path_is_told_of_an_observed_connection", dropped),
    ("a_forgotten_flow_is_told_with_the_pause_and_beats_prevent_it", forgotten),
];

/// Beats too seldom for it die, and are told why; the others live.
fn forgotten() {
    let _lab = Lab::that_forgets_after(1);
    let address = format!("{SERVER}:7000");
    let begun = SystemTime::now();
    let mut living: Vec<_> =
        (0..TIMES).map(|_| Watched::new(&address, often(), protocol)).collect();
    let seldom = Heartbeat::every(ms(3500)).timeout(TIMEOUT).fall(2);
    let side = (0..TIMES).map(|_| with_side(seldom.clone()));
    let kernel = (0..2).map(|_| seldom.clone());
    let mut dying: Vec<_> =
        side.chain(kernel).map(|beat| Watched::new(&address, beat, protocol)).collect();
    dying.iter_mut().for_each(|link| link.up(1));
    let beside = &[Cause::FlowDropped];
    let case = Case { beside, ..Case::new("flow-forgotten", Cause::FlowForgotten) };
    for link in &mut dying {
        case.follow(link);
        let is_sure = |told: &Diagnosis| {
            told.cause() == Cause::FlowForgotten && told.confidence() >= Confidence::Likely
        };
        if !link.diagnoses().iter().any(|(_, told)| is_sure(told)) {
            // The next one lives, and the old one tries once more in vain.
            link.until("flow-forgotten", |event, _| {
                event.kind().diagnosis().is_some_and(|d| is_sure(d))
            });
        }
        let took = case.judge(link, begun);
        // As long as the old one takes to try again.
        assert!(took.is_none_or(|took| took <= 8 * TIMEOUT), "{took:?}");
        let (_, last) = link.diagnoses().pop().unwrap();
        assert_eq!(last.cause(), Cause::FlowForgotten, "{last}");
        let idle = number(&last, "idle_us").map(Duration::from_micros).unwrap();
        // The firewall may have seen the last packet a little sooner than we.
        assert!((ms(1500)..ms(4500)).contains(&idle), "{last}");
        assert!(last.detail().contains("it had been idle for"), "{last}");
        assert!(last.advice().contains("beat more often"), "{last}");
    }
    let (_, last) = dying[0].diagnoses().pop().unwrap();
    println!("{last}");
    recording::record("flow-forgotten", &last);
    for link in &mut living {
        link.up(1);
        let status = link.status();
        assert_eq!((status.missed, status.reconnects), (0, 0), "{status:?}");
    }
}

fn dial() -> TcpStream {
    TcpStream::connect((SERVER, LINES)).unwrap()
}

/// Reads events up to the first that is wanted.
fn wait(events: &Receiver<Event>, what: &str, wanted: impl Fn(&EventKind) -> bool) -> Event {
    let deadline = Instant::now() + LIMIT;
    loop {
        let event = events.recv_deadline(deadline);
        let event = event.unwrap_or_else(|_| panic!("no {what} within {LIMIT:?}"));
        if wanted(event.kind()) {
            return event;
        }
    }
}

fn wait_state(events: &Receiver<Event>, state: State) -> Event {
    wait(events, state.word(), |kind| matches!(kind, EventKind::State { to, .. } if *to == state))
}

fn lines() -> Framed {
    Framed::lines("PING", "PONG").unwrap()
}

/// One beat at once in any case; more of them often, or in an hour.
fn beat(often: bool) -> Heartbeat {
    Heartbeat::every(if often { ms(400) } else { ms(3_600_000) }).timeout(ms(10_000))
}

/// How long an answer may take, where the path lives.
const ANSWER: Duration = Duration::from_secs(2);

/// Whether an adopted connection still carries data after a silence of the application.
fn adopted(often: bool, silence: Duration) -> bool {
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.adopt(dial(), beat(often), lines()).unwrap();
    wait_state(coordinator.events(), State::Up);
    thread::sleep(silence); // what is to be survived
    link.send("data").unwrap();
    let lives = link.frames().recv_timeout(ANSWER).is_ok();
    assert!(!often || link.status().missed == 0, "{:?}", link.status());
    lives
}

/// The same, where the application keeps reader and transport.
fn followed(often: bool, silence: Duration) -> bool {
    let stream = dial();
    let out = Arc::new(Mutex::new(stream.try_clone().unwrap()));
    let coordinator = Coordinator::new().unwrap();
    let beats = Arc::clone(&out);
    let send = move |bytes: &[u8]| beats.lock().unwrap().write_all(bytes);
    let follower = coordinator.follow(beat(often), lines(), send).unwrap();
    let (told, data) = bounded(16);
    let mut reader = stream.try_clone().unwrap();
    let heard = follower.clone();
    thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok(n @ 1..) = reader.read(&mut bytes) {
            heard.heard(&bytes[..n]).unwrap();
            if bytes[..n].windows(4).any(|window| window == b"data") {
                told.send(()).unwrap();
            }
        }
    });
    wait_state(coordinator.events(), State::Up);
    thread::sleep(silence); // what is to be survived
    out.lock().unwrap().write_all(b"data\n").unwrap();
    let lives = data.recv_timeout(ANSWER).is_ok();
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    lives
}

/// The same, where it keeps the whole socket; what goes over the wire are the kernel's probes.
fn observed(observe: bool, silence: Duration) -> bool {
    let mut stream = dial();
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(2000)).timeout(ms(1000));
    let observed = observe.then(|| coordinator.observe(&stream, beat).unwrap());
    thread::sleep(silence); // what is to be survived
    stream.write_all(b"data\n").unwrap();
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    let lives = stream.read_exact(&mut [0; 5]).is_ok();
    if let Some(observed) = observed {
        assert_eq!((observed.status().state, observed.status().missed), (State::Up, 0));
    }
    lives
}

/// Behind a firewall that forgets after one second.
fn forgets() {
    let _lab = Lab::that_forgets_after(1);
    let silence = ms(3500);
    thread::scope(|scope| {
        for often in [true, false] {
            scope.spawn(move || {
                assert_eq!(adopted(often, silence), often, "adopted, with beats: {often}");
            });
            scope.spawn(move || {
                assert_eq!(followed(often, silence), often, "followed, with beats: {often}");
            });
        }
    });
}

/// Behind one that forgets after three: the kernel counts in seconds.
fn observed_lives() {
    let _lab = Lab::that_forgets_after(3);
    thread::scope(|scope| {
        for observe in [true, false] {
            scope.spawn(move || {
                assert_eq!(observed(observe, ms(7000)), observe, "observed: {observe}");
            });
        }
    });
}

/// The path is dropped, while the application sits in a blocking read; later it heals.
fn dropped() {
    let lab = Lab::that_forgets_after(3600);
    let stream = dial();
    let coordinator = Coordinator::new().unwrap();
    let (interval, fall) = (ms(2000), 3);
    let beat = Heartbeat::every(interval).timeout(ms(1000)).fall(fall);
    let observed = coordinator.observe(&stream, beat).unwrap();
    let reading = thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        move || stream.read(&mut [0; 5])
    });
    wait_state(coordinator.events(), State::Up);
    lab.rule("drop");
    let start = Instant::now();
    wait_state(coordinator.events(), State::Suspect);
    let down = wait_state(coordinator.events(), State::Down);
    let took = start.elapsed();
    // The last sign of life may be an interval old, or none; the rest is a noisy machine.
    assert!(took < interval * fall + ms(1500), "{took:?}");
    let EventKind::State { loss: Some(loss), .. } = down.kind() else { panic!("{down}") };
    assert!(loss.detail.contains("probe"), "{loss}");
    assert!(!reading.is_finished(), "the application sits in its read");
    lab.heal();
    wait_state(coordinator.events(), State::Up);
    observed.stop().unwrap();
    let ended = |kind: &EventKind| matches!(kind, EventKind::Ended);
    wait(coordinator.events(), "the end", ended);
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), 0);
}
