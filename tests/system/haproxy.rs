//! A real HAProxy in front, with short timeouts: beats keep the connection, silence loses it, and a
//! dead backend is not hidden for long.

use std::net::TcpListener;
use std::process::Command;

use keepbeat::{
    Cause, Confidence, ConnectOnly, Coordinator, Diagnose, EventKind, Heartbeat, Responder, State,
};
use libtest_mimic::Trial;

use crate::redis::down;
use crate::server::{
    Server, Settings, answering, eventually, free_port, ms, program, tutorial, wait, wait_state,
};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("haproxy", "haproxy");
    vec![
        trial("haproxy_with_short_timeouts_keeps_those_that_beat", need(), short_timeouts),
        trial("haproxy_that_hides_a_dead_backend_does_not_make_it_up", need(), dead_backend),
        trial("haproxy_without_a_server_is_never_up_and_has_not_crashed", need(), no_server),
        trial("haproxy_that_waits_for_a_request_in_vain_says_so", need(), request_in_vain),
        trial("haproxy_before_a_hung_backend_answers_for_itself_alone", need(), hung_backend),
    ]
}

fn haproxy(backend: u16) -> (Server, Settings) {
    configured("tcp", &format!("server one 127.0.0.1:{backend}"))
}

/// In this mode, with this line for what is behind it.
fn configured(mode: &str, backend: &str) -> (Server, Settings) {
    let port = free_port();
    let settings = Settings::new(
        &format!("haproxy-{port}.cfg"),
        &format!(
            "defaults\n  mode {mode}\n  timeout connect 500ms\n  timeout client 1s\n  \
             timeout server 1s\nlisten kb\n  bind 127.0.0.1:{port}\n  {backend}\n"
        ),
    );
    let server = Server::start(Command::new("haproxy").arg("-f").arg(&settings.0), port);
    (server, settings)
}

fn short_timeouts() {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let (proxy, _settings) = haproxy(responder.local_addr().port());
    let coordinator = Coordinator::new().unwrap();
    let often = Heartbeat::every(ms(300)).timeout(ms(5000));
    let rarely = Heartbeat::every(ms(600_000)).timeout(ms(5000));
    let kept = coordinator.watch(proxy.address, often, tutorial()).unwrap();
    let lost = coordinator.watch(proxy.address, rarely, tutorial()).unwrap();
    let down = wait_state(coordinator.events(), State::Down);
    assert_eq!(down.link(), Some(lost));
    let cause = down.kind().cause().unwrap();
    assert!(matches!(cause, Cause::ClosedByPeer | Cause::Reset), "{cause}");
    // It was closed after a second of silence; the other one has beaten through that.
    let status = coordinator.status(kept).unwrap();
    assert_eq!((status.state, status.missed, status.reconnects), (State::Up, 0, 0));
    assert!(status.acked >= 3);
}

fn no_server() {
    let (proxy, _settings) = configured("tcp", "");
    let coordinator = Coordinator::new().unwrap();
    let beat = || Heartbeat::every(ms(300)).timeout(ms(5000)).backoff(ms(50), ms(100));
    let link = coordinator.watch(proxy.address, beat(), ConnectOnly).unwrap();
    let told = down(coordinator.events());
    assert_eq!((told.cause(), told.confidence()), (Cause::DroppedAtOnce, Confidence::Certain));
    assert!(told.advice().contains("without a living backend"), "{told}");
    assert!(!told.advice().contains("crash"), "{told}");
    for _ in 0..3 {
        wait(coordinator.events(), "end", |kind| matches!(kind, EventKind::Disconnected { .. }));
    }
    assert_eq!(coordinator.status(link).unwrap().acked, 0);
    coordinator.remove(link).unwrap();
    // The same where bytes are sent, once it was seen that they do not matter.
    let link = coordinator.watch(proxy.address, beat(), tutorial()).unwrap();
    eventually("dropped, whatever is sent", || {
        let told = coordinator.status(link).unwrap().diagnosis;
        told.is_some_and(|told| told.cause() == Cause::DroppedAtOnce)
    });
}

fn request_in_vain() {
    let (proxy, _settings) = configured("http", "timeout http-request 1s");
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(300)).timeout(ms(5000));
    coordinator.watch(proxy.address, beat, ConnectOnly).unwrap();
    let told = down(coordinator.events());
    assert_eq!(told.cause(), Cause::ClosedWithReason, "{told}");
    assert!(told.detail().contains("`HTTP/1.1 408 Request Time-out`"), "{told}");
    assert!(!told.advice().contains("beat more often"), "no byte is sent: {told}");
}

fn dead_backend() {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let backend = responder.local_addr();
    let (proxy, _settings) = haproxy(backend.port());
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(300)).timeout(ms(3000)).backoff(ms(50), ms(200));
    let link = coordinator.watch(proxy.address, beat, tutorial()).unwrap();
    wait_state(coordinator.events(), State::Up);
    responder.stop();
    let told = down(coordinator.events());
    // The proxy passes the end on. It is the proxy that is named, as the one that is talked to.
    assert!(matches!(told.cause(), Cause::ClosedByPeer | Cause::Reset), "{told}");
    assert_eq!(told.confidence(), Confidence::Certain, "{told}");
    // It connects, to the proxy, and yet is not Up.
    for _ in 0..3 {
        wait(coordinator.events(), "connection to the proxy", |kind| {
            matches!(kind, EventKind::Connected { .. })
        });
        let status = coordinator.status(link).unwrap();
        assert_eq!(status.state, State::Down);
        let told = status.diagnosis.unwrap();
        let ends = [Cause::ClosedByPeer, Cause::Reset];
        assert!(ends.contains(&told.cause()), "it accepts, and that proves nothing: {told}");
    }
    let _again = Responder::bind(backend, answering).unwrap();
    wait_state(coordinator.events(), State::Up);
}

/// The kernel that acknowledges and the port that accepts are the proxy's.
fn hung_backend() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap(); // its kernel accepts, nobody answers
    let (proxy, _settings) = haproxy(backend.local_addr().unwrap().port());
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(300)).timeout(ms(300)).fall(2).backoff(ms(600_000), ms(600_000));
    let beat = beat.diagnose(Diagnose::side_connections());
    let link = coordinator.watch(proxy.address, beat, tutorial()).unwrap();
    assert_eq!(down(coordinator.events()).cause(), Cause::PeerSilent);
    let told = || coordinator.status(link).unwrap().diagnosis.unwrap();
    let tried = || told().evidence().facts().iter().any(|(name, _)| *name == "fresh_beat");
    eventually("a fresh connection", tried);
    let told = told();
    // Neither the network nor a single session is accused of it.
    assert_eq!(
        (told.cause(), told.confidence()),
        (Cause::PeerSilent, Confidence::Likely),
        "{told}"
    );
    assert_eq!(told.alternatives(), [Cause::RepliesFiltered], "{told}");
}
