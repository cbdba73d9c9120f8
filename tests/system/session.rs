//! Sessions against a real nginx: what a request costs, what keeps its connection, and the stale
//! race behind 20 ms; and the silent death of an idle connection, in a network of its own.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::{Eviction, Session, SessionEventKind};
use libtest_mimic::Trial;

use crate::relay::relay;
use crate::server::{LIMIT, Nginx, eventually, ms, program};
use crate::{Need, syscalls, trial};

/// Requests in the stale race, for each method.
const RACES: usize = 600;
const SESSIONS: usize = 60;

pub fn trials() -> Vec<Trial> {
    let nginx = || program("nginx", "nginx-light");
    let traced = || nginx().and_then(|()| syscalls::need());
    vec![
        trial("three_system_calls_a_request_with_timeouts_on", traced(), count_system_calls),
        trial("nginx_bodies_that_nobody_reads_keep_their_connection", nginx(), unread_bodies),
        trial("nginx_no_get_fails_in_the_stale_race", nginx(), stale_gets),
        trial("nginx_no_post_fails_once_a_close_was_learnt", nginx(), stale_posts),
        trial("nginx_reload_loses_no_request", nginx(), reload),
        trial("a_silent_death_is_noticed_while_idle", namespaces(), silent_death),
    ]
}

fn server(settings: &str) -> Nginx {
    Nginx::start(&format!(
        "keepalive_requests 1000000; {settings} server {{ listen 127.0.0.1:PORT; \
         add_header X-Connection $connection always; \
         location /404 {{ return 404 \"no such thing\"; }} \
         location / {{ return 200 \"hello\"; }} }}"
    ))
}

/// The calls of the thread that requests, in a process of its own.
fn count_system_calls() {
    let nginx = server("");
    let trace = |requests: u64| {
        let words = ["session", &nginx.url("/"), &requests.to_string()];
        syscalls::trace(&format!("session-{requests}"), &words)
    };
    // The difference of two runs leaves out connecting and the end.
    let (few, many) = (200, 1200);
    let (before, after) = (trace(few), trace(many));
    let mut each: Vec<_> = after
        .iter()
        .map(|(name, n)| {
            let n = *n as f64 - *before.get(name).unwrap_or(&0) as f64;
            (name, n / (many - few) as f64)
        })
        .filter(|(_, n)| n.abs() > 0.0005)
        .collect();
    each.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum: f64 = each.iter().map(|(_, n)| n).sum();
    println!("{sum:.3} system calls a request: {each:.3?}");
    assert!(sum <= 3.05, "{sum} system calls a request: {each:?}");
    assert!(sum > 2.9, "not everything was seen: {each:?}");
}

/// The child of it: so many requests, one after the other.
pub fn request(url: &str, requests: &str) {
    let session = Session::builder().timeout(Duration::from_secs(30)).build().unwrap();
    for _ in 0..requests.parse().unwrap() {
        let mut response = session.get(url).send().unwrap();
        assert!(response.bytes().unwrap().len() < 100);
    }
    assert_eq!(session.stats().opened, 1);
}

fn unread_bodies() {
    let nginx = server("");
    let session = Session::new().unwrap();
    for _ in 0..20 {
        assert_eq!(session.get(nginx.url("/404")).send().unwrap().status(), 404);
        drop(session.get(nginx.url("/unread")).send().unwrap());
        let mut response = session.get(nginx.url("/exactly")).send().unwrap();
        let length: usize = response.header("content-length").unwrap().parse().unwrap();
        response.reader().read_exact(&mut vec![0; length]).unwrap();
        // Held until the next turn: its connection must be free all the same.
        let next = session.get(nginx.url("/")).send().unwrap();
        assert!(next.reused());
    }
    assert_eq!(session.stats().opened, 1);
    // Stock ureq, in the same run, to know that this server makes a difference.
    let stock = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let connections: HashSet<_> = (0..20)
        .map(|_| {
            let mut response = stock.get(nginx.url("/")).call().unwrap();
            response.body_mut().as_reader().read_exact(&mut [0; 5]).unwrap();
            response.headers()["x-connection"].clone()
        })
        .collect();
    println!("connections: 1 for 80 requests; stock ureq {} for 20", connections.len());
    assert!(connections.len() > 1);
}

/// Each session sends its share, at waits from 5 % below to 5 % above the limit. The failures, and
/// the path of each request.
fn race(nginx: &Nginx, post: bool) -> (usize, HashSet<String>) {
    let address = relay(nginx.address, ms(10));
    let failed = AtomicUsize::new(0);
    let sent = std::sync::Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for worker in 0..SESSIONS {
            let (failed, sent) = (&failed, &sent);
            scope.spawn(move || {
                let session = Session::new().unwrap();
                let events = session.events();
                let send = |n: usize| {
                    let path = format!("/{worker}/{n}");
                    let url = format!("http://{address}{path}");
                    sent.lock().unwrap().insert(path);
                    let request = if post { session.post(url) } else { session.get(url) };
                    request.send()
                };
                send(usize::MAX).unwrap();
                if post {
                    let learnt = |kind: &_| matches!(kind, SessionEventKind::LimitLearnt { .. });
                    while !learnt(&events.recv_timeout(LIMIT).unwrap().kind) {}
                    send(usize::MAX - 1).unwrap();
                }
                for n in 0..RACES / SESSIONS {
                    let wait = ms(950) + ms(5) * ((worker * 7 + n) % 21) as u32;
                    thread::sleep(wait); // the race is about time
                    if let Err(error) = send(n) {
                        eprintln!("{error}");
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    (failed.into_inner(), sent.into_inner().unwrap())
}

fn stale_gets() {
    let nginx = server("keepalive_timeout 1s;");
    let (failed, _) = race(&nginx, false);
    assert_eq!(failed, 0, "of {RACES}");
}

fn stale_posts() {
    let nginx = server("keepalive_timeout 1s;");
    let (failed, sent) = race(&nginx, true);
    assert_eq!(failed, 0, "of {RACES}");
    // The access log knows what ran.
    let ran: Vec<_> = nginx.requests().into_iter().filter(|line| line.contains("POST")).collect();
    assert_eq!(ran.len(), sent.len(), "each ran once");
    let distinct: HashSet<_> = ran.iter().collect();
    assert_eq!(distinct.len(), ran.len(), "and none twice");
}

/// `nginx -s reload` closes idle connections in an orderly way while requests go on.
fn reload() {
    let nginx = server("");
    let session = Session::new().unwrap();
    let requests = AtomicUsize::new(0);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for n in 0..400 {
                let response = session.get(nginx.url("/")).send();
                assert_eq!(response.unwrap_or_else(|e| panic!("request {n}: {e}")).status(), 200);
                requests.fetch_add(1, Ordering::SeqCst);
                thread::sleep(ms(1)); // so that several reloads fall in between
            }
        });
        for reloads in 1..=3 {
            eventually("some requests", || requests.load(Ordering::SeqCst) >= 100 * reloads);
            nginx.reload();
        }
        worker.join().unwrap();
    });
    assert!(session.stats().opened >= 2, "a reload closed the connection");
}

/// A network of one's own needs root, or a kernel that lends it.
fn namespaces() -> Need {
    program("ip", "iproute2")?;
    let made = Command::new("unshare")
        .args(["-Urnm", "ip", "link", "add", "near", "type", "veth", "peer", "name", "far"])
        .stderr(Stdio::null())
        .status();
    if made.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("no network namespace can be made here: run as root, or allow unshare -Urn".to_owned())
}

/// Two namespaces; once the connections stand, the far one loses its address: packets to it vanish.
const NETWORK: &str = r#"
set -e
mount -t tmpfs none /run
ip netns add far
ip link add near type veth peer name far netns far
ip addr add 10.99.0.1/24 dev near && ip link set near up && ip link set lo up
ip -n far addr add 10.99.0.2/24 dev far && ip -n far link set far up
ip neigh replace 10.99.0.2 lladdr $(ip -n far -br link show far | awk '{print $3}') dev near
ip netns exec far "$0" --child serve 10.99.0.2:80 >/dev/null &
trap "kill $!" EXIT
"$0" --child silent http://10.99.0.2/
"#;

fn silent_death() {
    let mut network = Command::new("unshare")
        .args(["-Urnm", "sh", "-c", NETWORK])
        .arg(std::env::current_exe().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(network.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<_> = lines.collect();
    assert!(network.wait().unwrap().success(), "{lines:?}");
    println!("noticed: {lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

/// The far end: answers everything.
pub fn serve(address: &str) {
    let listener = std::net::TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        thread::spawn(move || {
            use std::io::Write;
            while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        });
    }
}

/// The near end: cuts the path once its connections are idle, and says when it noticed.
pub fn silent(url: &str) {
    let tight = Session::builder().tcp_keepalive(ms(1000), ms(1000), 2).build().unwrap();
    let sessions = [("default", Session::new().unwrap(), 15), ("tightest", tight, 3)];
    for (_, session, _) in &sessions {
        eventually("the far end", || session.get(url).send().is_ok());
    }
    let cut = ["-n", "far", "addr", "flush", "dev", "far"];
    assert!(Command::new("ip").args(cut).status().unwrap().success());
    let start = Instant::now();
    for (name, session, seconds) in sessions.iter().rev() {
        eventually("noticed", || session.stats().evicted(Eviction::Silent) == 1);
        // A second for the kernel's timers, which probe in whole ones.
        assert!(start.elapsed() <= Duration::from_secs(seconds + 1), "{:?}", start.elapsed());
        println!("{name}: {:.1?}", start.elapsed());
    }
}
