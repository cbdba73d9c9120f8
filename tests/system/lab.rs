//! Behind a firewall that forgets: three hosts in network namespaces, client, router and server,
//! and connection tracking on the router that lets only flows pass which it remembers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use keepbeat::{Coordinator, EventKind, Framed, Heartbeat, State};
use libtest_mimic::Trial;

use crate::server::{LIMIT, ms, wait, wait_state};
use crate::{Need, child, trial};

const SERVER: &str = "203.0.113.2:7000";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("behind_a_firewall_that_forgets_connections_live_by_their_beats", need(), || {
            run(1, "lab-forgets")
        }),
        trial("behind_a_firewall_that_forgets_an_observed_connection_lives", need(), || {
            run(3, "lab-observed")
        }),
        trial("a_dropped_path_is_told_of_an_observed_connection", need(), || {
            run(3600, "lab-dropped")
        }),
    ]
}

/// `$0` is this test, `$1` for how many seconds the router remembers an idle flow, `$2` what the
/// client does.
const SCRIPT: &str = r#"
mount -t tmpfs none /run
mkdir /run/netns
ip netns add router
ip netns add server
ip link add c0 type veth peer name rc netns router
ip -n router link add rs type veth peer name s0 netns server
ip addr add 198.51.100.2/24 dev c0
ip link set c0 up
ip link set lo up
ip -n router addr add 198.51.100.1/24 dev rc
ip -n router link set rc up
ip -n router addr add 203.0.113.1/24 dev rs
ip -n router link set rs up
ip -n server addr add 203.0.113.2/24 dev s0
ip -n server link set s0 up
ip route add default via 198.51.100.1
ip -n server route add default via 203.0.113.1
ip netns exec router sh -ec '
  echo 1 > /proc/sys/net/ipv4/ip_forward
  nft -f -
  echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose
  echo '"$1"' > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established
' <<RULES
table ip kb {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
    tcp dport 7000 ct state new tcp flags & (fin|syn|rst|ack) == syn accept
    drop
  }
}
RULES
[ -z "$2" ] && exit 0
ip netns exec server "$0" --child lab-serve 203.0.113.2:7000 >/dev/null &
trap "kill $!" EXIT
"$0" --child "$2"
"#;

fn lab(forgets_after: u32, part: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec", SCRIPT]);
    command.arg(child::command().get_program()).args([&forgets_after.to_string(), part]);
    command
}

pub fn need() -> Need {
    let made = lab(1, "").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if made.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("needs `unshare`, `ip` and `nft`, user namespaces that are allowed, and connection \
         tracking in the kernel"
        .to_owned())
}

fn run(forgets_after: u32, part: &str) {
    let status = lab(forgets_after, part).status().unwrap();
    assert!(status.success(), "{status:?}");
}

/// Answers beats, and gives data back as it came, each connection until it ends.
pub fn serve(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        thread::spawn(move || {
            let mut out = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let answer = if line == "PING" { "PONG" } else { &line };
                if out.write_all(format!("{answer}\n").as_bytes()).is_err() {
                    break;
                }
            }
        });
    }
}

fn dial() -> TcpStream {
    let address: SocketAddr = SERVER.parse().unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        // The server may still be starting.
        match TcpStream::connect_timeout(&address, ms(1000)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(ms(20)); // between two tries
    }
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
pub fn forgets() {
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
pub fn observed_lives() {
    thread::scope(|scope| {
        for observe in [true, false] {
            scope.spawn(move || {
                assert_eq!(observed(observe, ms(7000)), observe, "observed: {observe}");
            });
        }
    });
}

/// The path is dropped, while the application sits in a blocking read; later it heals.
pub fn dropped() {
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
    rule("insert rule ip kb forward drop");
    let start = Instant::now();
    wait_state(coordinator.events(), State::Suspect);
    let down = wait_state(coordinator.events(), State::Down);
    let took = start.elapsed();
    // The last sign of life may be an interval old, or none; the rest is a noisy machine.
    assert!(took < interval * fall + ms(1500), "{took:?}");
    let EventKind::State { loss: Some(loss), .. } = down.kind() else { panic!("{down}") };
    assert!(loss.detail.contains("probe"), "{loss}");
    assert!(!reading.is_finished(), "the application sits in its read");
    rule("flush chain ip kb forward");
    wait_state(coordinator.events(), State::Up);
    observed.stop().unwrap();
    let ended = |kind: &EventKind| matches!(kind, EventKind::Ended);
    wait(coordinator.events(), "the end", ended);
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), 0);
}

fn rule(rule: &str) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "router", "nft"]).args(rule.split(' '));
    assert!(command.status().unwrap().success(), "{rule}");
}
