//! User and password are printed nowhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crossbeam_channel::{Receiver, unbounded};

use super::process::{Done, LIMIT, Running, Scratch, keepbeat, run};

/// Refuses every login and says it with the whole request, as a careless server might. Tells what
/// it was asked.
fn refuser() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, requests) = unbounded();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let shown = request.replace("\r\n", " ");
            let _ = told.send(request);
            let _ = stream.write_all(format!("-WRONGPASS not {shown}\r\n").as_bytes());
        }
    });
    (address, requests)
}

#[test]
fn user_and_password_appear_in_no_output() {
    let (address, requests) = refuser();
    let file = Scratch::new("hunter2\n");
    let url = format!("redis://bobuser:hunter2@{address}");
    let by_file = format!("redis://bobuser@{address}");
    let config = Scratch::new(&format!(
        "[[target]]\nurl = '{by_file}'\npassword_file = '{}'\n",
        file.path()
    ));
    for args in [
        ["--once", &url].as_slice(),
        &["--once", "--json", &url],
        &["--once", "--password-file", file.path(), &by_file],
        &["--once", "--config", config.path()],
    ] {
        let mut command = keepbeat(args);
        command.env("RUST_LOG", "trace");
        let Done { code, out, err } = Running::new(command).done();
        assert_eq!(code, Some(1), "{out}{err}");
        assert!(out.contains("login-refused"), "{out}");
        let asked = requests.recv_timeout(LIMIT).unwrap();
        assert!(asked.contains("$4\r\nAUTH\r\n$7\r\nbobuser\r\n$7\r\nhunter2\r\n"), "{asked:?}");
        let said = format!("{out}{err}");
        assert!(!said.contains("hunter2") && !said.contains("bobuser"), "{said}");
        assert!(err.contains("DEBUG") || err.contains("WARN"), "the log was on: {err}");
    }
    for args in [
        [url.replace("redis", "ftp").as_str()].as_slice(),
        &[url.replace("redis", "line").as_str()],
        &[format!("{url}x").as_str()],
        &[format!("x{url}").as_str(), "--print-config"],
    ] {
        let Done { out, err, .. } = run(args);
        assert!(!format!("{out}{err}").contains("hunter2"), "{args:?}: {out}{err}");
    }
}
