//! What the path swallows: everything, one port, one flow, some bytes, some sizes.

use keepbeat::{Cause, Exchange};

use crate::Test;
use crate::case::{Case, Soon};
use crate::net::Lab;
use crate::net::client;

pub const TESTS: &[Test] = &[
    ("a_dead_path_is_told", dead_path),
    ("a_host_that_vanishes_is_told", vanished_host),
    ("a_filtered_port_is_told", filtered_port),
    ("a_dropped_flow_is_told", dropped_flow),
    ("filtered_beats_are_told_with_their_bytes", filtered_payload),
    ("filtered_sizes_are_told", filtered_size),
    ("filtered_data_is_told", all_payload),
    ("filtered_replies_are_told", replies),
    ("filtered_replies_behind_quick_acknowledgements_are_not_ruled_out", replies_acked_at_once),
    ("a_rate_limit_on_beats_is_told", rate_limit),
    ("packets_lost_now_and_then_are_a_warning", loss),
];

fn dead_path() {
    let mut lab = Lab::plain();
    Case::new("path-dead", Cause::PathDead).run(&mut lab, |lab| lab.rule("drop"));
}

fn vanished_host() {
    let mut lab = Lab::plain();
    // After some seconds a router says that nobody answers for the address any more.
    let case = Case { or: &[Cause::Unreachable], ..Case::new("host-vanished", Cause::PathDead) };
    case.run(&mut lab, |_| client("ip -n server link set s0 down"));
}

fn filtered_port() {
    let mut lab = Lab::plain();
    let case = Case::new("port-filtered", Cause::PortFiltered);
    case.run(&mut lab, |lab| lab.rule("tcp dport 7000 drop"));
}

fn dropped_flow() {
    let mut lab = Lab::plain();
    let case = Case { good: 5, ..Case::new("flow-dropped", Cause::FlowDropped) };
    case.run(&mut lab, |lab| lab.drop_flows());
}

fn filtered_payload() {
    let mut lab = Lab::plain();
    let case = Case::new("payload-filtered", Cause::PayloadFiltered);
    let links = case.run(&mut lab, |lab| {
        lab.rule("tcp dport 7000 @ih,0,72 0x686561727462656174 drop");
    });
    for link in &links[..4] {
        let (_, last) = link.diagnoses().pop().unwrap();
        let advice = last.advice();
        assert!(advice.contains("`heartbeat`"), "{advice}");
        assert!(advice.contains("other payloads of the same length pass"), "{advice}");
    }
}

fn filtered_size() {
    fn large() -> Exchange {
        let beat = ["heartbeat", &"-".repeat(1200)].concat();
        Exchange::new(beat, "heartbeat_ack").allow_other_bytes()
    }
    let mut lab = Lab::plain();
    let case = Case { protocol: large, ..Case::new("size-filtered", Cause::SizeFiltered) };
    case.run(&mut lab, |lab| lab.rule("meta length > 1000 drop"));
}

fn all_payload() {
    let mut lab = Lab::quick();
    let case = Case::new("all-payload-dropped", Cause::AllPayloadDropped);
    case.run(&mut lab, |lab| lab.rule("tcp dport 7000 tcp flags & psh == psh drop"));
}

fn replies() {
    let mut lab = Lab::plain();
    let beside = &[Cause::PeerSilent];
    let case = Case { beside, ..Case::new("replies-filtered", Cause::RepliesFiltered) };
    case.run(&mut lab, |lab| lab.rule("tcp sport 7000 tcp flags & psh == psh drop"));
}

/// Where the peer's kernel acknowledges before its application answers, a hung application looks
/// the same: both are named.
fn replies_acked_at_once() {
    let mut lab = Lab::quick();
    let case = Case {
        or: &[Cause::PeerSilent],
        ..Case::new("replies-filtered-acked-at-once", Cause::RepliesFiltered)
    };
    case.run(&mut lab, |lab| lab.rule("tcp sport 7000 tcp flags & psh == psh drop"));
}

/// The same for each port, with a count of its own.
fn each_port(rule: &str) -> String {
    let rules: Vec<_> = (7000..7008)
        .map(|port| format!("tcp dport {port} tcp flags & psh == psh {rule}"))
        .collect();
    rules.join("\n")
}

fn rate_limit() {
    let mut lab = Lab::quick();
    let case = Case {
        or: &[Cause::LossyPath],
        spread: true,
        falls: false,
        soon: Soon::AtLast,
        ..Case::new("rate-limited", Cause::RateLimited)
    };
    case.run(&mut lab, |lab| {
        lab.rule(&each_port("limit rate over 2/second burst 1 packets drop"));
    });
}

fn loss() {
    let mut lab = Lab::quick();
    let case = Case {
        beside: &[Cause::RateLimited],
        spread: true,
        falls: false,
        soon: Soon::AtLast,
        ..Case::new("lossy-path", Cause::LossyPath)
    };
    let mut links = case.run(&mut lab, |lab| {
        lab.rule(&each_port("numgen inc mod 3 == 0 drop"));
    });
    for link in &mut links {
        link.up(4);
        let status = link.status();
        assert_eq!((status.missed, status.reconnects), (0, 0), "{status:?}");
    }
}
