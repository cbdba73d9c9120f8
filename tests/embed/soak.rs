//! A gateway in chaos: many devices with a protocol of their own and a login, three writers each,
//! and peers that hang, reset, close in one direction, reboot, or are forgotten by a box between.
//! Every frame is accounted for.

mod device;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::protocol::Rejected;
use keepbeat::{Connect, Coordinator, Heartbeat, Link, Login, Received};

use self::device::Press;
use super::{LIMIT, eventually, ms};

const WRITERS: u64 = 3;

/// How many devices, and for how long: a few, or with KEEPBEAT_SOAK the 200 for so many seconds.
fn size() -> (u64, Duration) {
    match std::env::var("KEEPBEAT_SOAK") {
        Ok(seconds) => (200, Duration::from_secs(seconds.parse().expect("seconds"))),
        Err(_) => (30, Duration::from_secs(8)),
    }
}

/// The text of each frame by its number, as `send_noted` told it.
type Journal = Mutex<BTreeMap<u64, String>>;

/// What is to be true of a link at its end.
struct Account {
    journal: BTreeMap<u64, String>,
    read: Vec<String>,
    doubt: Vec<std::ops::Range<u64>>,
    unsent: std::ops::Range<u64>,
    proven: u64,
}

impl Account {
    fn check(self, device: u64) -> (usize, usize) {
        let Account { journal, read, doubt, unsent, proven } = self;
        let by_text: BTreeMap<_, _> = journal.iter().map(|(n, text)| (text.as_str(), *n)).collect();
        assert_eq!(by_text.len(), journal.len(), "each text is sent once");
        let numbers: Vec<u64> = read.iter().map(|text| by_text[text.as_str()]).collect();
        for pair in numbers.windows(2) {
            assert!(pair[0] < pair[1], "device {device}: {} after {}", pair[1], pair[0]);
        }
        let doubtful = |n: u64| doubt.iter().any(|range| range.contains(&n));
        let mut lost = 0;
        for n in journal.keys() {
            if numbers.binary_search(n).is_err() {
                assert!(doubtful(*n) || unsent.contains(n), "device {device}: {n} is lost untold");
                assert!(*n > proven || doubtful(*n), "device {device}: {n} was called read");
                lost += 1;
            }
        }
        for n in &numbers {
            assert!(!unsent.contains(n), "device {device}: {n} came, and was called unsent");
        }
        (journal.len(), lost)
    }
}

/// A device, its link, and what both know.
struct Device {
    link: Arc<Link>,
    journal: Arc<Journal>,
    read: Arc<device::Seen>,
    threads: Vec<thread::JoinHandle<()>>,
    doubts: thread::JoinHandle<(Vec<std::ops::Range<u64>>, std::ops::Range<u64>)>,
}

fn device(
    coordinator: &Coordinator,
    n: u64,
    over: &Arc<AtomicBool>,
    calm: &Arc<AtomicBool>,
) -> Device {
    // An address of its own: after a reboot nobody else is there.
    let at = SocketAddr::from(([127, 77, (n / 250) as u8, (n % 250) as u8 + 1], 7000));
    let listener = device::listen(at);
    let login = |login: &mut Login<'_>| {
        login.send("LOGIN gateway")?;
        match login.receive()?.as_slice() {
            b"WELCOME" => Ok(()),
            _ => Err(Rejected::login_refused("not welcome")),
        }
    };
    let connect = Connect::from(at).queue(64).login(login);
    let beat = Heartbeat::every(ms(300)).timeout(ms(1000)).fall(2).backoff(ms(1), ms(50));
    let link = Arc::new(coordinator.connect(connect, beat, Press).unwrap());
    let (journal, read) = (Arc::<Journal>::default(), Arc::<device::Seen>::default());
    {
        let (read, calm) = (Arc::clone(&read), Arc::clone(calm));
        thread::spawn(move || device::run(at, listener, &read, n, &calm));
    }
    let threads = (0..WRITERS).map(|writer| {
        let (link, journal, over) = (Arc::clone(&link), Arc::clone(&journal), Arc::clone(over));
        thread::spawn(move || {
            let mut rng = fastrand::Rng::with_seed(n << 8 | writer);
            let mut i = 0;
            while !over.load(Ordering::SeqCst) {
                let text = format!("{writer} {i} {}", "x".repeat(rng.usize(..5_000)));
                let mut noted = 0;
                let note = |number| {
                    noted = number;
                    journal.lock().unwrap().insert(number, text.clone());
                };
                let soon = rng.bool().then(|| Instant::now() + ms(rng.u64(..50)));
                match link.send_noted(&text, soon, note) {
                    Ok(number) => assert_eq!(journal.lock().unwrap()[&number], text),
                    Err(error) => {
                        assert!(error.is_timeout() || error.cause().is_some(), "{error}");
                        // The number is the next frame's, which may have it already.
                        let mut journal = journal.lock().unwrap();
                        if journal.get(&noted) == Some(&text) {
                            journal.remove(&noted);
                        }
                    }
                }
                i += 1; // a text that was not sent is never sent
                thread::sleep(ms(rng.u64(..500)));
            }
        })
    });
    let threads = threads.collect();
    let frames = link.frames().clone();
    let doubts = thread::spawn(move || {
        let (mut doubts, mut last) = (Vec::new(), 0..0);
        for received in frames {
            if let Received::Lost { in_doubt, unsent, .. } = received {
                doubts.push(in_doubt);
                last = unsent;
            }
        }
        (doubts, last)
    });
    Device { link, journal, read, threads, doubts }
}

#[test]
fn in_chaos_no_frame_is_lost_untold_doubled_or_out_of_order() {
    let coordinator = Coordinator::new().unwrap();
    let (over, calm) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (many, lasts) = size();
    let devices: Vec<_> = (0..many).map(|n| device(&coordinator, n, &over, &calm)).collect();
    thread::sleep(lasts); // the chaos
    over.store(true, Ordering::SeqCst);
    let mut reconnects = 0;
    let ended = devices.into_iter().enumerate().map(|(n, device)| {
        let Device { link, journal, read, threads, doubts } = device;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        if n % 2 == 0 {
            // Calm again: whatever waits gets out.
            calm.store(true, Ordering::SeqCst);
            link.send_deadline("the last", Instant::now() + LIMIT).map(drop).unwrap_or(());
        }
        reconnects += link.status().reconnects;
        let proven = link.read_by_peer();
        let link = Arc::into_inner(link).expect("the writers have gone");
        let _ = link.close_within(ms(500)); // some of them in the middle of an outage
        let (doubt, unsent) = doubts.join().unwrap();
        let journal = std::mem::take(&mut *journal.lock().unwrap());
        (read, Account { journal, read: Vec::new(), doubt, unsent, proven })
    });
    let ended: Vec<_> = ended.collect();
    let mut before = usize::MAX;
    eventually("the devices have read what was on its way", || {
        thread::sleep(ms(500)); // longer than they hang
        let now = ended.iter().map(|(read, _)| read.lock().unwrap().len()).sum();
        std::mem::replace(&mut before, now) == now
    });
    let (mut all, mut lost) = (0, 0);
    for (n, (read, mut account)) in ended.into_iter().enumerate() {
        account.read = std::mem::take(&mut *read.lock().unwrap());
        account.read.retain(|text| text != "the last");
        let (of, missing) = account.check(n as u64);
        (all, lost) = (all + of, lost + missing);
    }
    println!("{all} frames, {lost} in doubt or unsent, {reconnects} reconnects");
    let (busy, often) = (many * lasts.as_secs() * 4, many * lasts.as_secs() / 30);
    assert!(all as u64 > busy && reconnects > often, "{all} {reconnects}: it was no chaos");
    assert!(lost * 5 < all, "{lost} of {all} did not come: each reconnect may cost a few");
}
