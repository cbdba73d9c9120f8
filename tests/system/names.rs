//! Names, asked of a real name server by the C library's own resolver: one that is missing, one
//! whose server is silent, and one for which there are no descriptors left.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use keepbeat::{Cause, Coordinator, EventKind, Heartbeat, Session, State};
use libtest_mimic::Trial;

use crate::server::tutorial;
use crate::{Need, child, limits, trial};

pub fn trials() -> Vec<Trial> {
    vec![trial("a_missing_name_is_told_from_a_silent_name_server", need(), names)]
}

/// In namespaces of its own this process is the one name server, and waits for it a second.
const ENTER: &str = r#"
ip link set lo up
mount -t tmpfs none /run
echo 'nameserver 127.0.0.1' > /run/resolv.conf
echo '127.0.0.1 localhost' > /run/hosts
echo 'hosts: files dns' > /run/nsswitch.conf
for file in resolv.conf hosts nsswitch.conf; do
  if [ -e /etc/$file ]; then mount --bind /run/$file /etc/$file; fi
done
"#;

fn namespace(then: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("{ENTER}{then}");
    command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec", &script]);
    command.arg(child::command().get_program());
    command.env("RES_OPTIONS", "timeout:1 attempts:1");
    command
}

fn need() -> Need {
    let made = namespace("true").stderr(Stdio::null()).status();
    if made.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("needs `unshare`, `ip` and `mount`, and user namespaces that are allowed".to_owned())
}

fn names() {
    let status = namespace("exec \"$0\" --child names").status().unwrap();
    assert!(status.success(), "{status:?}");
}

/// The part of the child.
pub fn ask() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
    std::thread::spawn(move || serve(&socket));
    for (host, cause, words) in [
        ("missing.test", Cause::NameNotResolved, "there is no such name"),
        ("empty.test", Cause::NameNotResolved, "it has no address"),
        ("silent.test", Cause::NameServerSilent, "no name server answered"),
        ("broken.test", Cause::NameServerSilent, "no name server answered"),
        ("denied.test", Cause::NameServerSilent, "name server"),
        ("good.test", Cause::Refused, "127.0.0.1:1: "),
        ("fe80::1%none", Cause::NoLocalRoute, "no interface `none`"),
    ] {
        let told = first_loss(host);
        assert_eq!(told.0, cause, "{host}: {}", told.1);
        assert!(told.1.contains(words), "{host}: {}", told.1);
    }
    let session = Session::builder().connect_timeout(Duration::from_secs(20)).build().unwrap();
    for (host, words) in [("missing", "no such name"), ("silent", "no name server answered")] {
        let error = session.get(&format!("http://{host}.test/")).send().unwrap_err();
        assert!(error.is_connect() && error.to_string().contains(words), "{error}");
    }
    without_descriptors();
}

fn first_loss(host: &str) -> (Cause, String) {
    let coordinator = Coordinator::new().unwrap();
    let target = match host.contains(':') {
        true => format!("[{host}]:1"),
        false => format!("{host}:1"),
    };
    coordinator.watch(target, Heartbeat::default(), tutorial()).unwrap();
    let event = coordinator.events().recv_timeout(Duration::from_secs(20)).unwrap();
    let EventKind::State { to: State::Down, loss: Some(loss), .. } = event.kind() else {
        panic!("{event}");
    };
    (loss.cause, loss.detail.clone())
}

/// The name is not to blame where this process cannot ask.
fn without_descriptors() {
    let coordinator = Coordinator::new().unwrap();
    let ms = Duration::from_millis;
    let beat = Heartbeat::default().backoff(ms(10), ms(50));
    coordinator.watch("good.test:1", beat, tutorial()).unwrap();
    let first = coordinator.events().recv_timeout(ms(20_000)).unwrap();
    assert_eq!(first.kind().cause(), Some(Cause::Refused), "{first}");
    limits::set_files(64);
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    let blamed = loop {
        let event = coordinator.events().recv_timeout(ms(20_000)).unwrap();
        if event.kind().cause().is_some_and(|cause| cause != Cause::Refused) {
            break event;
        }
    };
    assert_eq!(blamed.kind().cause(), Some(Cause::LocalResources), "{blamed}");
    assert!(blamed.to_string().contains("`good.test`: it could not be looked up"), "{blamed}");
}

/// Answers what a question's first label says.
fn serve(socket: &UdpSocket) {
    let mut packet = [0; 512];
    while let Ok((n, from)) = socket.recv_from(&mut packet) {
        let question = &packet[..n];
        let label = usize::from(question[12]);
        let name = std::str::from_utf8(&question[13..13 + label]).unwrap();
        let (code, address) = match name {
            "silent" => continue,
            "missing" => (3, false),
            "broken" => (2, false),
            "denied" => (5, false),
            "good" => (0, true),
            _ => (0, false),
        };
        // The question ends behind its name, its type and its class.
        let labels = question[12..].iter().position(|byte| *byte == 0).unwrap();
        let question_end = 12 + labels + 5;
        let is_a = question[question_end - 4..question_end] == [0, 1, 0, 1];
        let answers = u8::from(address && is_a);
        let mut answer = question[..question_end].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80 | code]);
        answer[6..12].copy_from_slice(&[0, answers, 0, 0, 0, 0]);
        if answers > 0 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        let _ = socket.send_to(&answer, from);
    }
}
