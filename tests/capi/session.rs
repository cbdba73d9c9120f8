//! HTTP sessions in C: in a library that has them, and refused by one that has not.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::build::{Linked, Of, compile_of, run};

/// What there is of a request: its first line, two headers, its body.
struct Request {
    line: String,
    press: String,
    agent: String,
    body: Vec<u8>,
}

fn request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let (mut press, mut agent, mut len) = (String::new(), String::new(), 0);
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        let Some((name, value)) = field.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "x-press" => press = value.to_owned(),
            "user-agent" => agent = value.to_owned(),
            "content-length" => len = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line, press, agent, body })
}

/// Greets, echoes what is sent to it, and hangs up in the middle where it is asked to.
fn serve(stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(Request { line, press, agent, body }) = request(&mut reader) {
        if line.contains("/cut ") {
            return;
        }
        let body = if line.contains("/hello") { b"hello".to_vec() } else { body };
        let len = body.len();
        let seen = format!("{press} {agent}");
        let head = format!("HTTP/1.1 200 OK\r\nX-Seen: {seen}\r\nContent-Length: {len}\r\n\r\n");
        let sent = if line.starts_with("HEAD") { Vec::new() } else { body };
        if writer.write_all(&[head.into_bytes(), sent].concat()).is_err() {
            return;
        }
    }
}

#[test]
fn requests_go_out_on_kept_connections_and_what_may_have_run_is_known() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream));
        }
    });
    let closed = format!("http://{closed}/");
    for linked in [Linked::Static, Linked::Shared] {
        run(&compile_of(Of::Session, "session", linked, &[]), &[&base, &closed]);
    }
}

#[test]
fn a_library_without_sessions_has_their_calls_and_says_so() {
    for linked in [Linked::Static, Linked::Shared] {
        run(&compile_of(Of::Plain, "no_session", linked, &[]), &[]);
    }
}
