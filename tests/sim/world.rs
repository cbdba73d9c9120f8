//! The simulated world: a path, a peer and ourselves, all with faults; TCP keeps order, and what is
//! lost shows as delay.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fastrand::Rng;
use keepbeat::pulse::{Input, Output, Pulse};
use keepbeat::{Cause, Heartbeat, Loss, Patience, State};

use crate::checks::Checks;
pub use crate::faults::{Faults, Habit, Rule};

/// The origin of the one clock. Far enough from the machine's own that time can run backwards a
/// little.
pub fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| Instant::now() + Duration::from_secs(1))
}

/// What is drawn for a seed.
#[derive(Clone, Debug)]
pub struct Params {
    pub interval: Duration,
    pub timeout: Duration,
    pub fall: u32,
    pub rise: u32,
    patience: Patience,
    /// One way.
    pub delay: Duration,
    loss: f64,
    /// An idle flow is forgotten after this.
    nat: Option<Duration>,
}

fn log_uniform(rng: &mut Rng, from: f64, to: f64) -> Duration {
    Duration::from_secs_f64(from * (to / from).powf(rng.f64()))
}

impl Params {
    pub fn draw(seed: u64) -> Params {
        let mut rng = Rng::with_seed(seed ^ 0xD1CE);
        let interval = log_uniform(&mut rng, 0.01, 120.0);
        let timeout = log_uniform(&mut rng, 0.01, 20.0);
        let nat = (rng.u8(..) < 64).then(|| interval.mul_f64(0.5 + 2.0 * rng.f64()));
        Params {
            interval,
            timeout,
            fall: rng.u32(1..=5),
            rise: rng.u32(1..=3),
            patience: if rng.bool() { Patience::Fixed } else { Patience::FromRtt },
            // A tenth of the timeout there and back, at most.
            delay: log_uniform(&mut rng, 0.00002, 1.0).min(timeout / 20),
            loss: if rng.bool() { 0.05 * rng.f64() } else { 0.0 },
            nat,
        }
    }

    /// A path that only delays, and less than an interval.
    pub fn without_loss(self) -> Params {
        let delay = self.delay.min(self.interval / 8);
        Params { loss: 0.0, nat: None, patience: Patience::Fixed, delay, ..self }
    }

    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat::every(self.interval)
            .timeout(self.timeout)
            .fall(self.fall)
            .rise(self.rise)
            .patience(self.patience)
            .backoff(Duration::from_millis(500), CAP)
    }

    pub fn most_outstanding(&self) -> usize {
        self.most_rounds() as usize + 1
    }

    fn most_rounds(&self) -> u32 {
        (3 * self.fall).max(10)
    }

    /// From a healed world to Up, at the worst: the dead connection is found after an interval and
    /// all its rounds with timeouts stretched five times; then the longest backoff; then `rise`
    /// rounds. Where packets are still lost, some of that again.
    fn recovery(&self) -> Duration {
        let find = self.interval.mul_f64(1.05) + self.most_rounds() * self.timeout * 5;
        let rise = self.rise * (self.timeout * 5 + self.timeout.min(self.interval));
        (find + CAP + CONNECT_TIMEOUT + rise) * if self.loss > 0.0 { 4 } else { 1 }
    }
}

const CAP: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection has in store for us.
#[derive(Debug)]
enum Arrival {
    Ack,
    Lost(Cause),
    /// The peer ends it where it may.
    Ended,
}

#[derive(Debug, Default)]
struct Connection {
    open: bool,
    /// In order of time.
    arrivals: VecDeque<(Instant, Arrival)>,
    last_activity: Option<Instant>,
    /// Nothing on this flow arrives any more, and nobody says so.
    forgotten: bool,
    /// The peer knows nothing of it, and says so to the next bytes.
    unknown_to_peer: bool,
    /// When the peer ends it, by its habit.
    ends_at: Option<Instant>,
}

pub struct World {
    params: Params,
    faults: Faults,
    rng: Rng,
    now: Instant,
    pulse: Pulse,
    pub checks: Checks,
    connection: Connection,
    connecting: Option<(Instant, Result<(), Cause>)>,
    next_fault: Instant,
    cut_until: Instant,
    hung_until: Instant,
    /// Gone: nothing is answered at all. Dead: connections are refused.
    gone_until: Instant,
    dead_until: Instant,
    done: bool,
}

impl World {
    pub fn new(seed: u64, params: Params, faults: Faults) -> World {
        let heartbeat = params.heartbeat();
        World::with_heartbeat(seed, params, faults, heartbeat)
    }

    pub fn with_heartbeat(seed: u64, params: Params, faults: Faults, beat: Heartbeat) -> World {
        let now = start();
        World {
            checks: Checks::new(seed, params.clone()),
            params,
            faults,
            rng: Rng::with_seed(seed),
            now,
            pulse: Pulse::new(beat, seed, now),
            connection: Connection::default(),
            connecting: None,
            next_fault: now,
            cut_until: now,
            hung_until: now,
            gone_until: now,
            dead_until: now,
            done: false,
        }
    }

    pub fn habit(&self) -> Option<Habit> {
        self.faults.habit
    }

    pub fn elapsed(&self) -> Duration {
        self.now - start()
    }

    pub fn run_for_beats(&mut self, beats: u64) {
        let until = self.checks.beats + beats;
        while self.checks.beats < until {
            self.step();
        }
    }

    pub fn run_to_the_end(&mut self) {
        while !self.done {
            self.step();
        }
    }

    /// How long it takes until the link is so.
    pub fn run_until(&mut self, state: State, most: Duration) -> Duration {
        let begin = self.now;
        while self.pulse.state() != state && self.now - begin < most {
            self.step();
        }
        self.now - begin
    }

    pub fn heal_and_expect_up(&mut self) {
        self.faults = Faults::NONE;
        self.params.nat = None;
        let now = self.now;
        for end in
            [&mut self.cut_until, &mut self.hung_until, &mut self.gone_until, &mut self.dead_until]
        {
            *end = (*end).min(now);
        }
        let bound = self.params.recovery();
        let took = self.run_until(State::Up, bound * 2);
        if took > bound {
            self.checks.fail(format!("healed, and not Up within {bound:?} but {took:?}"));
        }
    }

    pub fn stop_and_expect_done(&mut self) {
        self.tell(Input::Stop);
        for input in [Input::Tick, Input::Connected, Input::Ack(None), Input::Stop, Input::Resume] {
            self.tell(input);
            if !self.done || self.pulse.poll() != Output::Done {
                self.checks.fail("not done after its stop");
            }
        }
    }

    /// No more answers, no more connections, and nobody says so.
    pub fn peer_vanishes(&mut self) {
        self.gone_until = self.now + Duration::from_secs(1_000_000_000);
        self.connection.arrivals.clear();
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    /// We sleep.
    pub fn sleep(&mut self, pause: Duration) {
        self.now += pause;
    }

    fn tell(&mut self, input: Input) {
        self.pulse.handle(self.now, input);
        self.obey();
    }

    /// Polls until the pulse waits, and does what it says.
    fn obey(&mut self) -> Option<Instant> {
        loop {
            let output = self.pulse.poll();
            self.checks.on_output(self.now, self.now - start(), &output);
            match output {
                Output::Connect => self.connect(),
                Output::Beat(seq) => self.beat(seq),
                Output::Close => self.connection = Connection::default(),
                Output::Report(_) => {}
                Output::Wait(until) => return until,
                Output::Done => {
                    self.done = true;
                    return None;
                }
            }
        }
    }

    fn step(&mut self) {
        let until = self.obey();
        if self.done {
            return;
        }
        self.strike_faults();
        let arrival = self.connection.arrivals.front().map(|(at, _)| *at);
        // Behind what it had sent before.
        let end = self.end_by_habit().filter(|_| arrival.is_none());
        let arrival = arrival.or(end.as_ref().map(|(at, _)| *at));
        let connected = self.connecting.as_ref().map(|(at, _)| *at);
        let next = [until, arrival, connected].into_iter().flatten().min();
        let fell_asleep = self.now;
        self.now = self.now.max(next.unwrap_or(self.now));
        self.maybe_oversleep(fell_asleep, until);
        // As the driver does: what waits to be read is read before anybody is judged.
        if self.connecting.as_ref().is_some_and(|(at, _)| *at <= self.now) {
            match self.connecting.take().expect("just seen").1 {
                Ok(()) => {
                    self.connection = Connection { open: true, ..Connection::default() };
                    self.connection.last_activity = Some(self.now);
                    let habit = self.faults.habit;
                    self.connection.ends_at = habit.map(|habit| self.now + habit.limit);
                    self.tell(Input::Connected);
                }
                Err(cause) => self.tell(Input::Lost(Loss::from(cause))),
            }
        } else if let Some((_, arrival)) = end.filter(|(at, _)| *at <= self.now) {
            self.connection.ends_at = None;
            self.arrived(arrival);
        } else if self.connection.arrivals.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, arrival) = self.connection.arrivals.pop_front().expect("just seen");
            self.arrived(arrival);
        } else {
            self.tell(Input::Tick);
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Ack => {
                if self.pulse.outstanding() > self.params.most_outstanding() {
                    self.checks.fail("more outstanding beats than there is room for");
                }
                self.tell(Input::Ack(None));
                if self.rng.u16(..256) < self.faults.renews {
                    self.tell(Input::Renew);
                }
            }
            Arrival::Lost(cause) => self.tell(Input::Lost(Loss::from(cause))),
            Arrival::Ended => {
                let loss = Loss::from(Cause::ClosedByPeer);
                self.tell(Input::Ended { loss, repeat: true });
            }
        }
    }

    fn maybe_oversleep(&mut self, fell_asleep: Instant, until: Option<Instant>) {
        let timeout = self.params.timeout.max(Duration::from_millis(200));
        if self.faults.overload {
            self.now += timeout;
            return;
        }
        if !self.faults.our_pauses || self.rng.u16(..) >= 600 {
            return;
        }
        // Pareto: mostly short, sometimes for many rounds.
        let pause = timeout.as_secs_f64() * 0.5 / self.rng.f64().max(1e-4).powf(1.0 / 1.3);
        self.now += Duration::from_secs_f64(pause);
        if self.faults.deaf_pauses && self.rng.bool() {
            // Long enough to be known as a stall of ours even if timeouts are stretched five times;
            // a shorter one costs a miss like any loss of packets.
            self.now = self.now.max(until.unwrap_or(self.now) + timeout * 3 / 2);
            let again = self.now + self.params.timeout.mul_f64(0.9 * self.rng.f64());
            for (at, _) in &mut self.connection.arrivals {
                if *at > fell_asleep {
                    *at = (*at).max(again);
                }
            }
        }
    }

    fn connect(&mut self) {
        self.checks.attempts += 1;
        let there_and_back = self.params.delay * 2;
        let gone = self.now < self.gone_until || self.now < self.cut_until;
        self.connecting = Some(if gone {
            (self.now + CONNECT_TIMEOUT, Err(Cause::ConnectTimeout))
        } else if self.now < self.dead_until {
            (self.now + there_and_back, Err(Cause::Refused))
        } else {
            (self.now + there_and_back, Ok(()))
        });
    }

    fn beat(&mut self, seq: u64) {
        let idle = self.connection.last_activity.map_or(Duration::ZERO, |at| self.now - at);
        self.connection.forgotten |= self.params.nat.is_some_and(|limit| idle > limit);
        self.connection.last_activity = Some(self.now);
        self.deliver();
        self.checks.on_sent(self.now);
        self.pulse.handle(self.now, Input::Sent { seq, at: self.now });
    }

    /// Puts what becomes of a beat into the queue of arrivals.
    fn deliver(&mut self) {
        if self.connection.forgotten || self.now < self.gone_until {
            return;
        }
        let there = self.cross(self.now);
        if self.connection.ends_at.is_some_and(|end| end <= there) {
            return; // it crosses the end, which is on its way
        }
        if self.faults.slams || self.connection.unknown_to_peer || self.now < self.dead_until {
            let at = self.cross(there);
            self.arrive(at, Arrival::Lost(Cause::Reset));
            return;
        }
        let answered = there.max(self.hung_until);
        let back = self.cross(answered);
        self.arrive(back, Arrival::Ack);
        if let Some(Habit { rule: Rule::Idle, limit, .. }) = self.faults.habit {
            self.connection.ends_at = Some(answered + limit);
        }
    }

    /// When the end that the peer has made by its habit is here, unless something is sent before.
    fn end_by_habit(&self) -> Option<(Instant, Arrival)> {
        let (habit, end) = (self.faults.habit?, self.connection.ends_at?);
        let arrival =
            if habit.is_free { Arrival::Ended } else { Arrival::Lost(Cause::ClosedByPeer) };
        self.connection.open.then_some((end + self.params.delay, arrival))
    }

    /// When something sent at `at` comes out at the other end.
    fn cross(&mut self, at: Instant) -> Instant {
        let mut rto = Duration::from_millis(200);
        let mut sent = at.max(self.cut_until);
        while self.params.loss > 0.0 && self.rng.f64() < self.params.loss {
            sent += rto;
            rto *= 2;
        }
        sent + self.params.delay.mul_f64(0.8 + 0.2 * self.rng.f64())
    }

    fn arrive(&mut self, at: Instant, arrival: Arrival) {
        let queue = &mut self.connection.arrivals;
        let after = queue.back().map_or(at, |(last, _)| at.max(*last));
        queue.push_back((after, arrival));
    }

    fn strike_faults(&mut self) {
        if self.now < self.next_fault {
            return;
        }
        let Params { interval, timeout, fall, .. } = self.params;
        // On average one fault in two hundred rounds.
        let round = interval.max(self.params.delay);
        let wait = -(self.rng.f64().max(1e-9).ln()) * 200.0;
        self.next_fault = self.now + round.mul_f64(wait);
        let detection = interval + timeout * (fall + 1);
        let length = detection.mul_f64(2.0 * self.rng.f64());
        let end = self.now + length;
        match self.rng.u8(0..8) {
            0 if self.faults.path => self.cut_until = end,
            1 if self.faults.path => self.connection.forgotten = true,
            2 if self.faults.peer => self.hung_until = end,
            3 if self.faults.peer => self.vanish(end),
            4 if self.faults.peer => self.connection.unknown_to_peer = true,
            5 if self.faults.peer => self.die(end),
            6 if self.faults.peer => self.close(),
            // It really dies while we sleep.
            7 if self.faults.peer && self.faults.our_pauses => {
                if self.rng.bool() {
                    self.vanish(end)
                } else {
                    self.die(end)
                }
                self.now += length;
            }
            _ => {}
        }
    }

    fn vanish(&mut self, end: Instant) {
        self.gone_until = end;
        self.connection.unknown_to_peer = true;
        let limit = self.now + self.params.delay;
        self.connection.arrivals.retain(|(at, _)| *at <= limit);
    }

    fn die(&mut self, end: Instant) {
        self.dead_until = end;
        self.close();
        self.connection.unknown_to_peer = true;
    }

    /// FIN or RST, after what was already on its way.
    fn close(&mut self) {
        if self.connection.open && !self.connection.forgotten && self.now >= self.gone_until {
            let limit = self.now + self.params.delay;
            self.connection.arrivals.retain(|(at, _)| *at <= limit);
            let cause = if self.rng.bool() { Cause::ClosedByPeer } else { Cause::Reset };
            let at = self.cross(self.now);
            self.arrive(at, Arrival::Lost(cause));
        }
    }
}
