//! A real Redis that does not answer PING with PONG: full, busy, without the right, renamed,
//! loading; and what is told of each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use keepbeat::{Cause, Diagnosis, EventKind, Heartbeat, Redis, State};
use libtest_mimic::Trial;

use crate::redis::{down, redis, watch};
use crate::server::{Server, eventually, ms, program, wait, wait_state};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("redis-server", "redis-server");
    vec![
        trial("redis_without_the_right_to_ping_is_no_refused_login", need(), no_right),
        trial("redis_whose_ping_was_renamed_says_so", need(), renamed),
        trial("redis_that_is_full_is_not_ready_until_there_is_room", need(), full),
        trial("redis_that_runs_a_script_is_not_ready_until_it_ends", need(), busy),
        trial("redis_that_loads_its_data_is_not_ready", need(), loading),
    ]
}

/// Tries again soon.
fn beat() -> Heartbeat {
    Heartbeat::every(ms(100)).timeout(ms(5000)).backoff(ms(50), ms(200))
}

/// What is told of the fall of a link that was never up.
fn refused(server: &Server, protocol: Redis) -> Arc<Diagnosis> {
    let (coordinator, _) = watch(server, beat(), protocol);
    down(coordinator.events())
}

fn tell(server: &Server, command: &str) -> TcpStream {
    let mut admin = TcpStream::connect(server.address).unwrap();
    admin.write_all(command.as_bytes()).unwrap();
    admin
}

/// Sends a command and waits for its answer.
fn ask(server: &Server, command: &str) -> (TcpStream, String) {
    let mut admin = tell(server, command);
    let mut answer = [0; 256];
    let n = admin.read(&mut answer).unwrap_or(0);
    (admin, String::from_utf8_lossy(&answer[..n]).into_owned())
}

fn no_right() {
    let server = redis(&["--user", "mon", "on", ">secret99", "allkeys", "-@all"]);
    let told = refused(&server, Redis::new().user("mon").password("secret99"));
    assert_eq!(told.cause(), Cause::PermissionMissing, "{told}");
    assert!(told.detail().contains("'ping'") && told.advice().contains("+ping"), "{told}");
    assert!(!told.to_string().contains("secret99"), "{told}");
    let told = refused(&server, Redis::new().user("mon").password("wrong"));
    assert_eq!(told.cause(), Cause::LoginRefused, "{told}");
    assert!(told.advice().contains("ACL LIST"), "{told}");
}

fn renamed() {
    let server = redis(&["--rename-command", "PING", ""]);
    let told = refused(&server, Redis::new());
    assert_eq!(told.cause(), Cause::WrongReply, "{told}");
    assert!(told.detail().contains("unknown command"), "{told}");
    assert!(told.advice().contains("renamed or disabled"), "{told}");
}

fn full() {
    let server = redis(&["--maxclients", "1"]);
    let mut holder = None;
    // The connection that found the server up may not have left.
    eventually("the only client", || {
        let (stream, answer) = ask(&server, "PING\r\n");
        holder = Some(stream).filter(|_| answer.starts_with('+'));
        holder.is_some()
    });
    let (coordinator, _) = watch(&server, beat(), Redis::new());
    let told = down(coordinator.events());
    assert_eq!(told.cause(), Cause::NotReady, "{told}");
    assert!(told.advice().contains("raise its `maxclients`"), "{told}");
    drop(holder);
    wait_state(coordinator.events(), State::Up);
}

fn busy() {
    let server = redis(&["--busy-reply-threshold", "20"]);
    let (coordinator, link) = watch(&server, beat(), Redis::new());
    wait_state(coordinator.events(), State::Up);
    let script = tell(&server, "EVAL \"while true do end\" 0\r\n");
    let told = down(coordinator.events());
    assert_eq!(told.cause(), Cause::NotReady, "{told}");
    assert!(told.detail().contains("`-BUSY"), "{told}");
    assert!(told.advice().contains("SCRIPT KILL"), "{told}");
    wait(coordinator.events(), "another attempt", |kind| {
        matches!(kind, EventKind::Connected { .. })
    });
    assert_eq!(coordinator.status(link).unwrap().state, State::Down);
    drop(ask(&server, "SCRIPT KILL\r\n"));
    wait_state(coordinator.events(), State::Up);
    drop(script);
}

/// Half a million keys, each read back with a pause, so that it lasts.
fn loading() {
    let folder = std::env::temp_dir().join(format!("keepbeat-redis-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    let config = [
        "--dir",
        folder,
        "--enable-debug-command",
        "yes",
        "--key-load-delay",
        "200",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut server = redis(&config);
    drop(ask(&server, "DEBUG POPULATE 100000\r\n"));
    drop(ask(&server, "SAVE\r\n"));
    let (coordinator, link) = watch(&server, beat(), Redis::new());
    wait_state(coordinator.events(), State::Up);
    let port = server.address.port();
    server.kill();
    wait_state(coordinator.events(), State::Down);
    let again = crate::redis::redis_on(port, &config);
    let is_loading = || {
        let status = coordinator.status(link).unwrap();
        status.loss.is_some_and(|loss| loss.cause == Cause::NotReady)
    };
    eventually("loading is told", is_loading);
    drop(again);
    std::fs::remove_dir_all(folder).unwrap();
}
