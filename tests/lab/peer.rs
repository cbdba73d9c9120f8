//! What is wrong with the peer itself.

use std::net::TcpStream;

use keepbeat::{Cause, Exchange};

use crate::Test;
use crate::case::{Case, Soon};
use crate::net::{Lab, SERVER, ask};
use crate::server::{SHORT_BACKLOG, SHORT_QUEUE, SMALL_ROOM};
use crate::watching::ms;

pub const TESTS: &[Test] = &[
    ("a_close_is_told_at_once", closed),
    ("a_half_close_is_told_at_once", half_closed),
    ("a_kill_is_told_at_once", killed),
    ("a_hung_application_is_told", hung),
    ("a_full_accept_queue_is_told", accept_queue),
    ("a_peer_that_does_not_read_is_told", deaf),
    ("a_wrong_reply_is_told_at_once", garbage),
    ("a_partial_reply_is_told", partial),
];

fn ends(name: &'static str, fault: impl FnMut(&mut Lab)) {
    let mut lab = Lab::plain();
    // Where a beat was not read yet, the kernel of a process that ends sends a reset.
    let or = &[Cause::Reset];
    let case = Case { or, soon: Soon::AtOnce, ..Case::new(name, Cause::ClosedByPeer) };
    case.run(&mut lab, fault);
}

fn closed() {
    ends("closed", |lab| {
        lab.server.order("close");
    });
}

fn half_closed() {
    ends("half-closed", |lab| {
        lab.server.order("half-close");
    });
}

fn killed() {
    ends("killed", |lab| lab.server.kill());
}

fn hung() {
    let mut lab = Lab::plain();
    let case = Case { beside: &[Cause::RepliesFiltered], ..Case::new("hung", Cause::PeerSilent) };
    case.run(&mut lab, |lab| lab.server.freeze());
}

/// Whether the server's queue of connections that nobody has accepted has overflowed.
fn is_full() -> bool {
    let table = ask("server", "cat /proc/net/tcp");
    let port = format!(":{SHORT_QUEUE:04X}");
    let listener = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut listener = listener.filter(|words| words[1].ends_with(&port) && words[3] == "0A");
    let waiting = listener.next().unwrap()[4].rsplit(':').next().unwrap().to_owned();
    u32::from_str_radix(&waiting, 16).unwrap() > SHORT_BACKLOG
}

/// Connections that nobody accepts, until the next one will not be answered any more.
fn fill_queue() -> Vec<TcpStream> {
    let address = format!("{SERVER}:{SHORT_QUEUE}").parse().unwrap();
    let mut waiting = Vec::new();
    while !is_full() {
        waiting.extend(TcpStream::connect_timeout(&address, ms(500)));
    }
    waiting
}

fn accept_queue() {
    let mut lab = Lab::plain();
    let case = Case {
        port: SHORT_QUEUE,
        beside: &[Cause::PeerSilent],
        first: &[Cause::PeerSilent],
        ..Case::new("accept-queue-full", Cause::AcceptQueueFull)
    };
    let mut waiting = Vec::new();
    case.run(&mut lab, |lab| {
        lab.server.freeze();
        waiting = fill_queue();
    });
}

fn deaf() {
    fn large() -> Exchange {
        Exchange::new(["heartbeat", &"-".repeat(20_000)].concat(), "heartbeat_ack")
    }
    let mut lab = Lab::quick();
    let case = Case {
        port: SMALL_ROOM,
        protocol: large,
        ..Case::new("peer-not-reading", Cause::PeerNotReading)
    };
    case.run(&mut lab, |lab| {
        lab.server.order("deaf");
    });
}

fn garbage() {
    let mut lab = Lab::plain();
    let case = Case { soon: Soon::AtBeat, ..Case::new("wrong-reply", Cause::WrongReply) };
    case.run(&mut lab, |lab| {
        lab.server.order("garbage");
    });
}

fn partial() {
    let mut lab = Lab::plain();
    let case = Case { soon: Soon::AtLast, ..Case::new("partial-reply", Cause::PartialReply) };
    case.run(&mut lab, |lab| {
        lab.server.order("partial");
    });
}
