//! What is lost on the way, made without privileges: a filter on the peer's own sockets drops
//! packets before its TCP sees them, as a firewall before it would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use keepbeat::Exchange;
use socket2::{SockFilter, SockRef};

use super::*;
use crate::observe::drop_all;

use Cause::*;
use Confidence::{Likely, Possible};

/// Answers beats, and keeps a handle of each connection.
pub struct Filtered {
    pub address: SocketAddr,
    listener: TcpListener,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    ended: Arc<AtomicUsize>,
}

impl Filtered {
    pub fn new() -> Filtered {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let ended = Arc::new(AtomicUsize::new(0));
        let (theirs, kept) = (listener.try_clone().unwrap(), Arc::clone(&streams));
        let ends = Arc::clone(&ended);
        thread::spawn(move || {
            for stream in theirs.incoming() {
                let mut stream = stream.unwrap();
                kept.lock().unwrap().push(stream.try_clone().unwrap());
                let ends = Arc::clone(&ends);
                thread::spawn(move || {
                    let mut bytes = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut bytes) {
                        // What was held back comes in one piece.
                        for _ in bytes[..n].chunks(9).filter(|piece| piece == b"heartbeat") {
                            let _ = stream.write_all(b"heartbeat_ack");
                        }
                    }
                    ends.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Filtered { address: listener.local_addr().unwrap(), listener, streams, ended }
    }

    pub fn accepted(&self) -> usize {
        self.streams.lock().unwrap().len()
    }

    /// How many connections have ended.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    fn up(&self, beat: Heartbeat) -> Watch {
        let mut watch = Watch::new(self.address, beat, tutorial());
        watch.wait_beats(2);
        watch
    }

    /// The connections that stand.
    fn filter_old(&self, filter: &[SockFilter]) {
        for stream in self.streams.lock().unwrap().iter() {
            SockRef::from(stream).attach_filter(filter).unwrap();
        }
    }

    /// Those as well that come: they inherit it, and what opens them must pass it, too.
    pub fn filter_all(&self, filter: &[SockFilter]) {
        SockRef::from(&self.listener).attach_filter(filter).unwrap();
        self.filter_old(filter);
    }

    /// The first connection passes everything again.
    pub fn heal_first(&self) {
        SockRef::from(&self.streams.lock().unwrap()[0]).detach_filter().unwrap();
    }

    /// What the first look at other connections says.
    fn falls(&self, how: Diagnose, filter: impl Fn(&Filtered)) -> (Watch, Arc<Diagnosis>) {
        let mut watch = self.up(falls(how));
        filter(self);
        let told = down(&mut watch);
        (watch, told)
    }
}

/// Drops segments with more than so many bytes of data.
pub fn longer_than(bytes: u32) -> Vec<SockFilter> {
    let (ld, alu) = (libc::BPF_LD, libc::BPF_ALU);
    let code = |code: u32| code as u16;
    vec![
        // The length of the TCP header goes to X, that of the segment to A.
        SockFilter::new(code(ld | libc::BPF_B | libc::BPF_ABS), 0, 0, 12),
        SockFilter::new(code(alu | libc::BPF_RSH | libc::BPF_K), 0, 0, 4),
        SockFilter::new(code(alu | libc::BPF_LSH | libc::BPF_K), 0, 0, 2),
        SockFilter::new(code(libc::BPF_MISC | libc::BPF_TAX), 0, 0, 0),
        SockFilter::new(code(ld | libc::BPF_W | libc::BPF_LEN), 0, 0, 0),
        SockFilter::new(code(alu | libc::BPF_SUB | libc::BPF_X), 0, 0, 0),
        SockFilter::new(code(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K), 0, 1, bytes),
        SockFilter::new(code(libc::BPF_RET), 0, 0, 0),
        SockFilter::new(code(libc::BPF_RET), 0, 0, u32::MAX),
    ]
}

/// Drops segments whose data begin like the beat.
fn beats() -> Vec<SockFilter> {
    let (ld, code) = (libc::BPF_LD, |code: u32| code as u16);
    let mut filter = longer_than(3);
    filter.truncate(7);
    filter[6] = SockFilter::new(code(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K), 0, 3, 3);
    filter.extend([
        SockFilter::new(code(ld | libc::BPF_W | libc::BPF_IND), 0, 0, 0),
        SockFilter::new(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            1,
            u32::from_be_bytes(*b"hear"),
        ),
        SockFilter::new(code(libc::BPF_RET), 0, 0, 0),
        SockFilter::new(code(libc::BPF_RET), 0, 0, u32::MAX),
    ]);
    filter
}

/// With other connections, and enough of what they find.
fn complete(watch: &mut Watch, known: &str) -> Arc<Diagnosis> {
    let complete = |told: &Diagnosis| fact(told, known).is_some() && told.confidence() == Likely;
    eventually(known, || watch.status().diagnosis.is_some_and(|told| complete(&told)));
    watch.status().diagnosis.unwrap()
}

const ALONE: [Cause; 7] = [
    PathDead,
    PortFiltered,
    FlowDropped,
    FlowForgotten,
    PayloadFiltered,
    SizeFiltered,
    AllPayloadDropped,
];

#[test]
fn without_other_connections_a_lost_beat_is_silence_and_all_that_fits_is_named() {
    let peer = Filtered::new();
    let (watch, told) = peer.falls(Diagnose::kernel(), |peer| peer.filter_all(&[drop_all()]));
    assert_eq!((told.cause(), told.confidence()), (AckTimeout, Possible), "{told}");
    assert!(ALONE.iter().all(|fits| told.alternatives().contains(fits)), "{told}");
    assert!(!told.alternatives().contains(&PeerSilent), "its kernel acknowledged nothing: {told}");
    assert_agrees(&watch, &told);
    assert_eq!(peer.accepted(), 1);
}

#[test]
fn the_next_connection_explains_the_silence_of_the_last() {
    let peer = Filtered::new();
    let mut watch = peer.up(returns(Diagnose::kernel()));
    peer.filter_old(&[drop_all()]);
    assert_eq!(down(&mut watch).cause(), AckTimeout);
    watch.wait_state(State::Up);
    // The path may have healed just before: not until the old one has been sent again in vain.
    let told = with_others(&mut watch);
    assert_told(&told, FlowDropped, Likely, &[FlowForgotten, SomePathsDead], "this one connection");
    assert!(told.detail().contains("the next connection was answered at once"), "{told}");
    let in_vain = fact(&told, "resent_beside");
    assert!(matches!(in_vain, Some(Fact::Number(1..=2))), "{told}");
    assert_eq!(watch.status().diagnosis, None, "it is over");
}

#[test]
fn a_dead_path_is_told_from_a_filtered_port_where_another_port_may_be_asked() {
    let peer = Filtered::new();
    let dead = |peer: &Filtered| peer.filter_all(&[drop_all()]);
    let (mut watch, _) = peer.falls(Diagnose::side_connections(), dead);
    let told = complete(&mut watch, "more_fresh");
    assert_told(&told, PathDead, Likely, &[PortFiltered], "the host itself may be off");
    let peer = Filtered::new();
    let (mut watch, _) = peer.falls(Diagnose::side_connections().closed_port(), dead);
    let told = complete(&mut watch, "more_fresh");
    assert_told(&told, PortFiltered, Likely, &[], "the host lives");
    assert_agrees(&watch, &told);
}

#[test]
fn a_dropped_flow_is_told_from_a_forgotten_one_by_the_pause_before_it() {
    let peer = Filtered::new();
    let (mut watch, _) =
        peer.falls(Diagnose::side_connections(), |peer| peer.filter_old(&[drop_all()]));
    let told = complete(&mut watch, "more_fresh");
    assert_told(
        &told,
        FlowDropped,
        Likely,
        &[FlowForgotten, SomePathsDead],
        "ask whoever runs the firewall",
    );
    assert_agrees(&watch, &told);

    let peer = Filtered::new();
    let far = Duration::from_secs(3600);
    let beat = Heartbeat::every(ms(5000)).timeout(ms(300)).fall(3).backoff(far, far);
    // The second beat is spread over the interval; by this seed it comes late in it.
    let coordinator = Coordinator::builder().seed(1).build().unwrap();
    let beat = beat.diagnose(Diagnose::side_connections());
    let link = coordinator.watch(peer.address, beat, tutorial()).unwrap();
    let mut watch = Watch { coordinator, link, seen: Vec::new() };
    watch.wait_state(State::Up);
    peer.filter_old(&[drop_all()]); // before any pause was survived
    down(&mut watch);
    let told = complete(&mut watch, "more_fresh");
    assert_told(
        &told,
        FlowForgotten,
        Likely,
        &[FlowDropped, SomePathsDead],
        "beat more often, every ",
    );
    assert_agrees(&watch, &told);
}

#[test]
fn a_filter_that_reads_the_beat_is_told_with_the_bytes() {
    let peer = Filtered::new();
    let (mut watch, _) = peer.falls(Diagnose::side_connections(), |peer| peer.filter_all(&beats()));
    let told = complete(&mut watch, "fresh_same_length");
    assert_eq!(told.cause(), PayloadFiltered, "{told}");
    assert!(told.confidence() == Likely && told.alternatives().contains(&SomePathsDead), "{told}");
    let advice = format!(
        "packets with the bytes `heartbeat` to {} are dropped, other payloads of the same length \
         pass",
        peer.address
    );
    assert!(told.advice().contains(&advice), "{}", told.advice());
    assert_agrees(&watch, &told);
}

#[test]
fn a_filter_by_length_and_one_of_all_data_are_told_apart() {
    let length = |bytes| move |peer: &Filtered| peer.filter_all(&longer_than(bytes));
    let peer = Filtered::new();
    let (mut watch, _) = peer.falls(Diagnose::side_connections(), length(4));
    let told = complete(&mut watch, "fresh_tiny");
    assert_told(&told, SizeFiltered, Likely, &[SomePathsDead], "9 bytes of data are dropped");
    let peer = Filtered::new();
    let (mut watch, _) = peer.falls(Diagnose::side_connections(), length(0));
    let told = complete(&mut watch, "fresh_tiny");
    assert_told(
        &told,
        AllPayloadDropped,
        Likely,
        &[SomePathsDead],
        "packets with data are dropped",
    );
    assert_agrees(&watch, &told);
}

#[test]
fn without_leave_for_other_bytes_it_stays_open_whether_a_filter_has_read_them() {
    let peer = Filtered::new();
    peer.filter_all(&beats());
    let far = Duration::from_secs(3600);
    let beat = Heartbeat::every(ms(300)).timeout(ms(300)).fall(3).backoff(far, far);
    let protocol = Exchange::new("hearken!!", "heartbeat_ack");
    let mut watch = Watch::new(peer.address, beat.diagnose(Diagnose::side_connections()), protocol);
    down(&mut watch);
    let is_swallowed = |told: &Diagnosis| told.cause() == PayloadFiltered;
    eventually("a filter", || watch.status().diagnosis.is_some_and(|told| is_swallowed(&told)));
    let told = watch.status().diagnosis.unwrap();
    assert_eq!(told.confidence(), Possible, "{told}");
    for fits in [SizeFiltered, AllPayloadDropped, RateLimited] {
        assert!(told.alternatives().contains(&fits), "{told}");
    }
    assert_eq!(fact(&told, "fresh_same_length"), None);
    assert!(!told.to_string().contains("hearken"), "what may be a secret is not shown");
}
