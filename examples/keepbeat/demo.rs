//! The demo: a peer of our own has one fault after another, and the link to it shows what each
//! looks like. Each act waits for its events, so the demo takes no longer than they do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keepbeat::protocol::{Frame, Rejected};
use keepbeat::{Cause, Diagnose, EventKind, Exchange, Heartbeat, Protocol};
use keepbeat::{Responder, State, Target};

use crate::args::Args;
use crate::output::Output;
use crate::plan::Watch;
use crate::record::Record;
use crate::script::{LIMIT, Script, Stop};

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(300);
/// Longer than one timeout and shorter than two, so that the acks of a slow peer are only late.
const SLOW: Duration = Duration::from_millis(400);

/// Plays the demo. True if every fault was found and the link came back up.
///
/// # Errors
///
/// An expected event did not come, or standard output failed.
pub fn run(args: &Args, record: Option<Record>) -> Result<bool, String> {
    let mut script = Script::new(Output::new(args, record, &["peer".to_owned()]))?;
    let mood = Arc::new(AtomicU8::new(WELL));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let peer = peer(any, &mood).map_err(|error| error.to_string())?;
    let mut demo = Demo { script: &mut script, peer, mood };
    let played = demo.start().and_then(|()| demo.play());
    let peer = demo.peer;
    let result = script.end(played);
    peer.stop();
    result
}

struct Demo<'a> {
    script: &'a mut Script,
    peer: Responder,
    mood: Arc<AtomicU8>,
}

impl Demo<'_> {
    fn start(&mut self) -> Result<(), Stop> {
        // The peer changes too fast for side connections: one of them could meet another fault than
        // the link did.
        let heartbeat = Heartbeat::every(INTERVAL)
            .timeout(TIMEOUT)
            .fall(3)
            .backoff(Duration::from_millis(250), Duration::from_millis(500))
            .diagnose(Diagnose::kernel());
        let target = Target::from(self.peer.local_addr()).named("peer");
        let protocol = Exchange::new("heartbeat", "heartbeat_ack");
        let words =
            format!("a beat every {INTERVAL:?}, {TIMEOUT:?} for its ack, down after 3 misses");
        self.act("this is the demo; --help shows the rest")?;
        let (copy, beat) = (target.clone(), heartbeat.clone());
        let shown =
            Watch { target: copy, heartbeat: beat, protocol: Box::new(protocol.clone()), words };
        self.script.output.start(&[shown])?;
        let link = self.script.coordinator.watch(target, heartbeat, protocol);
        link.map(|_| ()).map_err(|error| Stop::Missing(format!("a link: {error}")))
    }

    fn play(&mut self) -> Result<(), Stop> {
        self.recovery()?;

        self.act("the peer gets slow: each ack takes 400ms")?;
        self.mood(SLOW_ACKS);
        self.until("the suspicion", |kind| is_state(kind, State::Suspect))?;
        self.until("a late ack", |kind| matches!(kind, EventKind::Beat { late: true, .. }))?;
        self.act("it is quick again")?;
        self.mood(WELL);
        self.recovery()?;

        let words = "the peer hangs: the connection stands, no ack comes";
        self.fault(words, Cause::PeerSilent, |demo| demo.mood(HUNG))?;
        self.act("it answers again")?;
        self.mood(WELL);
        self.recovery()?;

        let words = "the peer resets the connection";
        self.fault(words, Cause::Reset, |demo| demo.peer.reset_clients())?;
        self.recovery()?;

        let words = "the peer closes the connection";
        self.fault(words, Cause::ClosedByPeer, |demo| demo.peer.close_clients())?;
        self.recovery()?;
        // Two ends at the same age would be a rule of the peer, and no fault.
        self.beats(3)?;

        self.act("the peer is gone: nobody listens on its port")?;
        self.peer.stop();
        self.fall()?;
        self.until("a refusal", |kind| kind.cause() == Some(Cause::Refused))?;
        self.until("another refusal", |kind| kind.cause() == Some(Cause::Refused))?;
        self.act("it is back")?;
        self.bind_again()?;
        self.recovery()?;
        self.act("every fault was found and named; to watch your own: keepbeat HOST:PORT")
    }

    fn act(&mut self, words: &str) -> Result<(), Stop> {
        self.script.act(words)
    }

    fn mood(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }

    /// Does something to the peer, and waits until the link goes down.
    fn fault(&mut self, words: &str, cause: Cause, deed: impl Fn(&Self)) -> Result<(), Stop> {
        // On a busy machine the link may go down by itself at that moment. Then try once more.
        for _ in 0..3 {
            self.act(words)?;
            deed(self);
            if self.fall()? == Some(cause) {
                return Ok(());
            }
            self.act("a busy machine caused another fault at that moment; once more")?;
            self.recovery()?;
        }
        Err(Stop::Missing(format!("the link to go down with {cause}")))
    }

    /// Waits for Down and the end of the connection. Returns the cause.
    fn fall(&mut self) -> Result<Option<Cause>, Stop> {
        let down = self.until("the link to go down", |kind| is_state(kind, State::Down))?;
        self.until("the connection's end", |kind| matches!(kind, EventKind::Disconnected { .. }))?;
        Ok(down.cause())
    }

    /// Waits for Up and two acks.
    fn recovery(&mut self) -> Result<(), Stop> {
        self.until("the link to come up", |kind| is_state(kind, State::Up))?;
        self.beats(2)
    }

    fn beats(&mut self, acks: usize) -> Result<(), Stop> {
        for _ in 0..acks {
            self.until("an ack", |kind| matches!(kind, EventKind::Beat { late: false, .. }))?;
        }
        Ok(())
    }

    /// Shows events until `hit` accepts one, and returns it.
    fn until(&mut self, what: &str, hit: impl Fn(&EventKind) -> bool) -> Result<EventKind, Stop> {
        self.script.until(what, |event| hit(event.kind())).map(|event| event.kind().clone())
    }

    /// Listens on the same port again.
    fn bind_again(&mut self) -> Result<(), Stop> {
        let address = self.peer.local_addr();
        let deadline = Instant::now() + LIMIT;
        loop {
            match peer(address, &self.mood) {
                Ok(peer) => {
                    self.peer = peer;
                    return Ok(());
                }
                // A passing connection may hold the port for a moment.
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(Stop::Missing(format!("its port: {error}"))),
            }
        }
    }
}

fn is_state(kind: &EventKind, state: State) -> bool {
    matches!(kind, EventKind::State { to, .. } if *to == state)
}

const WELL: u8 = 0;
const SLOW_ACKS: u8 = 1;
const HUNG: u8 = 2;

fn peer(address: SocketAddr, mood: &Arc<AtomicU8>) -> Result<Responder, keepbeat::Error> {
    let mood = Arc::clone(mood);
    let protocol = move || {
        let well = Exchange::answering("heartbeat", "heartbeat_ack");
        Moody { well, mood: Arc::clone(&mood) }
    };
    Responder::bind(address, protocol)
}

/// Answers, or does not, as its mood says.
struct Moody {
    well: Exchange,
    mood: Arc<AtomicU8>,
}

impl Protocol for Moody {
    fn beat(&mut self, seq: u64, out: &mut Vec<u8>) {
        self.well.beat(seq, out);
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, Rejected> {
        self.well.parse(bytes)
    }

    fn ack(&mut self, seq: Option<u64>, out: &mut Vec<u8>) {
        match self.mood.load(Ordering::SeqCst) {
            HUNG => return,
            SLOW_ACKS => thread::sleep(SLOW),
            _ => {}
        }
        self.well.ack(seq, out);
    }
}
