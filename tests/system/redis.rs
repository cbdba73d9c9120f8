//! A real Redis: answered, frozen, killed, restarted, closing idle clients, asking for a password.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;
use keepbeat::{
    Cause, Confidence, Coordinator, Diagnose, Diagnosis, Event, EventKind, Heartbeat, LinkId,
    Redis, State,
};
use libtest_mimic::Trial;

use crate::server::{LIMIT, Server, eventually, free_port, ms, program, wait, wait_state};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("redis-server", "redis-server");
    vec![
        trial("redis_answers_pings_of_both_kinds", need(), answers),
        trial("redis_frozen_is_suspect_then_down_and_comes_back", need(), frozen),
        trial("redis_paused_is_silent_and_other_connections_narrow_it_down", need(), paused),
        trial("redis_killed_is_known_at_once_and_its_restart_too", need(), killed),
        trial("redis_that_closes_idle_clients_keeps_those_that_beat", need(), idle),
        trial("redis_that_closes_idle_clients_again_is_told_with_its_limit", need(), idle_limit),
        trial("redis_with_a_password_is_told_as_what_it_is", need(), password),
        trial("redis_with_another_password_is_down_for_that_now", need(), another_password),
        trial("redis_killed_is_told_by_the_example_binary", need(), killed_by_the_binary),
    ]
}

pub fn redis_on(port: u16, more: &[&str]) -> Server {
    let port_text = port.to_string();
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(more);
    Server::start(&mut command, port)
}

pub fn redis(more: &[&str]) -> Server {
    redis_on(free_port(), more)
}

pub fn quick() -> Heartbeat {
    Heartbeat::every(ms(300)).timeout(ms(300)).fall(3).backoff(ms(50), ms(200))
}

pub fn watch(server: &Server, beat: Heartbeat, protocol: Redis) -> (Coordinator, LinkId) {
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.watch(server.address, beat, protocol).unwrap();
    (coordinator, link)
}

fn down_with(coordinator: &Coordinator) -> (Cause, String) {
    match wait_state(coordinator.events(), State::Down).kind() {
        EventKind::State { loss: Some(loss), .. } => (loss.cause, loss.detail.clone()),
        other => panic!("Down without a cause: {other:?}"),
    }
}

/// What is told of the next fall.
pub fn down(events: &Receiver<Event>) -> Arc<Diagnosis> {
    let event = wait_state(events, State::Down);
    let told = event.kind().diagnosis().unwrap_or_else(|| panic!("no diagnosis: {event}"));
    Arc::clone(told)
}

fn answers() {
    let server = redis(&[]);
    for protocol in [Redis::new(), Redis::new().inline()] {
        let beat = Heartbeat::every(ms(20)).timeout(ms(5000));
        let (coordinator, link) = watch(&server, beat, protocol);
        for _ in 0..50 {
            wait(coordinator.events(), "beat", |kind| matches!(kind, EventKind::Beat { .. }));
        }
        let status = coordinator.status(link).unwrap();
        assert_eq!((status.state, status.missed, status.reconnects), (State::Up, 0, 0));
    }
}

fn frozen() {
    let server = redis(&[]);
    let (coordinator, link) = watch(&server, quick(), Redis::new());
    wait_state(coordinator.events(), State::Up);
    server.freeze();
    wait_state(coordinator.events(), State::Suspect);
    let told = down(coordinator.events());
    let sure = (told.cause(), told.confidence());
    assert_eq!(sure, (Cause::PeerSilent, Confidence::Likely), "{told}");
    // From this end a full queue, a single session and lost replies would look the same.
    for fits in [Cause::AcceptQueueFull, Cause::ConversationSilent, Cause::RepliesFiltered] {
        assert!(told.alternatives().contains(&fits), "{told}");
    }
    let advice = format!("look at the process behind {}", server.address);
    assert!(told.advice().contains(&advice), "{told}");
    // Its kernel still accepts: a connection alone is no Up.
    wait(coordinator.events(), "connection to the frozen process", |kind| {
        matches!(kind, EventKind::Connected { .. })
    });
    server.signal(libc::SIGCONT);
    wait_state(coordinator.events(), State::Up);
    let status = coordinator.status(link).unwrap();
    assert_eq!((status.diagnosis, status.loss), (None, None));
}

/// It reads, and keeps its answers to itself for three seconds.
fn paused() {
    for how in [Diagnose::kernel(), Diagnose::side_connections()] {
        let server = redis(&[]);
        let beat = quick().diagnose(how);
        let (coordinator, link) = watch(&server, beat, Redis::new());
        wait_state(coordinator.events(), State::Up);
        let mut admin = std::net::TcpStream::connect(server.address).unwrap();
        admin.write_all(b"CLIENT PAUSE 3000 ALL\r\n").unwrap();
        let told = down(coordinator.events());
        let sure = (told.cause(), told.confidence());
        assert_eq!(sure, (Cause::PeerSilent, Confidence::Likely), "{told}");
        assert!(told.alternatives().contains(&Cause::RepliesFiltered), "{told}");
        if how == Diagnose::side_connections() {
            let narrowed = || {
                let told = coordinator.status(link).unwrap().diagnosis.unwrap();
                told.cause() == Cause::PeerSilent
                    && !told.alternatives().contains(&Cause::ConversationSilent)
                    && !told.alternatives().contains(&Cause::AcceptQueueFull)
            };
            eventually("a fresh connection, accepted and not answered", narrowed);
        }
        wait_state(coordinator.events(), State::Up);
        assert!(coordinator.status(link).unwrap().diagnosis.is_none());
    }
}

fn killed() {
    let mut server = redis(&[]);
    let port = server.address.port();
    let minute = Heartbeat::every(ms(60_000)).timeout(ms(5000)).backoff(ms(50), ms(200));
    let (coordinator, link) = watch(&server, minute, Redis::new());
    wait_state(coordinator.events(), State::Up);
    let start = Instant::now();
    server.kill();
    let (cause, _) = down_with(&coordinator);
    assert!(matches!(cause, Cause::ClosedByPeer | Cause::Reset), "{cause}");
    // By the next beat it would have taken half a minute.
    assert!(start.elapsed() < LIMIT / 10, "{:?}", start.elapsed());
    let refused = wait(coordinator.events(), "refusal", |kind| {
        kind.diagnosis().is_some_and(|told| told.cause() == Cause::Refused)
    });
    let told = refused.kind().diagnosis().unwrap();
    assert_eq!((told.confidence(), told.alternatives().len()), (Confidence::Certain, 0), "{told}");
    assert!(told.advice().contains(&format!("start what should listen on {}", server.address)));
    let _again = redis_on(port, &[]);
    wait_state(coordinator.events(), State::Up);
    assert!(coordinator.status(link).unwrap().diagnosis.is_none());
}

fn idle() {
    let server = redis(&["--timeout", "1"]);
    let often = Heartbeat::every(ms(400)).timeout(ms(5000));
    let rarely = Heartbeat::every(ms(600_000)).timeout(ms(5000));
    let coordinator = Coordinator::new().unwrap();
    let kept = coordinator.watch(server.address, often, Redis::new()).unwrap();
    let closed = coordinator.watch(server.address, rarely, Redis::new()).unwrap();
    let down = wait_state(coordinator.events(), State::Down);
    assert_eq!(down.link(), Some(closed));
    assert_eq!(down.kind().cause(), Some(Cause::ClosedByPeer));
    let status = coordinator.status(kept).unwrap();
    assert_eq!((status.state, status.missed, status.reconnects), (State::Up, 0, 0));
    assert!(status.acked >= 3, "its beats crossed the idle limit");
}

/// Redis counts in whole seconds, so its limit of two comes out as two to four. Such an end is told
/// as it comes the first time; from the second on it is known, and costs no state.
fn idle_limit() {
    let server = redis(&["--timeout", "2"]);
    let rarely = Heartbeat::every(ms(600_000)).timeout(ms(5000)).backoff(ms(20), ms(50));
    let (coordinator, link) = watch(&server, rarely, Redis::new());
    let first = down(coordinator.events());
    let sure = (first.cause(), first.confidence());
    assert_eq!(sure, (Cause::ClosedByPeer, Confidence::Certain), "{first}");
    assert_eq!(first.alternatives(), [Cause::IdleClosed], "{first}");
    let told =
        wait(coordinator.events(), "the rule", |kind| matches!(kind, EventKind::Diagnosed { .. }));
    let told = told.kind().diagnosis().unwrap();
    assert!(told.alternatives().contains(&Cause::IdleClosed), "{told}");
    assert!(told.detail().contains("for the second time"), "{told}");
    assert!(told.advice().contains("nothing is lost"), "{told}");
    for _ in 0..2 {
        let next = wait(coordinator.events(), "an end", |kind| kind.cause().is_some());
        assert!(
            matches!(next.kind(), EventKind::Disconnected { expected: true, .. }),
            "known by now: {next}"
        );
    }
    let status = coordinator.status(link).unwrap();
    assert_eq!((status.state, status.missed), (State::Up, 0), "{status:?}");
}

/// After a restart with another password: why it is down now is told, not why it fell.
fn another_password() {
    let mut server = redis(&["--requirepass", "s3cret"]);
    let port = server.address.port();
    let often = quick().backoff(ms(20), ms(50));
    let (coordinator, link) = watch(&server, often, Redis::new().password("s3cret"));
    wait_state(coordinator.events(), State::Up);
    server.kill();
    let _again = redis_on(port, &["--requirepass", "other"]);
    eventually("the refused login in the status", || {
        let status = coordinator.status(link).unwrap();
        status.loss.is_some_and(|loss| loss.cause == Cause::LoginRefused)
    });
    let status = coordinator.status(link).unwrap();
    let (loss, why) = (status.loss.unwrap(), status.diagnosis.unwrap());
    assert_eq!((status.state, why.cause()), (State::Down, Cause::LoginRefused));
    assert!(loss.detail.contains("-WRONGPASS"), "{loss}");
    assert!(why.detail().contains("-WRONGPASS"), "{why}");
}

fn password() {
    let users = "--requirepass s3cret --user bob on >b0bs ~* +ping";
    let server = redis(&users.split(' ').collect::<Vec<_>>());
    let refused =
        [Redis::new(), Redis::new().password("wrong"), Redis::new().user("x").password("y")];
    for protocol in refused {
        let (coordinator, _) = watch(&server, quick(), protocol);
        let (cause, detail) = down_with(&coordinator);
        assert_eq!(cause, Cause::LoginRefused, "{detail}");
        assert!(detail.contains("-NOAUTH") || detail.contains("-WRONGPASS"), "{detail}");
    }
    let accepted = [Redis::new().password("s3cret"), Redis::new().user("bob").password("b0bs")];
    for protocol in accepted {
        let (coordinator, _) = watch(&server, quick(), protocol);
        wait_state(coordinator.events(), State::Up);
    }
}

fn killed_by_the_binary() {
    let mut server = redis(&[]);
    let target = format!("cache=redis://{}", server.address);
    let binary = example("keepbeat");
    let mut child = Command::new(&binary)
        .args([&target, "--interval", "60s", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{}: {error}: cargo build --example keepbeat", binary.display())
        });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next_state = |to: &str| {
        let state = lines.by_ref().map(|line| line.unwrap()).find_map(|line| {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            (value["event"] == "state" && value["to"] == to).then_some(value)
        });
        state.unwrap_or_else(|| panic!("it ended without a line that says {to}"))
    };
    next_state("up");
    let start = Instant::now();
    server.kill();
    let down = next_state("down");
    assert!(start.elapsed() < LIMIT / 10, "{:?}", start.elapsed());
    assert_eq!((&down["name"], &down["from"]), (&"cache".into(), &"up".into()));
    assert!(down["cause"] == "closed-by-peer" || down["cause"] == "reset", "{down}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The example binary that `cargo test` has built beside this test.
pub fn example(name: &str) -> std::path::PathBuf {
    let itself = std::env::current_exe().unwrap();
    itself.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}
