//! TLS on a link's socket: whom it believes and what it says of others, ends and stops.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepbeat::{
    Cause, Confidence, Coordinator, EventKind, Heartbeat, Http, Line, State, Target, Tls,
};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::http_link::request;
use crate::peer::{Peer, Visit};
use crate::watching::{LIMIT, Watch, eventually, ms, quick};

/// A server's end of TLS.
pub type Server = StreamOwned<ServerConnection, TcpStream>;

/// An authority, and one certificate from it.
pub struct Authority {
    pub ca_pem: String,
    pub config: Arc<ServerConfig>,
}

impl Authority {
    /// Certifies `localhost` and 127.0.0.1, unless `change` has other plans.
    pub fn new(change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let mut ours = CertificateParams::new(Vec::<String>::new()).unwrap();
        ours.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(ours, KeyPair::generate().unwrap()).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut theirs = CertificateParams::new(names).unwrap();
        change(&mut theirs);
        let key = KeyPair::generate().unwrap();
        let certificate = theirs.signed_by(&key, &issuer).unwrap();
        Authority::serving(&certificate, &key, issuer.pem())
    }

    /// An authority in PEM, and two certificates from it with their keys, of which `change` makes
    /// the second another one.
    pub fn pair(
        change: impl Fn(&mut CertificateParams),
    ) -> (String, Vec<Arc<rustls::sign::CertifiedKey>>) {
        let mut ours = CertificateParams::new(Vec::<String>::new()).unwrap();
        ours.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(ours, KeyPair::generate().unwrap()).unwrap();
        let certified = |is_changed: bool| {
            let mut theirs = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            if is_changed {
                change(&mut theirs);
            }
            let key = KeyPair::generate().unwrap();
            let certificate = theirs.signed_by(&key, &issuer).unwrap();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
            Arc::new(rustls::sign::CertifiedKey::new(vec![certificate.der().clone()], key))
        };
        (issuer.pem(), vec![certified(false), certified(true)])
    }

    /// A server that shows the certificate of its authority as its own.
    pub fn itself() -> Authority {
        Authority::itself_as("127.0.0.1")
    }

    pub fn itself_as(name: &str) -> Authority {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
        Authority::serving(&certificate, &key, pem)
    }

    fn serving(certificate: &Certificate, key: &KeyPair, ca_pem: String) -> Authority {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Authority { ca_pem, config: Arc::new(config) }
    }

    pub fn tls(&self) -> Tls {
        Tls::new().ca_pem(self.ca_pem.as_bytes()).unwrap()
    }

    /// A peer under TLS.
    pub fn serve(
        &self,
        script: impl Fn(Server, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Peer {
        let config = Arc::clone(&self.config);
        Peer::new(move |Visit { stream, nth }| {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            script(StreamOwned::new(session, stream), nth)
        })
    }
}

/// Answers lines until the other end goes.
pub fn answer_lines(mut stream: Server) -> io::Result<()> {
    loop {
        answer_line(&mut stream)?;
    }
}

pub fn answer_line(stream: &mut Server) -> io::Result<()> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    let ack = String::from_utf8(line).unwrap().replace("beat", "ack");
    stream.write_all(ack.as_bytes())?;
    stream.flush()
}

pub fn target(peer: &Peer, tls: Tls) -> Target {
    Target::new(&format!("tls+line://{}", peer.address)).unwrap().tls(tls)
}

pub fn watch(target: Target, beat: Heartbeat) -> Watch {
    let coordinator = Coordinator::new().unwrap();
    let link = coordinator.watch(target, beat, Line).unwrap();
    Watch { coordinator, link, seen: Vec::new() }
}

#[test]
fn beats_go_and_come_under_tls() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|stream, _| answer_lines(stream));
    let mut watch = watch(target(&peer, authority.tls()), Heartbeat::every(ms(20)));
    watch.wait_beats(20);
    assert_eq!((watch.states(), watch.misses(), peer.visits()), (vec![State::Up], 0, 1));
    assert!(watch.status().rtt.last().is_some());
}

#[test]
fn the_name_of_the_target_is_the_one_that_is_checked() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|stream, _| answer_lines(stream));
    let port = peer.address.port();
    let by_name = Target::new(&format!("tls+line://localhost:{port}")).unwrap();
    watch(by_name.tls(authority.tls()), quick()).wait_state(State::Up);
    // The settings alone are enough, whatever the scheme.
    let plain = Target::from(peer.address).tls(authority.tls());
    watch(plain, quick()).wait_state(State::Up);
    let coordinator = Coordinator::new().unwrap();
    let error = coordinator.watch("tls+line://no_name-:1", quick(), Line).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("no_name-"), "{error}");
}

/// The detail with which `tls` fails against this certificate.
fn failure(authority: &Authority, tls: Tls) -> String {
    let peer = authority.serve(|stream, _| answer_lines(stream));
    let mut watch = watch(target(&peer, tls), quick());
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::TlsFailed, "{detail}");
    let told = watch.status().diagnosis.unwrap();
    assert_eq!(
        (told.cause(), told.confidence()),
        (Cause::TlsFailed, Confidence::Certain),
        "{told}"
    );
    // The word that says what is wrong comes first there, too.
    assert!(told.detail().starts_with(&detail) && told.alternatives().is_empty(), "{told}");
    // What helps against another word is not told.
    assert!(!told.advice().contains("(`expired`"), "{told}");
    let address = peer.address.to_string();
    assert!(told.advice().contains(&address), "{told}");
    detail
}

#[test]
fn each_certificate_that_is_no_good_is_told_with_its_word() {
    let over = Authority::new(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let detail = failure(&over, over.tls());
    assert!(detail.starts_with("expired: ") && detail.contains(" days ago, on 2020-02-01"));

    let early = Authority::new(|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    let detail = failure(&early, early.tls());
    assert!(detail.starts_with("not-yet-valid: ") && detail.contains("clock"), "{detail}");

    let named = CertificateParams::new(["other.example".to_owned()]).unwrap();
    let other = Authority::new(|params| params.subject_alt_names = named.subject_alt_names);
    let detail = failure(&other, other.tls());
    assert!(detail.starts_with("wrong-name: expected `127.0.0.1`"), "{detail}");
    assert!(detail.contains("`other.example`"), "{detail}");

    let good = Authority::new(|_| ());
    for tls in [other.tls(), Tls::new()] {
        let detail = failure(&good, tls);
        assert!(detail.starts_with("untrusted: ") && detail.contains("127.0.0.1"), "{detail}");
    }
    let itself = Authority::itself();
    for tls in [other.tls(), Tls::new()] {
        let detail = failure(&itself, tls);
        assert!(
            detail.starts_with("untrusted: ") && detail.contains("of an authority"),
            "{detail}"
        );
    }
    // Who trusts the authority trusts it as a server, too; but not under another name.
    let peer = itself.serve(|stream, _| answer_lines(stream));
    watch(target(&peer, itself.tls()), quick()).wait_state(State::Up);
    let unnamed = Authority::itself_as("other.example");
    let detail = failure(&unnamed, unnamed.tls());
    assert!(detail.starts_with("wrong-name: ") && detail.contains("`other.example`"), "{detail}");
    for authority in [over, other, good] {
        let peer = authority.serve(|stream, _| answer_lines(stream));
        let anybody = Tls::new().danger_accept_any_certificate();
        watch(target(&peer, anybody), quick()).wait_state(State::Up);
    }
}

#[test]
fn a_server_without_tls_is_told_by_what_it_answered() {
    let http = Peer::new(|mut visit| {
        let _ = visit.stream.read(&mut [0; 1024])?;
        visit.say(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")
    });
    let (cause, detail) = watch(target(&http, Tls::new()), quick()).wait_down();
    assert_eq!(cause, Cause::TlsFailed);
    let address = http.address;
    let expected = "answered the handshake with `HTTP/1.1 400 Bad Request`";
    assert_eq!(detail, format!("plaintext: {address} {expected}"));

    let silent = Peer::new(|mut visit| {
        let _ = visit.stream.read(&mut [0; 1024])?;
        visit.stream.shutdown(Shutdown::Both)
    });
    let (cause, detail) = watch(target(&silent, Tls::new()), quick()).wait_down();
    assert_eq!(cause, Cause::TlsFailed);
    assert!(detail.starts_with("protocol: ") && detail.contains("a port for TLS"), "{detail}");
}

#[test]
fn of_several_addresses_the_one_that_answered_names_the_cause() {
    let plain = Peer::new(|mut visit| {
        visit.say(b"220 mail.example\r\n")?;
        visit.swallow()
    });
    let dead = "127.0.0.1:1".parse().unwrap();
    for addresses in [vec![plain.address, dead], vec![dead, plain.address]] {
        let resolver = move |_: &str, _: u16| Ok(addresses.clone());
        let coordinator = Coordinator::builder().resolver(resolver).build().unwrap();
        let link = coordinator.watch("tls+line://name.test:1", quick(), Line).unwrap();
        let mut watch = Watch { coordinator, link, seen: Vec::new() };
        let (cause, detail) = watch.wait_down();
        assert_eq!(cause, Cause::TlsFailed, "{detail}");
        assert!(detail.starts_with("plaintext: ") && detail.contains("127.0.0.1:1: "), "{detail}");
    }
}

#[test]
fn a_server_that_refuses_is_told_by_its_alert() {
    // handshake_failure, fatal
    let peer = Peer::new(|mut visit| {
        let _ = visit.stream.read(&mut [0; 1024])?;
        visit.say(&[21, 3, 3, 0, 2, 2, 40])?;
        visit.swallow()
    });
    let (cause, detail) = watch(target(&peer, Tls::new()), quick()).wait_down();
    assert_eq!(cause, Cause::TlsFailed);
    assert!(detail.starts_with("protocol: ") && detail.contains("HandshakeFailure"), "{detail}");
}

#[test]
fn bytes_that_are_no_tls_any_more_end_it_after_the_ack_that_came_before_them() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|mut stream, _| {
        stream.read_exact(&mut [0; 7])?;
        stream.write_all(b"ack 1\n")?;
        stream.flush()?;
        stream.sock.write_all(b"garbage")?;
        stream.sock.read(&mut [0; 64]).map(|_| ())
    });
    let mut watch = watch(target(&peer, authority.tls()), Heartbeat::every(ms(60_000)));
    watch.wait_state(State::Up);
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::TlsFailed);
    assert!(detail.starts_with("protocol: "), "{detail}");
}

#[test]
fn a_silent_server_does_not_hold_up_the_connect_for_longer_than_its_timeout() {
    let peer = Peer::new(|mut visit| visit.swallow());
    let beat = quick().connect_timeout(ms(300));
    let start = Instant::now();
    let (cause, detail) = watch(target(&peer, Tls::new()), beat).wait_down();
    assert_eq!(cause, Cause::TlsFailed);
    assert!(detail.starts_with("silent: ") && detail.contains("no answer to the TLS"), "{detail}");
    assert!((ms(300)..ms(5000)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn a_stop_in_the_middle_of_a_handshake_is_done_within_a_second() {
    let peer = Peer::new(|mut visit| visit.swallow());
    let watch = watch(target(&peer, Tls::new()), quick().connect_timeout(ms(60_000)));
    eventually("the handshake has begun", || peer.visits() == 1);
    std::thread::sleep(ms(50)); // into the wait for its answer
    let start = Instant::now();
    watch.coordinator.stop().unwrap();
    assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
    let events: Vec<_> = watch.coordinator.events().iter().collect();
    let blamed = events.iter().any(|event| event.kind().cause().is_some());
    assert!(!blamed, "our own end is nobody's fault: {events:?}");
}

/// With a good-bye within TLS, and without one.
#[test]
fn an_end_between_two_beats_is_known_at_once_however_it_is_said() {
    for polite in [true, false] {
        let authority = Authority::new(|_| ());
        let (end, ending) = crossbeam_channel::bounded::<()>(0);
        let peer = authority.serve(move |mut stream, _| {
            stream.read_exact(&mut [0; 7])?;
            stream.write_all(b"ack 1\n")?;
            stream.flush()?;
            let _ = ending.recv();
            if polite {
                stream.conn.send_close_notify();
                stream.flush()?;
                return stream.sock.read(&mut [0; 64]).map(|_| ());
            }
            stream.sock.shutdown(Shutdown::Write)?;
            stream.sock.read(&mut [0; 64]).map(|_| ())
        });
        let beat = Heartbeat::every(Duration::from_secs(3600)).timeout(ms(5000));
        let mut watch = watch(target(&peer, authority.tls()), beat);
        watch.wait_state(State::Up);
        let start = Instant::now();
        drop(end);
        assert_eq!(watch.wait_down().0, Cause::ClosedByPeer, "polite: {polite}");
        assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
    }
}

#[test]
fn session_tickets_are_no_life_and_no_error() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|mut stream, _| {
        // The handshake, with the tickets that follow it, and never an ack.
        stream.read_exact(&mut [0; 7])?;
        let mut rest = [0; 64];
        while stream.read(&mut rest)? > 0 {}
        Ok(())
    });
    let mut watch = watch(target(&peer, authority.tls()), quick());
    let (cause, detail) = watch.wait_down();
    assert_eq!(cause, Cause::PeerSilent, "{detail}");
    assert_eq!(watch.states(), [State::Down]);
    // Of the bytes below TLS the kernel knows as much as of any others.
    let told = watch.seen.iter().rev().find_map(|event| event.kind().diagnosis()).unwrap();
    let unacked = told.evidence().facts().into_iter().find(|(name, _)| *name == "unacked");
    assert_eq!(unacked, Some(("unacked", keepbeat::Fact::Number(0))), "{told}");
}

#[test]
fn https_is_kept_renewed_and_read_whatever_its_size() {
    let authority = Authority::new(|_| ());
    let peer = authority.serve(|mut stream, nth| {
        for answer in 0..3 {
            let text = request(&mut stream)?;
            assert!(text.starts_with("GET /big HTTP/1.1\r\nHost: 127.0.0.1:"), "{text}");
            let last = if answer == 2 { "Connection: close\r\n" } else { "" };
            let body = vec![b'x'; if nth == 0 { 500_000 } else { 50_000 }];
            let head = format!("HTTP/1.1 200 OK\r\n{last}Content-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            stream.flush()?;
        }
        Ok(())
    });
    let target: Target = format!("https://{}/big", peer.address).parse().unwrap();
    let http = Http::for_target(&target).unwrap().method("GET").unwrap();
    let coordinator = Coordinator::new().unwrap();
    let beat = Heartbeat::every(ms(20)).timeout(ms(10_000));
    let link = coordinator.watch(target.tls(authority.tls()), beat, http).unwrap();
    let mut watch = Watch { coordinator, link, seen: Vec::new() };
    watch.wait_beats(9);
    assert_eq!((watch.states(), watch.misses()), (vec![State::Up], 0));
    let ended = |cause| watch.count(|kind| kind.cause() == Some(cause));
    assert!(ended(Cause::Renewed) >= 2 && ended(Cause::ClosedByPeer) == 0, "{:?}", watch.seen);
}

#[test]
fn https_means_tls_without_being_told_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("https://{}", listener.local_addr().unwrap());
    let coordinator = Coordinator::new().unwrap();
    let http = Http::for_target(&target.parse().unwrap()).unwrap();
    let beat = quick().connect_timeout(ms(500));
    coordinator.watch(target.as_str(), beat, http).unwrap();
    let event = coordinator.events().recv_timeout(LIMIT).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(first[0], 22, "a handshake");
    assert!(matches!(event.kind(), EventKind::State { to: State::Down, .. }), "{event}");
}
