//! What a stranger types first: a scheme that slipped, another program's URL, the wrong port; and
//! what the binary answers.

use super::process::{Done, Running, Scratch, keepbeat, run};
use crate::peer::Peer;
use crate::watching::ms;

#[test]
fn urls_as_people_paste_them_are_answered_with_what_to_type() {
    for (url, words) in [
        ("redis:/h", "write `redis://host:port`"),
        ("http//h", "write `http://host:port`"),
        ("HTTP:h", "write `http://host:port`"),
        ("htpp://h", "did you mean `http`?"),
        ("redis://h/name", "only a database number may follow the port"),
        ("mysql://root:s3cret@db.example/x", "use `connect://db.example:3306`"),
        ("postgres://u:s3cret@a.example,b.example/x", "use `connect://a.example:5432`"),
        ("mqtts://u:s3cret@h", "use `tls+connect://h:8883`"),
        ("wss://h/path", "use `tls+connect://h:443`"),
        ("ssh://root@[::1]", "`[::1]:22 --expect SSH-`"),
        ("memcached://h", r"`h:11211 --send 'version\r\n' --expect VERSION`"),
        ("unix:///run/x.sock", "is not a TCP connection"),
        ("b\u{fc}cher.example:80", "`xn--...`"),
    ] {
        let Done { code, out, err } = run(&[url]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{url}: {err}");
        assert!(err.contains(words), "{url}: {err}");
        assert!(!err.contains("s3cret"), "{err}");
    }
}

#[test]
fn schemes_in_capitals_and_other_names_of_a_scheme_are_read() {
    for (url, shown) in [
        ("HTTP://127.0.0.1:1/", "http://127.0.0.1:1"),
        ("rediss://u:s3cret@127.0.0.1:1/0?timeout=1s", "tls+redis://127.0.0.1:1"),
        ("[::1%25lo]:1", "tcp://[::1%lo]:1"),
    ] {
        let Done { code, out, err } = run(&[url, "--once"]);
        assert_eq!((code, err.as_str()), (Some(1), ""), "{url}");
        assert!(out.contains(shown) && !out.contains("s3cret"), "{out}");
    }
}

fn told(peer: &Peer, scheme: &str, args: &[&str]) -> Done {
    let target = format!("{scheme}{}", peer.address);
    run(&[&[target.as_str()], args].concat())
}

#[test]
fn connect_is_up_only_once_the_connection_has_stood() {
    let stand_in = Peer::new(|_| Ok(()));
    let Done { code, out, .. } = told(&stand_in, "connect://", &["--once"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("dropped-at-once") && !out.contains("● up"), "{out}");
    let stands = Peer::new(|mut visit| visit.swallow());
    let Done { code, out, .. } = told(&stands, "connect://", &["--once"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn another_service_is_named_and_the_command_to_type_works() {
    let ssh = Peer::new(|mut visit| {
        visit.say(b"SSH-2.0-OpenSSH_9.2\r\n")?;
        visit.swallow()
    });
    let Done { code, out, .. } = told(&ssh, "", &["--once"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("it is an SSH server: expected `heartbeat_ack`, got `SSH-2.0"), "{out}");
    let commands: Vec<_> = out.split('`').filter(|text| text.starts_with("keepbeat ")).collect();
    assert_eq!(commands.len(), 2, "{out}");
    for command in commands {
        let mut args: Vec<_> = command.split(' ').skip(1).collect();
        args.push("--once");
        let Done { code, out, .. } = run(&args);
        assert_eq!(code, Some(0), "{command}: {out}");
    }
}

#[test]
fn steps_come_from_a_file_and_what_is_wrong_with_it_is_told_with_its_line() {
    let mail = Peer::new(|mut visit| {
        visit.say(b"220 ready\r\n")?;
        let mut line = [0; 6];
        loop {
            std::io::Read::read_exact(&mut visit.stream, &mut line)?;
            visit.say(b"250 ok\r\n")?;
        }
    });
    let steps = Scratch::new("expect 220\nbeat\nsend NOOP\\r\\n\nexpect 250\n");
    let Done { code, out, .. } =
        told(&mail, "", &["--count", "3", "--interval", "50ms", "--steps", steps.path()]);
    assert_eq!(code, Some(0), "{out}");
    let config = format!("[[target]]\nurl = '{}'\nsteps = '{}'\n", mail.address, steps.path());
    let config = Scratch::new(&config);
    let Done { code, out, err } = run(&["--config", config.path(), "--once"]);
    assert_eq!(code, Some(0), "{out}{err}");
    for (text, args, words) in [
        ("expect 220\nPASS s3cret\n", &[][..], "line 2: no step"),
        ("expect 220\n", &["--send", "a"], "steps say what is sent and expected"),
        ("beat\n", &[], "line 1: no step below `beat`"),
    ] {
        let file = Scratch::new(text);
        let Done { code, err, .. } = told(&mail, "", &[&["--steps", file.path()], args].concat());
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(words) && !err.contains("s3cret"), "{err}");
    }
    let Done { err, .. } = run(&["redis://h", "--steps", steps.path()]);
    assert!(err.contains("--steps is for tcp:// targets"), "{err}");
}

#[test]
fn last_words_stand_in_the_line_and_in_json() {
    let bye = Peer::new(|mut visit| {
        visit.say(b"* OK ready\r\n")?;
        std::thread::sleep(ms(700)); // until it is up
        visit.say(b"* BYE Autologout\r\n")
    });
    let target = format!("connect://{}", bye.address);
    let mut running = Running::new(keepbeat(&[&target, "--json"]));
    let line = running.line("\"to\":\"down\"");
    for words in ["\"cause\":\"closed-with-reason\"", "`* BYE Autologout`", "[\"idle-closed\"]"] {
        assert!(line.contains(words), "{line}");
    }
}
