//! A real nginx: its ends are renewed, announced or not, and its death is told at once.

use std::time::Duration;

use keepbeat::{
    Cause, Confidence, Coordinator, EventKind, Heartbeat, Http, Protocol, Redis, State, Target,
};
use libtest_mimic::Trial;

use crate::redis::down;
use crate::server::{Nginx, ms, program, tutorial, wait, wait_state};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("nginx", "nginx-light");
    vec![
        trial("nginx_that_ends_every_fifth_request_is_never_down", need(), renewals),
        trial("nginx_under_another_scheme_is_known_by_its_answer", need(), other_scheme),
        trial("nginx_that_closes_idle_connections_is_never_down", need(), idle_limit),
        trial("nginx_that_dies_is_told_at_once_and_a_reload_is_not", need(), killed),
    ]
}

/// Answers `ok`, with these settings of its connections.
fn nginx(settings: &str) -> (Nginx, Target) {
    let answer = "location / { return 200 \"ok\"; }";
    let nginx = Nginx::start(&format!("{settings} server {{ listen 127.0.0.1:PORT; {answer} }}"));
    let target = Target::new(&nginx.url("/health")).unwrap();
    (nginx, target)
}

fn renewals() {
    let (_nginx, target) = nginx("keepalive_requests 5;");
    let coordinator = Coordinator::new().unwrap();
    let http = Http::for_target(&target).unwrap().expect_body("ok").unwrap();
    let beat = Heartbeat::every(ms(20)).timeout(ms(5000));
    let link = coordinator.watch(target, beat, http).unwrap();
    let mut renewed = 0;
    while renewed < 10 {
        let event = wait(coordinator.events(), "renewal", |kind| kind.cause().is_some());
        assert_eq!(event.kind().cause(), Some(Cause::Renewed), "{event}");
        renewed += 1;
    }
    let status = coordinator.status(link).unwrap();
    assert_eq!((status.state, status.missed), (State::Up, 0));
    assert!(status.acked >= 50 && status.sent - status.acked <= 1, "{status:?}");
}

fn other_scheme() {
    let (_nginx, target) = nginx("");
    let place = format!("{}:{}", target.host(), target.port());
    let coordinator = Coordinator::new().unwrap();
    let protocols: [Box<dyn Protocol>; 2] = [Box::new(tutorial()), Box::new(Redis::new())];
    for protocol in protocols {
        coordinator.watch(place.as_str(), Heartbeat::default(), protocol).unwrap();
        let told = down(coordinator.events());
        assert_eq!((told.cause(), told.confidence()), (Cause::WrongReply, Confidence::Certain));
        assert!(told.detail().starts_with("it is an HTTP server: "), "{told}");
        assert!(told.advice().contains(&format!("`keepbeat http://{place}/`")), "{told}");
    }
}

/// A server that dies is told at once, though no beat is due: its end alone is none.
fn killed() {
    let (mut server, target) = nginx("");
    let coordinator = Coordinator::new().unwrap();
    let http = Http::for_target(&target).unwrap();
    let rarely = Heartbeat::every(ms(600_000)).timeout(ms(5000));
    let link = coordinator.watch(target, rarely, http).unwrap();
    wait_state(coordinator.events(), State::Up);
    server.reload();
    let renewed = wait(coordinator.events(), "its end", |kind| kind.cause().is_some());
    assert_eq!(renewed.kind().cause(), Some(Cause::Renewed), "a reload harms nobody: {renewed}");
    wait(coordinator.events(), "a check", |kind| matches!(kind, EventKind::Connected { .. }));
    assert_eq!(coordinator.status(link).unwrap().state, State::Up);
    server.stop();
    let down = wait_state(coordinator.events(), State::Down);
    assert_eq!(down.kind().cause(), Some(Cause::Refused), "{down}");
}

/// Where beats are rare the server ends each connection long before the next one.
fn idle_limit() {
    let (server, target) = nginx("keepalive_timeout 1s;");
    let coordinator = Coordinator::new().unwrap();
    let http = Http::for_target(&target).unwrap();
    let beat = Heartbeat::every(Duration::from_secs(3)).timeout(ms(5000)).jitter(0.0);
    let link = coordinator.watch(target, beat, http).unwrap();
    let mut renewed = 0;
    while renewed < 4 {
        let event = wait(coordinator.events(), "renewal", |kind| kind.cause().is_some());
        assert_eq!(event.kind().cause(), Some(Cause::Renewed), "{event}");
        renewed += 1;
    }
    let status = coordinator.status(link).unwrap();
    assert_eq!((status.state, status.missed), (State::Up, 0));
    // One look whether it still accepts, at the first end; from then on a connection for each beat.
    assert!(status.reconnects <= status.sent, "{status:?}");
    assert_eq!(server.requests().len() as u64, status.acked);
}
