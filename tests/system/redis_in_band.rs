//! A real Redis whose connection carries commands and beats: each command has its one reply, each
//! beat its answer, with RESP2 and RESP3, to a client that has subscribed, within a transaction.

use std::io::{Read, Write};
use std::net::TcpStream;

use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Protocol, Redis, State};
use libtest_mimic::Trial;

use crate::redis::{quick, redis, watch};
use crate::server::{LIMIT, Server, program, wait_state};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let need = || program("redis-server", "redis-server");
    vec![
        trial("redis_in_band_answers_commands_and_beats_with_resp2", need(), resp2),
        trial("redis_in_band_answers_every_type_of_resp3", need(), resp3),
        trial("redis_in_band_answers_who_has_subscribed", need(), subscribed),
        trial("redis_in_band_a_beat_within_a_transaction_is_found_out", need(), queued),
        trial("redis_in_band_logs_in_first", need(), login),
    ]
}

struct Talk {
    stream: TcpStream,
    redis: Redis,
    bytes: Vec<u8>,
    beats: u64,
}

impl Talk {
    fn new(server: &Server, redis: Redis) -> Talk {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut talk = Talk { stream, redis, bytes: Vec::new(), beats: 0 };
        let mut login = Vec::new();
        talk.redis.connected(&mut login);
        talk.stream.write_all(&login).unwrap();
        talk
    }

    fn send(&mut self, command: &str) {
        self.stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    }

    fn beat(&mut self) {
        let mut ping = Vec::new();
        self.beats += 1;
        self.redis.beat(self.beats, &mut ping);
        self.stream.write_all(&ping).unwrap();
    }

    /// The next frame with its bytes.
    fn next(&mut self) -> Result<(Frame, Vec<u8>), Rejected> {
        loop {
            if !self.bytes.is_empty() {
                if let Some((frame, len)) = self.redis.parse(&self.bytes)? {
                    return Ok((frame, self.bytes.drain(..len).collect()));
                }
            }
            let mut piece = [0; 7];
            let n = self.stream.read(&mut piece).unwrap();
            assert!(n > 0, "Redis has closed");
            self.bytes.extend_from_slice(&piece[..n]);
        }
    }

    fn acked(&mut self, seq: u64) {
        assert_eq!(self.next().unwrap().0, Frame::Ack(Some(seq)));
    }

    /// A command with a beat before it and one behind, and its reply from between their answers.
    fn reply(&mut self, command: &str) -> String {
        self.beat();
        self.send(command);
        self.beat();
        self.acked(self.beats - 1);
        let (frame, bytes) = self.next().unwrap();
        assert_eq!(frame, Frame::Data, "{}", bytes.escape_ascii());
        self.acked(self.beats);
        bytes.escape_ascii().to_string()
    }
}

fn resp2() {
    let server = redis(&[]);
    let mut talk = Talk::new(&server, Redis::new().in_band());
    let lua = "EVAL \"return {1, {'a', {err='no'}, {ok='yes'}, false}, {}}\" 0";
    for _ in 0..20 {
        assert_eq!(talk.reply("SET k hello"), r"+OK\r\n");
        assert_eq!(talk.reply("GET k"), r"$5\r\nhello\r\n");
        assert_eq!(talk.reply("GET none"), r"$-1\r\n");
        assert!(talk.reply("NONSENSE").starts_with("-ERR unknown command"));
        assert_eq!(talk.reply("RPUSH list a b c").get(..1), Some(":"));
        assert!(talk.reply("LRANGE list 0 -1").starts_with('*'));
        let nested = r"*3\r\n:1\r\n*4\r\n$1\r\na\r\n-ERR no\r\n+yes\r\n$-1\r\n*0\r\n";
        assert_eq!(talk.reply(lua).replace("-no", "-ERR no"), nested);
        assert_eq!(talk.reply("PING"), r"+PONG\r\n");
        assert_eq!(talk.reply("PING keepbeat:1"), r"$10\r\nkeepbeat:1\r\n");
    }
    talk.reply("DEL list");
    talk.reply(&format!("SETRANGE long {} x", 3_000_000));
    assert!(talk.reply("GET long").len() > 3_000_000);
}

fn resp3() {
    let server = redis(&["--enable-debug-command", "yes"]);
    let mut talk = Talk::new(&server, Redis::new().in_band());
    assert!(talk.reply("HELLO 3").starts_with('%'));
    for (kind, first) in [
        ("string", "$"),
        ("integer", ":"),
        ("double", ","),
        ("null", "_"),
        ("array", "*"),
        ("set", "~"),
        ("map", "%"),
        ("attrib", "|"),
        ("verbatim", "="),
        ("true", "#t"),
        ("false", "#f"),
        ("bignum", "("),
    ] {
        let reply = talk.reply(&format!("DEBUG PROTOCOL {kind}"));
        assert!(reply.starts_with(first), "{kind}: {reply}");
    }
    talk.send("DEBUG PROTOCOL push");
    assert!(talk.next().unwrap().1.starts_with(b">"));
    assert!(talk.next().unwrap().1.starts_with(b"$"), "Redis says something behind it");
    talk.reply("SET k 1");
    assert_eq!(talk.reply("CLIENT TRACKING ON BCAST"), r"+OK\r\n");
    talk.send("SET k 2");
    let both = [talk.next().unwrap().1, talk.next().unwrap().1].concat();
    assert!(both.escape_ascii().to_string().contains(">2\\r\\n$10\\r\\ninvalidate"));
    assert!(talk.reply("SUBSCRIBE news").starts_with(">3"));
}

fn subscribed() {
    let server = redis(&[]);
    let mut talk = Talk::new(&server, Redis::new().in_band());
    let mut other = Talk::new(&server, Redis::new().in_band());
    assert!(talk.reply("SUBSCRIBE news").starts_with(r"*3\r\n$9\r\nsubscribe"));
    for n in 0..20 {
        talk.beat();
        talk.acked(talk.beats);
        assert_eq!(other.reply(&format!("PUBLISH news number{n}")), r":1\r\n");
        let message = talk.next().unwrap();
        assert_eq!(message.0, Frame::Data);
        assert!(message.1.escape_ascii().to_string().contains(&format!("number{n}")));
    }
    assert!(talk.reply("PING mine").contains("pong"));
}

fn queued() {
    let server = redis(&[]);
    let mut talk = Talk::new(&server, Redis::new().in_band());
    talk.send("MULTI\r\nSET k 1\r\nEXEC");
    talk.beat();
    let replies: Vec<_> = (0..3).map(|_| talk.next().unwrap().1).collect();
    assert_eq!(replies.concat().escape_ascii().to_string(), r"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    talk.acked(1);
    talk.send("MULTI");
    talk.beat();
    talk.send("EXEC");
    talk.beat();
    for expected in ["+OK", "+QUEUED", "*1"] {
        assert!(talk.next().unwrap().1.starts_with(expected.as_bytes()));
    }
    let told = format!("{:?}", talk.next().unwrap_err());
    assert!(told.contains("beat 3 was answered, that of beat 2 not"), "{told}");
}

fn login() {
    let users = "--requirepass s3cret --user deaf on >b0bs ~* +get";
    let server = redis(&users.split(' ').collect::<Vec<_>>());
    let mut talk = Talk::new(&server, Redis::new().password("s3cret").in_band());
    assert!(!talk.redis.is_ready());
    talk.beat();
    assert_eq!(talk.next().unwrap().0, Frame::Own);
    assert!(talk.redis.is_ready());
    talk.acked(1);
    talk.reply("SET k 1");
    for (refused, cause) in [
        (Redis::new(), "LoginRefused"),
        (Redis::new().password("wrong"), "LoginRefused"),
        (Redis::new().user("deaf").password("b0bs"), "PermissionMissing"),
    ] {
        let mut talk = Talk::new(&server, refused.in_band());
        talk.beat();
        let answer = std::iter::repeat_with(|| talk.next()).find_map(Result::err).unwrap();
        assert!(format!("{answer:?}").contains(cause), "{answer:?}");
    }
    let (coordinator, _) = watch(&server, quick(), Redis::new().password("s3cret").in_band());
    wait_state(coordinator.events(), State::Up);
}
