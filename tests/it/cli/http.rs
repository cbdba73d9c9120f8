//! HTTP and TLS on the command line.

use super::process::{Done, Running, Scratch, keepbeat, run};
use crate::http_link::request;
use crate::peer::Peer;

/// Answers GET with a body and HEAD without; what is asked for is in the answer.
fn server() -> Peer {
    Peer::new(|mut visit| {
        loop {
            let text = request(&mut visit.stream)?;
            visit.say(&answer(&text, ""))?;
        }
    })
}

fn answer(request: &str, fields: &str) -> Vec<u8> {
    let body = format!("all is well; you asked: {request}");
    let len = body.len();
    let status = if request.contains(" /missing ") { "404 Not Found" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {len}\r\n\r\n");
    if request.starts_with("HEAD") { head.into() } else { (head + &body).into() }
}

#[test]
fn a_path_is_asked_for_and_its_status_is_the_ack() {
    let peer = server();
    let url = |path: &str| format!("http://{}{path}", peer.address);
    for (args, code, words) in [
        (vec!["--once", &url("/x")], 0, "● up"),
        (vec!["--once", "--expect", "asked: GET /x HTTP/1.1", &url("/x")], 0, "● up"),
        (vec!["--once", "--expect", "asked: GET /y", &url("/x")], 1, "wrong-reply"),
        (vec!["--once", &url("/missing")], 1, "bad-status"),
        (vec!["--once", "--status", "404", &url("/missing")], 0, "● up"),
        (vec!["--once", "--status", "400-499", &url("/")], 1, "200 OK, expected 400 to 499"),
        (vec!["--once", "--method", "OPTIONS", "--expect", "OPTIONS / ", &url("")], 0, "● up"),
    ] {
        let Done { code: found, out, err } = run(&args);
        assert_eq!(found, Some(code), "{args:?}: {out}{err}");
        assert!(out.contains(words), "{args:?}: {out}");
    }
}

#[test]
fn keys_of_http_follow_the_same_order_as_the_others() {
    let peer = server();
    let address = peer.address;
    let file = Scratch::new(&format!(
        "[defaults]\nstatus = 500\n\
         [[target]]\nurl = 'http://{address}/a'\nstatus = '200-299'\nmethod = 'GET'\nexpect = 'well'\n"
    ));
    let code = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = keepbeat(&["--once", "--config", file.path()]);
        command.args(flags).envs(env.iter().copied());
        Running::new(command).done().code
    };
    assert_eq!(code(&[], &[]), Some(0), "the target's own before [defaults]");
    let env = [("KEEPBEAT_STATUS", "201-299")];
    assert_eq!(code(&[], &env), Some(1), "the environment before the file");
    assert_eq!(code(&["--status", "200"], &env), Some(0), "a flag before the environment");
    assert_eq!(code(&["--method", "HEAD"], &[]), Some(1), "no body to expect anything of");
}

#[test]
fn a_server_that_ends_its_connections_in_good_order_is_no_news() {
    let peer = Peer::new(|mut visit| {
        let text = request(&mut visit.stream)?;
        visit.say(&answer(&text, "Connection: close\r\n"))
    });
    let url = format!("http://{}", peer.address);
    let Done { code, out, err } = run(&["--count", "5", "--interval", "20ms", &url]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(!out.contains("renewed"), "{out}");
    assert_eq!(out.matches("connected").count(), 1, "{out}");
    let Done { out, .. } = run(&["--json", "--count", "3", "--interval", "20ms", &url]);
    assert!(out.matches("\"cause\":\"renewed\"").count() >= 2, "the lines of JSON have all: {out}");
}

#[cfg(feature = "tls")]
#[test]
fn https_believes_the_authorities_of_a_file_and_anybody_only_with_a_warning() {
    use std::io::Write;

    let authority = crate::tls_link::Authority::new(|_| ());
    let peer = authority.serve(|mut stream, _| {
        loop {
            let text = request(&mut stream)?;
            stream.write_all(&answer(&text, ""))?;
            stream.flush()?;
        }
    });
    let ca = Scratch::new(&authority.ca_pem);
    let url = format!("https://{}/x", peer.address);
    let Done { code, out, err } = run(&["--once", "--ca", ca.path(), "--expect", "well", &url]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let Done { code, out, .. } = run(&["--once", &url]);
    assert_eq!(code, Some(1));
    assert!(out.contains("tls-failed") && out.contains("untrusted: "), "{out}");
    let Done { code, out, err } = run(&["--once", "--insecure", &url]);
    assert_eq!(code, Some(0), "{out}");
    assert!(err.contains("WARN") && err.contains("any certificate is accepted"), "{err}");
    let folder = std::path::Path::new(ca.path()).file_name().unwrap().to_str().unwrap();
    let config = Scratch::new(&format!("[[target]]\nurl = '{url}'\nca = '{folder}'\n"));
    let Done { code, out, err } = run(&["--once", "--config", config.path()]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "beside the file: {out}");
    let open = Scratch::new(&format!("[[target]]\nurl = '{url}'\ninsecure = true\n"));
    assert_eq!(run(&["--once", "--config", open.path()]).code, Some(0));
}

#[cfg(feature = "tls")]
#[test]
fn a_port_without_tls_is_named_for_what_it_is() {
    let peer = Peer::new(|mut visit| {
        visit.say(b"220 mail.example ESMTP\r\n")?;
        visit.swallow()
    });
    let Done { code, out, .. } = run(&["--once", &format!("tls+connect://{}", peer.address)]);
    assert_eq!(code, Some(1));
    assert!(out.contains("tls-failed") && out.contains("`220 mail.example ESMTP`"), "{out}");
}

#[test]
fn login_and_query_of_a_url_appear_in_no_output() {
    let peer = Peer::new(|mut visit| {
        let text = request(&mut visit.stream)?;
        assert!(text.contains("Authorization: Basic Ym9idXNlcjpodW50ZXIy\r\n"), "{text}");
        let echo = text.replace("\r\n", " ");
        visit.say(format!("HTTP/1.1 500 {echo}\r\n\r\n").as_bytes())
    });
    let address = peer.address;
    let url = format!("http://bobuser:hunter2@{address}/x?key=s3cret");
    let by_file = format!("http://bobuser@{address}/x?key=s3cret");
    let file = Scratch::new("hunter2\n");
    let wrong = Scratch::new(&format!("[[target]]\nurl = '{url}'\nsend = 'x'\n"));
    let no_url = Scratch::new(&format!("[[target]]\nurl = '{url}#a'\n"));
    for args in [
        ["--once", &url].as_slice(),
        &["--config", no_url.path()],
        &["--once", "--json", &url],
        &["--once", "--password-file", file.path(), &by_file],
        &["--config", wrong.path()],
        &["--once", &url.replace("/x", "/x y")],
        &["--once", &url.replace("http", "tls+tcp")],
    ] {
        let mut command = keepbeat(args);
        command.env("RUST_LOG", "trace");
        let Done { code, out, err } = Running::new(command).done();
        assert_ne!(code, Some(0), "{out}{err}");
        let said = format!("{out}{err}");
        for secret in ["hunter2", "bobuser", "s3cret", "Ym9idXN"] {
            assert!(!said.contains(secret), "{args:?}: {said}");
        }
    }
}
