//! `--once`: the first ack or the first failure, and a verdict that is finished.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::diagnosis::hung;
use super::json::{check_keys, objects, of};
use super::process::{Done, peer, run};

#[test]
fn a_hung_target_is_down_once_its_side_connections_are_heard_out() {
    let (_listener, address) = hung();
    let Done { code, out, err } = run(&["--once", "--json", "--timeout", "400ms", &address]);
    assert_eq!(code, Some(1), "{err}");
    let all = objects(&out);
    all.iter().for_each(check_keys);
    let states = of(&all, "state");
    assert_eq!((states.len(), &states[0]["to"]), (1, &"down".into()), "{out}");
    let last = of(&all, "diagnosis").pop().unwrap_or_else(|| panic!("no diagnosis:\n{out}"));
    assert_eq!((&last["cause"], &last["confidence"]), (&"peer-silent".into(), &"likely".into()));
    assert!(last["evidence"].get("side").is_none(), "nothing is being tried any more: {last}");
    assert_eq!(last["evidence"]["fresh_beat"], "acked", "{last}");
    assert_eq!(all.last().unwrap()["cause"], "peer-silent", "{out}");
    let at = |event: &str| all.iter().rposition(|object| object["event"] == event);
    assert!(at("diagnosis") > at("state") && at("diagnosis") < at("summary"), "{out}");

    let Done { code, out, .. } = run(&["--once", "--timeout", "400ms", &address]);
    assert_eq!(code, Some(1));
    assert!(out.contains("one beat, 3s to connect, 400ms for its ack"), "{out}");
    let (events, summary) = out.split_once("\n\n").unwrap();
    let last = events.lines().rfind(|line| !line.contains("↳ remedy")).unwrap();
    assert!(last.contains("◆ diagnosed") && !last.contains("is being tried"), "{out}");
    assert!(summary.contains("✖ down") && summary.contains("peer-silent: "), "{out}");
}

/// Takes connections into its queue until that is full; then SYNs go unanswered.
fn black_hole() -> (Socket, Vec<Socket>, String) {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let fill = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let _ = socket.connect_timeout(&address, Duration::from_millis(50));
        socket
    };
    let queue = (0..3).map(fill).collect();
    (listener, queue, address.as_socket().unwrap().to_string())
}

#[test]
fn a_dead_host_takes_as_long_as_the_timeouts_say() {
    let (_listener, _queue, address) = black_hole();
    let connects = |flags: &[&str], within: &str| {
        let start = Instant::now();
        let Done { code, out, .. } =
            run(&[["--once", address.as_str()].as_slice(), flags].concat());
        assert_eq!(code, Some(1), "{out}");
        assert!(out.contains(&format!("{address} did not answer within {within}")), "{out}");
        start.elapsed()
    };
    connects(&["--connect-timeout", "200ms"], "200.0ms");
    let took = connects(&["--timeout", "100ms"], "3.0s");
    assert!(took >= Duration::from_secs(3), "a lost SYN is sent again after one: {took:?}");
    connects(&["--timeout", "1600ms"], "3.2s");
    let Done { out, .. } = run(&["--check-config", "--config", "/dev/null"]);
    assert_eq!(out, "");
}

#[test]
fn an_answer_is_up_and_nothing_else_is_waited_for() {
    let (_responder, up) = peer();
    let Done { code, out, err } = run(&["--once", &up]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("one beat, 10s to connect, 5s for its ack"), "{out}");
}
