//! A real HAProxy in front, with short timeouts: beats keep the connection, silence loses it, and a
//! dead backend is not hidden for long.

use std::process::Command;

use keepbeat::{Cause, Coordinator, EventKind, Heartbeat, Responder, State};
use libtest_mimic::Trial;

use crate::server::{
    Server, Settings, answering, free_port, ms, program, tutorial, wait, wait_state,
};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("haproxy", "haproxy");
    vec![
        trial("haproxy_with_short_timeouts_keeps_those_that_beat", need(), short_timeouts),
        trial("haproxy_that_hides_a_dead_backend_does_not_make_it_up", need(), dead_backend),
    ]
}

fn haproxy(backend: u16) -> (Server, Settings) {
    let port = free_port();
    let settings = Settings::new(
        &format!("haproxy-{port}.cfg"),
        &format!(
            "defaults\n  mode tcp\n  timeout connect 500ms\n  timeout client 1s\n  \
             timeout server 1s\nlisten kb\n  bind 127.0.0.1:{port}\n  \
             server one 127.0.0.1:{backend}\n"
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

fn dead_backend() {
    let responder = Responder::bind("127.0.0.1:0", answering).unwrap();
    let backend = responder.local_addr();
    let (proxy, _settings) = haproxy(backend.port());
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(300)).timeout(ms(3000)).backoff(ms(50), ms(200));
    let link = coordinator.watch(proxy.address, beat, tutorial()).unwrap();
    wait_state(coordinator.events(), State::Up);
    responder.stop();
    wait_state(coordinator.events(), State::Down);
    // It connects, to the proxy, and yet is not Up.
    for _ in 0..3 {
        wait(coordinator.events(), "connection to the proxy", |kind| {
            matches!(kind, EventKind::Connected { .. })
        });
        assert_eq!(coordinator.status(link).unwrap().state, State::Down);
    }
    let _again = Responder::bind(backend, answering).unwrap();
    wait_state(coordinator.events(), State::Up);
}
