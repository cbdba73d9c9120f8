//! A real nginx: its announced ends are renewed, its idle limit is told at once.

use std::time::Duration;

use keepbeat::{
    Cause, Confidence, Coordinator, EventKind, Heartbeat, Http, Protocol, Redis, State, Target,
};
use libtest_mimic::Trial;

use crate::redis::down;
use crate::server::{LIMIT, Nginx, ms, program, tutorial, wait, wait_state};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("nginx", "nginx-light");
    vec![
        trial("nginx_that_ends_every_fifth_request_is_never_down", need(), renewals),
        trial("nginx_under_another_scheme_is_known_by_its_answer", need(), other_scheme),
        trial("nginx_that_closes_idle_connections_is_told_within_a_second", need(), idle_limit),
        trial("nginx_that_closes_idle_connections_again_is_told_with_its_limit", need(), learnt),
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

fn idle_limit() {
    let (_nginx, target) = nginx("keepalive_timeout 1s;");
    let coordinator = Coordinator::new().unwrap();
    let http = Http::for_target(&target).unwrap();
    let beat = Heartbeat::every(Duration::from_secs(3)).timeout(ms(2000));
    coordinator.watch(target, beat, http).unwrap();
    let events = coordinator.events();
    wait_state(events, State::Up);
    // The second beat is spread over the interval, so it may come before the limit and move it: the
    // last ack is the one that counts.
    let mut acked = std::time::SystemTime::now();
    let down = loop {
        let event = events.recv_timeout(LIMIT).unwrap();
        match event.kind() {
            EventKind::Beat { .. } => acked = event.time(),
            EventKind::State { to: State::Down, .. } => break event,
            _ => {}
        }
    };
    assert_eq!(down.kind().cause(), Some(Cause::ClosedByPeer), "{down}");
    let idle = down.time().duration_since(acked).unwrap();
    assert!((ms(900)..ms(2000)).contains(&idle), "{idle:?} after its last answer");
}

fn learnt() {
    let (server, target) = nginx("keepalive_timeout 1s;");
    let coordinator = Coordinator::new().unwrap();
    let http = Http::for_target(&target).unwrap();
    let rarely = Heartbeat::every(ms(600_000)).timeout(ms(5000)).backoff(ms(20), ms(50));
    coordinator.watch(target, rarely, http).unwrap();
    let events = coordinator.events();
    let told = [down(events), down(events), down(events)];
    let sure: Vec<_> = told.iter().map(|told| (told.cause(), told.confidence())).collect();
    let expected = [
        (Cause::ClosedByPeer, Confidence::Certain),
        (Cause::IdleClosed, Confidence::Likely),
        (Cause::IdleClosed, Confidence::Certain),
    ];
    assert_eq!(sure, expected, "{told:#?}");
    assert_eq!(told[0].alternatives(), [Cause::IdleClosed]);
    assert!(told[2].detail().contains("s idle, for the third time"), "{}", told[2]);
    let closes = format!("{} closes connections that are idle for 1.", server.address);
    assert!(told[2].advice().contains(&closes), "{}", told[2]);
}
