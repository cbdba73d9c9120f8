//! A socket can connect to itself: on loopback, where nobody listens on a port that is the client's
//! own. In a network namespace with a single port to choose from, it always does.

use std::process::{Command, Stdio};
use std::time::Duration;

use keepbeat::{Cause, Coordinator, EventKind, Heartbeat};
use libtest_mimic::Trial;

use crate::server::tutorial;
use crate::{Need, child, trial};

const PORT: &str = "40000";

pub fn trials() -> Vec<Trial> {
    vec![trial("a_socket_connected_to_itself_is_refused", need(), itself)]
}

/// Runs a shell in a network namespace of its own, as its root.
fn namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-ec", script]);
    command
}

fn need() -> Need {
    let script =
        format!("ip link set lo up; echo {PORT} {PORT} > /proc/sys/net/ipv4/ip_local_port_range");
    let made = namespace(&script).stderr(Stdio::null()).status();
    if made.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("needs `unshare` and `ip`, and user namespaces that are allowed".to_owned())
}

fn itself() {
    let script = format!(
        "ip link set lo up; echo {PORT} {PORT} > /proc/sys/net/ipv4/ip_local_port_range; \
         exec \"$0\" --child itself"
    );
    let status = namespace(&script).arg(child::command().get_program()).status().unwrap();
    assert!(status.success(), "{status:?}");
}

/// Nobody listens there, and yet the kernel lets it connect.
pub fn connect() {
    let address = format!("127.0.0.1:{PORT}");
    let stream = std::net::TcpStream::connect(&address).expect("the trap of this test works");
    assert_eq!(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);

    let coordinator = Coordinator::new().unwrap();
    coordinator.watch(address, Heartbeat::default(), tutorial()).unwrap();
    let first = coordinator.events().recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(first.kind().cause(), Some(Cause::Refused), "{first}");
    assert!(first.to_string().contains("connected to itself"), "{first}");
    assert!(matches!(first.kind(), EventKind::State { .. }));
    coordinator.stop().unwrap();
}
