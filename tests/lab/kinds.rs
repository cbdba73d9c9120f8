//! The same on connections that are the application's: handed over, or only followed.

use keepbeat::Cause;

use crate::Test;
use crate::case::{Case, Soon};
use crate::net::Lab;
use crate::watching::Kind;

pub const TESTS: &[Test] = &[
    ("a_dead_path_is_told_of_an_adopted_connection", dead_path),
    ("a_dropped_flow_is_told_of_an_adopted_connection", dropped_flow),
    ("a_hung_application_is_told_of_an_adopted_connection", hung),
    ("an_unreachable_host_is_told_of_an_adopted_connection", unreachable),
    ("a_close_is_told_of_an_adopted_connection", closed),
    ("a_dead_path_is_not_ruled_out_of_a_followed_connection", followed_dead_path),
    ("a_hung_application_is_not_ruled_out_of_a_followed_connection", followed_hung),
];

fn adopted(name: &'static str, cause: Cause) -> Case {
    Case { kind: Kind::Adopted, good: 5, ..Case::new(name, cause) }
}

fn followed(name: &'static str, cause: Cause) -> Case {
    Case { kind: Kind::Followed, ..Case::new(name, cause) }
}

fn dead_path() {
    adopted("adopted-path-dead", Cause::PathDead).run(&mut Lab::plain(), |lab| lab.rule("drop"));
}

fn dropped_flow() {
    let case = adopted("adopted-flow-dropped", Cause::FlowDropped);
    case.run(&mut Lab::plain(), |lab| lab.drop_flows());
}

fn hung() {
    let case = adopted("adopted-hung", Cause::PeerSilent);
    case.run(&mut Lab::plain(), |lab| lab.server.freeze());
}

fn unreachable() {
    let case = Case { soon: Soon::AtBeat, ..adopted("adopted-unreachable", Cause::Unreachable) };
    case.run(&mut Lab::quick(), |lab| {
        lab.rule("tcp dport 7000 reject with icmp type host-unreachable");
    });
}

fn closed() {
    let case = Case { soon: Soon::AtOnce, ..adopted("adopted-closed", Cause::ClosedByPeer) };
    case.run(&mut Lab::plain(), |lab| {
        lab.server.order("close");
    });
}

fn followed_dead_path() {
    let case = followed("followed-path-dead", Cause::PathDead);
    case.run(&mut Lab::plain(), |lab| lab.rule("drop"));
}

fn followed_hung() {
    let case = followed("followed-hung", Cause::PeerSilent);
    case.run(&mut Lab::plain(), |lab| lab.server.freeze());
}
