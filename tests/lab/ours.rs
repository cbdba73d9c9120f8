//! What is wrong on our own side: nobody else may be blamed for it.

use keepbeat::Cause;

use crate::Test;
use crate::case::{Case, Soon};
use crate::net::{Lab, client};

pub const TESTS: &[Test] = &[
    ("an_own_interface_that_is_down_is_told_at_once", interface),
    ("an_own_route_that_is_gone_is_told_at_once", route),
    ("an_own_address_that_is_gone_is_told_at_once", address),
    ("an_own_firewall_that_drops_is_told", firewall),
];

fn own(name: &'static str, cause: Cause, soon: Soon, fault: &str) {
    let mut lab = Lab::plain();
    let case = Case { soon, ..Case::new(name, cause) };
    case.run(&mut lab, |_| client(fault));
}

fn interface() {
    own("link-down", Cause::LinkDown, Soon::Silence, "ip link set c0 down");
}

fn route() {
    own("no-local-route", Cause::NoLocalRoute, Soon::Silence, "ip route del default");
}

fn address() {
    let fault = "ip addr del 198.51.100.2/24 dev c0";
    own("local-address-gone", Cause::LocalAddressGone, Soon::Silence, fault);
}

fn firewall() {
    let fault = "nft add table ip own
        nft add chain ip own o '{ type filter hook output priority 0; policy accept; }'
        nft add rule ip own o tcp dport 7000 drop";
    own("not-transmitted", Cause::NotTransmitted, Soon::Silence, fault);
}
