//! How a link ends, or its connection: by the peer, by a writer's finding, on request; and what the
//! peer's kernel says where our own side keeps an ack from being read.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::cause::{Cause, Loss};
use crate::counted::counted;
use crate::error::Error;
use crate::links::in_band::outlet::LINGER;
use crate::links::out::received::Returned;
use crate::net::read_half::{ReadHalf, Woke, end, loss_of};
use crate::pulse::Input;
use crate::sys;
use crate::tcp_info::TcpInfo;

use super::outlet::Command;
use super::{Common, InBand, Medium, Origin, Standing};

/// How long a link that is stopped may take to say good-bye; one that is closed has its write
/// timeout.
const GOOD_BYE: Duration = Duration::from_millis(100);

/// How far off the kernel's own ages may be.
const TICK: Duration = Duration::from_millis(10);

/// Reads in one go while a link that closes waits for room to write.
const READS_AT_ONCE: u32 = 64;

impl InBand {
    /// A writer found the connection broken. What came before is still the application's.
    pub(super) fn on_broken(&mut self, link: &mut Common, loss: Loss) {
        let said = self.read_on(link).err();
        self.lose(link, said.unwrap_or(loss));
    }

    /// The connection failed while the application takes no frames: nothing can be read, and its
    /// error tells why. A reset takes what was not yet read with it.
    pub(super) fn hard_end(&self) -> Loss {
        let Some(line) = &self.line else { return Cause::Reset.into() };
        match line.read.socket.take_error() {
            Ok(Some(error)) | Err(error) => loss_of(&error, line.read.peer),
            Ok(None) => end(line.read.peer),
        }
    }

    /// Whether our own side may be what keeps an ack away: the application takes no frames, or the
    /// beat itself waits for room.
    pub(super) fn is_kept_from_judging(&self) -> bool {
        self.line.is_some() && (self.delivery.is_blocked() || self.outlet.holds_a_beat())
    }

    /// Whether the peer's kernel has acknowledged anything since the beat was due, also a probe of
    /// its closed window; or was not asked, because its window is closed and no probe is out.
    pub(super) fn is_vouched_for(&self, link: &mut Common) -> bool {
        let Some(line) = &self.line else { return false };
        let Ok(info) = TcpInfo::of(&*line.read.socket) else { return false };
        // A kernel that tells nonsense vouches for nobody.
        if !link.inquiry.case().believes(&info, Instant::now()) {
            return false;
        }
        let unsent = info.notsent_bytes.unwrap_or_default();
        // The beat among it. The ages count in ticks of the kernel's clock, 10 ms at the most.
        let all = info.unacked == 0 && unsent == 0;
        let lately = info.last_ack_recv <= link.beat_at.elapsed() + TICK;
        // Bytes wait and none is on its way: for want of a window. One probe of it may be out at
        // any time; two say that nobody answers.
        let waits_for_window = info.unacked == 0 && unsent > 0 && info.probes < 2;
        all || lately || waits_for_window
    }

    pub(super) fn obey(&mut self, link: &mut Common, command: Command) {
        match command {
            Command::Close(told) => {
                let least = Instant::now() + link.heartbeat.write_timeout + LINGER;
                let until = told.as_ref().map_or(least, |(_, until)| *until);
                let result = self.say_good_bye(link, until, LINGER);
                self.handle.give_up_dialing(); // what was lost is not opened again
                link.tell(Input::Stop);
                if let Some((told, _)) = told {
                    let _ = told.send(result); // who asked may have gone
                }
            }
            Command::HandBack(to, until) => {
                let result = self.hand_back(link, until);
                let over = self.outlet.over().is_some();
                let _ = to.send(result);
                if over {
                    link.tell(Input::Stop);
                }
            }
        }
    }

    /// On request of the coordinator: in good order, as far as that goes quickly.
    pub(super) fn part(&mut self, link: &mut Common) {
        let until = Instant::now() + GOOD_BYE;
        let _ = self.say_good_bye(link, until, Duration::ZERO); // it is over either way
    }

    /// What was sent goes out, then the farewell, then the end, all of it until then.
    fn say_good_bye(
        &mut self,
        link: &mut Common,
        until: Instant,
        linger: Duration,
    ) -> Result<(), Error> {
        if let Some(loss) = self.had_ended(link) {
            return Err(Error::lost(&loss));
        }
        let closed = Loss::new(Cause::Stopped, "the link was closed");
        let all = self.finish(link, &closed, until).and_then(|all| {
            let mut last = Vec::new();
            if self.line.is_some() && all {
                self.protocol.farewell(&mut last)?;
                self.outlet.push(&last, None);
                self.outlet.push_tls_farewell();
            }
            self.finish(link, &closed, until)
        });
        let (result, linger) = match &all {
            Ok(true) => (Ok(()), linger),
            Ok(false) => (Err(self.unwritten()), GOOD_BYE),
            Err(loss) => (Err(Error::lost(loss)), GOOD_BYE),
        };
        self.linger(until.min(Instant::now() + linger));
        // It broke while the last words went out.
        let stalled = all.err().filter(|loss| loss.cause == Cause::WriteStalled);
        let broken = self.outlet.broken().filter(|_| result.is_err());
        if let Some(loss) = broken.or(stalled) {
            self.lose(link, loss);
        }
        result
    }

    fn unwritten(&self) -> Error {
        Error::unsent(format!("the time for closing was up: {}", self.left_over()))
    }

    fn left_over(&self) -> String {
        let frames = counted(self.outlet.waiting() as u64, "frame", "frames");
        format!("{frames}, or a part of one, could not be written any more")
    }

    /// Nothing more is taken from the application, and what it gave goes out. False if that took
    /// longer than until then.
    ///
    /// # Errors
    ///
    /// The connection is lost; that it took longer than the write timeout is a loss, too.
    fn finish(&mut self, link: &mut Common, why: &Loss, until: Instant) -> Result<bool, Loss> {
        let stalled = Instant::now() + link.heartbeat.write_timeout;
        let mut until = until.min(stalled);
        loop {
            let step = Instant::now() + GOOD_BYE / 2;
            if self.outlet.finish(why, until.min(step))? {
                return Ok(true);
            }
            self.make_room(link);
            if self.handle.is_stopping() {
                until = until.min(step);
            }
            let now = Instant::now();
            if now >= stalled {
                return Err(Loss::new(Cause::WriteStalled, self.left_over()));
            }
            if now >= until {
                return Ok(false);
            }
        }
    }

    /// A peer that is itself blocked in a write reads nothing: what it says is taken, as far as the
    /// application has room for it.
    fn make_room(&mut self, link: &mut Common) {
        for _ in 0..READS_AT_ONCE {
            self.pump();
            let more = !self.delivery.is_blocked() && matches!(self.read(), Woke::Bytes);
            match self.next_input(link) {
                Ok(Some(input)) => link.tell(input),
                Ok(None) if more => {}
                _ => return,
            }
        }
    }

    /// Until the peer has closed as well, or the time is up. What it still says is for nobody.
    fn linger(&mut self, until: Instant) {
        let Some(line) = &self.line else { return };
        let _ = line.read.socket.shutdown(Shutdown::Write); // it may be gone
        let mut waste = [0; 4096];
        loop {
            match sys::recv_now(&*line.read.socket, &mut waste) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.handle.is_stopping() {
                return;
            }
            // The bell is not taken: whoever rings it now is heard after this.
            let _ = sys::wait_readable(&*line.read.socket, Some(left.min(GOOD_BYE)));
        }
    }

    fn hand_back(&mut self, link: &mut Common, until: Instant) -> Result<Returned, Error> {
        let why = Loss::new(Cause::Stopped, "the connection was handed back");
        if self.line.is_none() {
            return Err(Error::lost(self.loss.as_ref().unwrap_or(&why)));
        }
        if self.outlet.is_under_tls() {
            return Err(Error::invalid(
                "under TLS the socket alone is of no use: close the link instead",
            ));
        }
        if let Some(loss) = self.had_ended(link) {
            return Err(Error::lost(&loss));
        }
        match self.finish(link, &why, until) {
            Ok(true) => {}
            Ok(false) => {
                return Err(self.unwritten()); // half a frame may be out: nobody can go on there
            }
            Err(loss) => {
                let error = Error::lost(&loss);
                self.lose(link, loss);
                return Err(error);
            }
        }
        let Some(Standing { read, .. }) = self.line.take() else {
            return Err(Error::lost(&why));
        };
        let ReadHalf { socket, inbox, .. } = read;
        self.outlet.let_go();
        if let Origin::Dialed(dialer, _) = &self.origin {
            dialer.hang_up();
            let _ = socket.set_write_timeout(None); // ours
        }
        if let Origin::Adopted { nagle: true, .. } = self.origin {
            let _ = socket.set_tcp_nodelay(false); // as it was, and so below
        }
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_notsent_lowat(self.lowat);
        let frames = self.delivery.take_frames();
        let acks_due = link.outstanding();
        let unread = inbox.rest().to_vec();
        let socket = Arc::try_unwrap(socket)
            .or_else(|shared: Arc<Socket>| shared.try_clone())
            .map_err(|error| Error::io("the socket cannot be handed back", error))?;
        Ok(Returned { stream: TcpStream::from(socket), frames, unread, acks_due })
    }

    /// The pulse gave the connection up.
    pub(super) fn hang_up(&mut self, link: &Common) {
        let loss = self.loss.clone().unwrap_or_else(|| Cause::Stopped.into());
        let over = link.pulse.is_done() || !self.origin.conduct().reconnects();
        if self.line.take().is_none() {
            return;
        }
        let remains = self.outlet.die(&loss, over);
        if let Origin::Dialed(dialer, _) = &self.origin {
            dialer.hang_up();
        }
        if over {
            self.remains = Some(remains);
        } else if self.told == self.connections {
            self.delivery.push_lost(loss, remains);
        }
    }

    /// The last deed: whoever reads or writes learns that it is over, and why.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let stopped = || Cause::Stopped.into();
        let loss = self.outlet.over().or(self.loss.take()).unwrap_or_else(stopped);
        let last = self.outlet.die(&loss, true);
        if let (Some(_), Origin::Dialed(dialer, _)) = (self.line.take(), &self.origin) {
            dialer.hang_up();
        }
        let remains = self.remains.take().unwrap_or(last);
        self.delivery.close(loss, remains);
    }
}
