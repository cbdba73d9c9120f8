//! What a router or a firewall says.

use keepbeat::{Cause, EventKind};

use crate::Test;
use crate::case::{Case, Soon};
use crate::net::{Lab, SERVER};
use crate::server::BEATS;
use crate::watching::{TIMES, Watched, beat, protocol};

pub const TESTS: &[Test] = &[
    ("an_unreachable_host_is_told_at_once", unreachable_host),
    ("an_unreachable_host_is_told_at_once_by_its_name", unreachable_host_soon),
    ("a_prohibition_is_told_at_once_by_its_name", prohibited_soon),
    ("an_unreachable_network_is_told_at_once", unreachable_network),
    ("what_an_administrator_prohibits_is_told_at_once", prohibited),
    ("an_unreachable_port_is_told_at_once", unreachable_port),
    ("a_word_that_comes_once_a_second_is_heard", seldom),
    ("a_word_is_told_each_time_it_is_said_anew", each_time),
    ("a_reset_by_the_router_is_told_at_once", reset),
];

/// With kernels as they come: a word is told at once, and which one it is when the kernel has sent
/// again. With quick ones both is one.
fn said(name: &'static str, cause: Cause, how: &str) {
    let rule = format!("tcp dport 7000 reject with {how}");
    let mut lab = Lab::plain();
    let case = Case {
        soon: Soon::AtBeat,
        first: &[Cause::Unreachable, Cause::Prohibited],
        ..Case::new(name, cause)
    };
    case.run(&mut lab, |lab| lab.rule(&rule));
}

fn said_soon(name: &'static str, cause: Cause, how: &str) {
    let rule = format!("tcp dport 7000 reject with {how}");
    let mut lab = Lab::quick();
    // Which of the two is known when a fresh connection has read the type and the code.
    let first: &[Cause] = match cause {
        Cause::Prohibited => &[Cause::Unreachable, Cause::Prohibited],
        _ => &[],
    };
    let case = Case { soon: Soon::AtBeat, first, ..Case::new(name, cause) };
    case.run(&mut lab, |lab| lab.rule(&rule));
}

fn unreachable_host() {
    said("host-unreachable", Cause::Unreachable, "icmp type host-unreachable");
}

fn unreachable_host_soon() {
    said_soon("host-unreachable-quick", Cause::Unreachable, "icmp type host-unreachable");
}

fn prohibited_soon() {
    said_soon("admin-prohibited-quick", Cause::Prohibited, "icmp type admin-prohibited");
}

fn unreachable_network() {
    said("net-unreachable", Cause::Unreachable, "icmp type net-unreachable");
}

fn prohibited() {
    said("admin-prohibited", Cause::Prohibited, "icmp type admin-prohibited");
}

fn unreachable_port() {
    said("port-unreachable", Cause::Prohibited, "icmp type port-unreachable");
}

fn seldom() {
    let mut lab = Lab::plain();
    let case = Case {
        soon: Soon::AtBeat,
        spread: true,
        first: &[Cause::Unreachable, Cause::Prohibited],
        ..Case::new("icmp-once-a-second", Cause::Unreachable)
    };
    let rule = |port| {
        let limit = "limit rate 1/second burst 1 packets reject with icmp type host-unreachable";
        format!("tcp dport {port} {limit}\ntcp dport {port} drop\n")
    };
    let rules: String = BEATS.map(rule).collect();
    case.run(&mut lab, |lab| lab.rule(&rules));
}

/// It is over before a miss, and comes again.
fn each_time() {
    let lab = Lab::quick();
    let mut link = Watched::new(&format!("{SERVER}:7000"), beat(), protocol);
    for _ in 0..TIMES {
        link.up(2);
        lab.rule("tcp dport 7000 reject with icmp type host-unreachable");
        let event = link.until("a word", |event, _| {
            event.kind().cause().is_some_and(|cause| cause == Cause::Unreachable)
        });
        assert!(matches!(event.kind(), EventKind::Diagnosed { .. }), "{event}");
        lab.heal();
    }
}

fn reset() {
    let mut lab = Lab::plain();
    let case = Case {
        beside: &[Cause::ResetByMiddlebox],
        soon: Soon::AtBeat,
        ..Case::new("reset", Cause::Reset)
    };
    case.run(&mut lab, |lab| lab.rule("tcp dport 7000 reject with tcp reset"));
}
