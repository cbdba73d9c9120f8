//! Forms with files: what goes out, streamed or at once.

use std::io::{Read, Write};

use keepbeat::session::Multipart;
use keepbeat::{Body, Session};

use super::server::{Seen, Server};

/// The parts of a body as they stand between its boundaries.
fn parts(seen: &Seen) -> Vec<String> {
    let kind = seen.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let text = String::from_utf8(seen.body.clone()).unwrap();
    let text = text.strip_prefix(&format!("--{boundary}\r\n")).unwrap();
    let text = text.strip_suffix(&format!("\r\n--{boundary}--\r\n")).unwrap();
    text.split(&format!("\r\n--{boundary}\r\n")).map(str::to_owned).collect()
}

#[test]
fn texts_files_and_readers_are_sent_one_behind_the_other() {
    let path = std::env::temp_dir().join(format!("keepbeat-multipart-{}.log", std::process::id()));
    std::fs::File::create(&path).unwrap().write_all(b"content").unwrap();
    let server = Server::ok();
    let session = Session::new().unwrap();
    let with = || {
        Multipart::new().text("a \"b\"\r\nX: y", "ä").part(
            "image",
            "é\".png",
            "image/png\r\nX: y",
            "bytes",
        )
    };
    let texts = [
        "Content-Disposition: form-data; name=\"a %22b%22%0D%0AX: y\"\r\n\r\nä",
        "Content-Disposition: form-data; name=\"image\"; filename=\"é%22.png\"\r\n\
         Content-Type: image/pngX: y\r\n\r\nbytes",
    ];
    session.post(server.url("/")).multipart(with()).send().unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(parts(&seen), texts);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let file = format!(
        "Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\ncontent"
    );
    let form = with().file("file", &path).unwrap();
    session.post(server.url("/")).multipart(form).send().unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(parts(&seen)[2], file);
    assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
    let reader = Body::reader(std::io::repeat(b'x').take(100_000));
    let form = with().file("file", &path).unwrap().part("last", "x", "text/plain", reader);
    session.post(server.url("/")).multipart(form).send().unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert!(parts(&seen)[3].ends_with(&format!("\r\n\r\n{}", "x".repeat(100_000))));
    assert_eq!(server.accepted(), 1);
    std::fs::remove_file(&path).unwrap();
    let error = Multipart::new().file("file", &path).unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn a_part_that_cannot_be_read_fails_the_request_and_no_part_at_all_is_a_body_too() {
    let server = Server::ok();
    let session = Session::new().unwrap();
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let form = Multipart::new().part("x", "x", "text/plain", Body::reader(Broken));
    let error = session.post(server.url("/")).multipart(form).send().unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    session.post(server.url("/")).multipart(Multipart::new()).send().unwrap();
    let seen = server.seen().pop().unwrap();
    assert!(seen.body.starts_with(b"--keepbeat-") && seen.body.ends_with(b"--\r\n"));
}
