//! The certificate of a peer: when it expires, and the warning before that.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use keepbeat::{
    Cause, Confidence, Coordinator, EventKind, Fact, Framed, Heartbeat, State, Target, Tls,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::peer::{Peer, Visit};
use crate::tls_link::{Authority, Server, answer_line, answer_lines, target, watch};
use crate::watching::{LIMIT, Watch, ms, quick};

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 3600)
}

/// With a certificate that is over in so many days and an hour.
fn expiring_in(n: u64) -> Authority {
    let until = SystemTime::now() + days(n) + Duration::from_secs(3600);
    Authority::new(|params| params.not_after = until.into())
}

fn days_left(expires: Option<SystemTime>) -> u64 {
    let left = expires.expect("it is known").duration_since(SystemTime::now()).unwrap();
    left.as_secs() / days(1).as_secs()
}

/// Each connection is closed after one answer.
fn answer_once(mut stream: Server) -> io::Result<()> {
    answer_line(&mut stream)
}

fn warnings(watch: &Watch) -> usize {
    let told = |kind: &EventKind| {
        matches!(kind, EventKind::Diagnosed { diagnosis }
            if diagnosis.cause() == Cause::CertificateExpiring)
    };
    watch.count(told)
}

#[test]
fn when_the_certificate_expires_is_known_whoever_signed_it() {
    let (good, itself) = (expiring_in(100), Authority::itself());
    let anybody = || Tls::new().danger_accept_any_certificate();
    for (authority, tls) in [(&good, good.tls()), (&good, anybody()), (&itself, anybody())] {
        let peer = authority.serve(|stream, _| answer_lines(stream));
        let mut watch = watch(target(&peer, tls), Heartbeat::every(ms(20)));
        watch.wait_state(State::Up);
        let connected = watch.seen.iter().find(|event| event.certificate_expires().is_some());
        let connected = connected.expect("the event knows it");
        assert!(matches!(connected.kind(), EventKind::Connected { .. }), "{connected}");
        let expires = watch.status().certificate_expires;
        assert_eq!(connected.certificate_expires(), expires);
        if std::ptr::eq(authority, &good) {
            assert_eq!(days_left(expires), 100);
        }
        watch.wait_beats(3);
        assert_eq!(warnings(&watch), 0);
    }
}

#[test]
fn an_end_that_is_near_is_a_warning_once_a_day_and_not_at_each_connection() {
    let authority = expiring_in(13);
    let peer = authority.serve(|stream, _| answer_once(stream));
    let beat = Heartbeat::every(ms(20)).timeout(ms(10_000)).backoff(ms(1), ms(10));
    let mut watch = watch(target(&peer, authority.tls()), beat);
    watch.wait_beats(4);
    assert!(peer.visits() >= 4, "each beat has a connection of its own");
    assert_eq!(warnings(&watch), 1, "{:?}", watch.seen);
    let told = watch.seen.iter().find_map(|event| match event.kind() {
        EventKind::Diagnosed { diagnosis } => Some(diagnosis),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!(told.confidence(), Confidence::Certain);
    let address = peer.address.to_string();
    let begin = format!("the certificate of {address} expires in 13 days, on 2");
    assert!(told.detail().starts_with(&begin), "{told}");
    assert!(told.advice().contains(&format!("renew the certificate of {address}")), "{told}");
    let facts = told.evidence().facts();
    assert!(facts.contains(&("certificate_days", Fact::Number(13))), "{facts:?}");
}

#[test]
fn the_time_of_the_warning_is_a_setting() {
    let authority = expiring_in(13);
    let tls = || authority.tls();
    let insecure = Tls::new().danger_accept_any_certificate();
    for (tls, wanted) in [
        (tls().expiry_warning(days(14)), 1),
        (tls().expiry_warning(days(13)), 0),
        (tls().expiry_warning(Duration::ZERO), 0),
        (insecure, 0),
    ] {
        let peer = authority.serve(|stream, _| answer_lines(stream));
        let mut watch = watch(target(&peer, tls), Heartbeat::every(ms(20)));
        watch.wait_beats(3);
        assert_eq!(warnings(&watch), wanted, "{:?}", watch.seen);
    }
}

#[test]
fn a_link_that_carries_data_is_warned_too() {
    let authority = expiring_in(3);
    let peer = authority.serve(|stream, _| answer_lines(stream));
    let coordinator = Coordinator::new().unwrap();
    let lines = Framed::lines("beat", "ack").unwrap();
    let link = coordinator.connect(target(&peer, authority.tls()), quick(), lines).unwrap();
    loop {
        let event = coordinator.events().recv_timeout(LIMIT).unwrap();
        if event.kind().cause() == Some(Cause::CertificateExpiring) {
            break;
        }
    }
    assert_eq!(days_left(link.status().certificate_expires), 3);
}

/// The first handshake shows one certificate, every later one another.
#[derive(Debug)]
struct Replaced(Vec<Arc<CertifiedKey>>, AtomicUsize);

impl ResolvesServerCert for Replaced {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let nth = self.1.fetch_add(1, Ordering::SeqCst);
        Some(Arc::clone(&self.0[nth.min(1)]))
    }
}

#[test]
fn a_reconnect_sees_the_certificate_of_now_and_not_that_of_a_resumed_session() {
    let pair = Authority::pair(|second| {
        second.not_before = rcgen::date_time_ymd(2020, 1, 1);
        second.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let (ca, certificates) = pair;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Replaced(certificates, AtomicUsize::new(0))));
    let config = Arc::new(config);
    let peer = Peer::new(move |Visit { stream, .. }: Visit| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        answer_once(StreamOwned::<ServerConnection, TcpStream>::new(session, stream))
    });
    let beat = Heartbeat::every(ms(20)).timeout(ms(10_000)).backoff(ms(1), ms(10));
    let target = Target::new(&format!("tls+line://{}", peer.address)).unwrap();
    let tls = Tls::new().ca_pem(ca.as_bytes()).unwrap();
    let mut watch = watch(target.tls(tls), beat);
    watch.wait_state(State::Up);
    let failed = watch.wait("the failed handshake", |kind| kind.cause() == Some(Cause::TlsFailed));
    assert!(failed.to_string().contains("expired: "), "{failed}");
    let advice = watch.status().diagnosis.unwrap().advice().to_owned();
    assert!(advice.starts_with("renew the certificate of 127.0.0.1:"), "{advice}");
}

#[test]
fn a_warning_is_not_why_a_link_is_not_up() {
    let authority = expiring_in(3);
    let peer = authority.serve(|mut stream, _| {
        use std::io::Read;
        // The handshake, and never an ack.
        while stream.read(&mut [0; 64])? > 0 {}
        Ok(())
    });
    let beat = Heartbeat::every(ms(50)).timeout(ms(50)).fall(2).backoff(ms(1), ms(5));
    let mut watch = watch(target(&peer, authority.tls()), beat);
    let warned = |kind: &EventKind| kind.cause() == Some(Cause::CertificateExpiring);
    watch.wait("the warning", warned);
    let known = watch.status().diagnosis.map(|told| told.cause());
    assert_ne!(known, Some(Cause::CertificateExpiring));
    watch.wait_state(State::Down);
    watch.wait("another connection", |kind| matches!(kind, EventKind::Connected { .. }));
    let status = watch.status();
    let told = status.diagnosis.expect("why it is down");
    assert_ne!(told.cause(), Cause::CertificateExpiring, "{told}");
    assert_eq!(warnings(&watch), 1, "once a day");
}
