//! s
use keepbeat::*;
use std::io::{Read, Write};
use std::time::Duration;
fn main() {
    let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = std::net::TcpStream::connect(l.local_addr().unwrap()).unwrap();
    let (mut theirs, _) = l.accept().unwrap();
    let ms = Duration::from_millis;
    let c = Coordinator::new().unwrap();
    if std::env::args().nth(1).is_some() {
        let hb = Heartbeat::every(ms(100)).timeout(ms(300)).fall(2).write_timeout(ms(4000));
        let link = c.adopt(ours, hb, Framed::lines("PING", "PONG").unwrap()).unwrap();
        while !link.try_send([b'y'; 60000]).is_err_and(|e| e.is_busy()) {}
        std::thread::spawn(move || {
            std::thread::sleep(ms(6000));
            drop(link);
        });
    } else {
        let hb = Heartbeat::every(ms(100)).timeout(ms(200)).fall(2);
        let link = c
            .adopt(Adopt::new(ours).frames_capacity(4), hb, Framed::lines("PING", "PONG").unwrap())
            .unwrap();
        let mut b = [0; 5];
        theirs.read_exact(&mut b).unwrap();
        theirs.write_all(b"PONG\n").unwrap();
        std::thread::sleep(ms(50));
        theirs.set_write_timeout(Some(ms(500))).unwrap();
        let flood = [&[b'x'; 50000][..], b"\n"].concat();
        let mut w = 0;
        while let Ok(n) = theirs.write(&flood[w % flood.len()..]) {
            w += n;
        }
        eprintln!("stuck {w}");
        std::thread::spawn(move || {
            std::thread::sleep(ms(3000));
            drop(link);
        });
    }
    for e in c.events() {
        eprintln!("{e}");
        if matches!(e.kind(), EventKind::Ended) {
            break;
        }
    }
}
