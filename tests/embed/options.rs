//! Options of sockets that are handed over: Nagle's algorithm is off unless it is wanted, and on
//! again where the socket came with it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use keepbeat::{Adopt, Connect, Coordinator, Line, Received};

use super::{LIMIT, answer_one, lines, ms, pair, rarely};

#[test]
fn an_adopted_socket_sends_small_frames_at_once_and_is_given_back_as_it_was() {
    let coordinator = Coordinator::new().unwrap();
    for (came, asked) in [(false, true), (false, false), (true, true), (true, false)] {
        let (ours, mut theirs) = pair();
        ours.set_nodelay(came).unwrap();
        let socket = ours.try_clone().unwrap();
        let adopt = Adopt::new(ours).nodelay(asked);
        let link = coordinator.adopt(adopt, rarely(), lines()).unwrap();
        assert_eq!(socket.nodelay().unwrap(), came || asked, "{came} {asked}");
        answer_one(&mut theirs);
        let stream = link.into_stream().unwrap().stream;
        assert_eq!(stream.nodelay().unwrap(), came);
    }
}

#[test]
fn a_connection_of_keepbeats_own_has_it_as_asked() {
    let coordinator = Coordinator::new().unwrap();
    for asked in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = Connect::from(listener.local_addr().unwrap()).nodelay(asked);
        let link = coordinator.connect(connect, rarely(), lines()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        answer_one(&mut theirs);
        let stream = link.into_stream().unwrap().stream;
        assert_eq!(stream.nodelay().unwrap(), asked);
    }
}

/// With Nagle's algorithm the second frame waits for the delayed acknowledgement of the first, 40
/// ms, each time. The best of many is told: noise only adds to it.
#[test]
fn the_second_of_two_small_frames_does_not_wait_for_the_first() {
    let coordinator = Coordinator::new().unwrap();
    let (ours, theirs) = pair();
    thread::spawn(move || {
        let mut writer = theirs.try_clone().unwrap();
        for line in BufReader::new(theirs).lines().map_while(Result::ok) {
            let answer: &[u8] = match line.as_str() {
                "PING" => b"PONG\n",
                "END" => b"done\n",
                _ => b"",
            };
            writer.write_all(answer).unwrap();
        }
    });
    let link = coordinator.adopt(ours, rarely(), lines()).unwrap();
    let mut took: Vec<_> = (0..20)
        .map(|_| {
            let start = Instant::now();
            link.send("HEAD").unwrap();
            link.send("END").unwrap();
            let answer = link.frames().recv_timeout(LIMIT).unwrap();
            assert_eq!(answer, Received::Frame(b"done".to_vec()));
            start.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[4] < ms(30), "{took:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn links_run_in_the_background_where_that_was_asked_for() {
    let policy = |background: bool| {
        let (tell, told) = keepbeat::crossbeam_channel::bounded(1);
        // Asked on the link's own thread.
        let resolver = move |_: &str, _: u16| {
            // SAFETY: it takes an integer.
            let _ = tell.try_send(unsafe { libc::sched_getscheduler(0) });
            Ok(Vec::new())
        };
        let coordinator =
            Coordinator::builder().background(background).resolver(resolver).build().unwrap();
        coordinator.watch("a-name.test:7000", rarely(), Line).unwrap();
        told.recv_timeout(LIMIT).unwrap()
    };
    assert_eq!(policy(false), libc::SCHED_OTHER);
    assert_eq!(policy(true), libc::SCHED_BATCH);
}
