//! Each rule, and the order between them: the table of faults as one end of a connection sees them.

use std::time::Duration;

use super::*;
use crate::diagnose::evidence::{Carried, Fresh};

const MS: Duration = Duration::from_millis(1);

/// Three beats that were not answered, of a timeout of a second, as the kernel tells of it where
/// nothing at all came back.
pub(super) fn silence() -> Evidence {
    Evidence {
        word: Some(Cause::AckTimeout),
        stage: Some(Stage::Silence),
        waited_us: Some(1000 * MS),
        timeout_us: Some(1000 * MS),
        silent_us: Some(3000 * MS),
        beats_before: Some(32),
        resent: Some(4),
        rto_us: Some(204 * MS),
        rtt_us: Some(MS / 10),
        idle_us: Some(10_000 * MS),
        idle_survived_us: Some(10_000 * MS),
        outstanding: Some(3),
        misses: Some(3),
        tcp_state: Some("established".to_owned()),
        unacked: Some(1),
        unsent_bytes: Some(0),
        window_bytes: Some(64_000),
        retransmits: Some(2),
        backoff: Some(2),
        probes: Some(0),
        address_gone: Some(false),
        no_route: Some(false),
        carrier: Some(true),
        ..Evidence::default()
    }
}

/// The kernel of the peer acknowledged it.
pub(super) fn acked() -> Evidence {
    Evidence {
        unacked: Some(0),
        resent: Some(0),
        retransmits: Some(0),
        backoff: Some(0),
        acked_ago_us: Some(3000 * MS),
        ..silence()
    }
}

pub(super) fn of(change: impl FnOnce(&mut Evidence)) -> Verdict {
    let mut evidence = silence();
    change(&mut evidence);
    decide(&evidence)
}

/// Beside it another connection was made, and this one was sent again in vain meanwhile.
pub(super) fn fresh(fresh: Fresh, beat: Option<Carried>) -> Evidence {
    let resent_beside = Some(2).filter(|_| fresh == Fresh::Connected);
    Evidence { fresh: Some(fresh), fresh_beat: beat, resent_beside, ..silence() }
}

fn end(word: Cause) -> Evidence {
    let (word, stage) = (Some(word), Some(Stage::End));
    Evidence { word, stage, retransmits: None, backoff: None, ..silence() }
}

#[test]
fn without_other_connections_silence_stays_what_it_is_and_names_all_that_fit() {
    let alone = of(|_| ());
    assert_eq!((alone.cause, alone.confidence), (Cause::AckTimeout, Confidence::Possible));
    for fits in [
        Cause::PathDead,
        Cause::PortFiltered,
        Cause::FlowDropped,
        Cause::FlowForgotten,
        Cause::PayloadFiltered,
        Cause::SizeFiltered,
        Cause::AllPayloadDropped,
        Cause::SomePathsDead,
    ] {
        assert!(alone.alternatives.contains(&fits), "{fits}");
    }
    assert!(!alone.alternatives.contains(&Cause::PeerSilent), "its kernel acknowledged nothing");
    let blind = decide(&Evidence { word: Some(Cause::AckTimeout), ..Evidence::default() });
    assert_eq!(blind.cause, Cause::AckTimeout);
    assert!(blind.alternatives.contains(&Cause::PeerSilent), "without TCP_INFO");
}

#[test]
fn other_connections_tell_where_it_is_lost() {
    use Carried::{Acked, Answered, Unacked};
    let path = decide(&fresh(Fresh::Silent, None));
    assert_eq!((path.cause, path.confidence), (Cause::PathDead, Confidence::Likely));
    assert!(path.alternatives.contains(&Cause::PortFiltered), "nobody asked another port");
    let closed_port = |said| Evidence { closed_port: Some(said), ..fresh(Fresh::Silent, None) };
    assert_eq!(decide(&closed_port(Fresh::Refused)).cause, Cause::PortFiltered);
    let dead = decide(&closed_port(Fresh::Silent));
    assert_eq!(dead.cause, Cause::PathDead);
    assert!(!dead.alternatives.contains(&Cause::PortFiltered));
    let flow = decide(&fresh(Fresh::Connected, Some(Answered)));
    assert_eq!((flow.cause, flow.confidence), (Cause::FlowDropped, Confidence::Likely));
    let payloads = |same, tiny| Evidence {
        fresh_same_length: same,
        fresh_tiny: tiny,
        fresh_beat_again: Some(Unacked),
        ..fresh(Fresh::Connected, Some(Unacked))
    };
    let filtered = decide(&payloads(Some(Acked), None));
    assert_eq!(filtered.cause, Cause::PayloadFiltered);
    assert!(!filtered.alternatives.contains(&Cause::RateLimited));
    let once = Evidence { misses: Some(1), ..payloads(Some(Acked), None) };
    assert!(decide(&once).alternatives.contains(&Cause::RateLimited), "one round cannot tell");
    assert_eq!(decide(&payloads(Some(Unacked), Some(Acked))).cause, Cause::SizeFiltered);
    assert_eq!(decide(&payloads(Some(Unacked), Some(Unacked))).cause, Cause::AllPayloadDropped);
    let untried = decide(&payloads(None, None));
    assert_eq!((untried.cause, untried.confidence), (Cause::PayloadFiltered, Confidence::Possible));
    assert!(untried.alternatives.contains(&Cause::SizeFiltered));
    assert_eq!(decide(&fresh(Fresh::Prohibited, None)).cause, Cause::Prohibited);
    assert_eq!(decide(&fresh(Fresh::Unreachable, None)).cause, Cause::Unreachable);
    assert_eq!(decide(&fresh(Fresh::Refused, None)).cause, Cause::Refused);
}

#[test]
fn a_pause_that_was_survived_before_is_no_reason_to_forget() {
    let answered = || fresh(Fresh::Connected, Some(Carried::Answered));
    let known = decide(&answered());
    assert_eq!(known.cause, Cause::FlowDropped);
    assert!(known.alternatives.contains(&Cause::FlowForgotten));
    for survived in [None, Some(4000 * MS)] {
        let longer = decide(&Evidence { idle_survived_us: survived, ..answered() });
        assert_eq!(longer.cause, Cause::FlowForgotten, "{survived:?}");
        assert!(longer.alternatives.contains(&Cause::FlowDropped));
    }
    let brief = Evidence { idle_us: Some(300 * MS), idle_survived_us: None, ..answered() };
    assert_eq!(decide(&brief).cause, Cause::FlowDropped, "nobody forgets as fast");
    let jitter = Evidence { idle_survived_us: Some(9_500 * MS), ..answered() };
    assert_eq!(decide(&jitter).cause, Cause::FlowDropped, "intervals are jittered");
    let again = of(|e| e.idle_forgotten = Some(2));
    assert_eq!((again.cause, again.confidence), (Cause::FlowForgotten, Confidence::Likely));
}

#[test]
fn a_mix_of_answers_means_several_paths_and_few_connections_name_it_as_possible() {
    let more = |first, tried, answered, changes| {
        decide(&Evidence {
            more_fresh: Some(tried),
            more_answered: Some(answered),
            more_changes: Some(changes),
            ..fresh(first, Some(Carried::Answered))
        })
    };
    let mixed = likely(Cause::SomePathsDead, &[Cause::LossyPath, Cause::PassingOutage]);
    assert_eq!(more(Fresh::Connected, 2, 1, 2), mixed);
    assert_eq!(more(Fresh::Connected, u32::MAX, u32::MAX, 0).cause, Cause::FlowDropped);
    let healed = more(Fresh::Silent, 4, 4, 1);
    let seen = (healed.cause, healed.confidence);
    assert_eq!(seen, (Cause::PassingOutage, Confidence::Possible), "first nobody, then everybody");
    assert!(healed.alternatives.contains(&Cause::SomePathsDead));
    let once = more(Fresh::Connected, 4, 3, 1);
    assert_eq!((once.cause, once.confidence), (Cause::AckTimeout, Confidence::Possible));
    assert!(once.alternatives.contains(&Cause::SomePathsDead), "one may be lost by chance");
    let all = more(Fresh::Connected, 4, 4, 0);
    assert_eq!(all.cause, Cause::FlowDropped);
    assert!(all.alternatives.contains(&Cause::SomePathsDead), "one of many may be missed by luck");
    let none = more(Fresh::Silent, 4, 0, 0);
    assert!(none.cause == Cause::PathDead && !none.alternatives.contains(&Cause::SomePathsDead));
    let few = more(Fresh::Connected, 2, 2, 0);
    assert!(few.alternatives.contains(&Cause::SomePathsDead));
}

#[test]
fn what_the_kernel_knows_comes_before_other_connections() {
    let held = of(|e| (e.unacked, e.unsent_bytes, e.window_bytes) = (Some(0), Some(9), Some(0)));
    assert_eq!((held.cause, held.confidence), (Cause::PeerNotReading, Confidence::Certain));
    let ours =
        |probes| of(|e| (e.unacked, e.unsent_bytes, e.probes) = (Some(0), Some(9), Some(probes)));
    assert_eq!((ours(2).cause, ours(2).confidence), (Cause::NotTransmitted, Confidence::Certain));
    assert_eq!(ours(0).confidence, Confidence::Possible, "too early");
    let behind = of(|e| (e.ahead_bytes, e.acked_bytes) = (Some(90_000), Some(4_000)));
    assert_eq!(behind.cause, Cause::QueuedBehindData);
    let silent = decide(&acked());
    assert_eq!((silent.cause, silent.confidence), (Cause::PeerSilent, Confidence::Likely));
    assert!(silent.alternatives.contains(&Cause::RepliesFiltered), "no duplicates were seen");
    let fresh =
        |fresh, beat| decide(&Evidence { fresh: Some(fresh), fresh_beat: beat, ..acked() }).cause;
    assert_eq!(fresh(Fresh::Connected, Some(Carried::Answered)), Cause::ConversationSilent);
    assert_eq!(fresh(Fresh::Connected, Some(Carried::Acked)), Cause::PeerSilent);
    let probing = of(|e| (e.unacked, e.outstanding, e.probes) = (Some(0), Some(0), Some(3)));
    assert_eq!(probing.cause, Cause::AckTimeout, "the keepalive asks, and nobody answers");
    let unasked = decide(&Evidence { outstanding: Some(0), ..acked() });
    assert_eq!((unasked.cause, unasked.confidence), (Cause::AckTimeout, Confidence::Possible));
}

#[test]
fn our_own_side_comes_before_what_it_makes_the_kernel_say() {
    let ours = |change: fn(&mut Evidence)| {
        of(|e| {
            (e.icmp_errno, e.fresh) = (Some(libc::ENETUNREACH as u32), Some(Fresh::Silent));
            (e.suspects, e.hosts) = (Some(9), Some(9));
            change(e);
        })
    };
    assert_eq!(ours(|e| e.no_route = Some(true)).cause, Cause::NoLocalRoute);
    assert_eq!(ours(|e| e.address_gone = Some(true)).cause, Cause::LocalAddressGone);
    let all =
        ours(|e| (e.carrier, e.no_route, e.address_gone) = (Some(false), Some(true), Some(true)));
    assert_eq!(all, certain(Cause::LinkDown), "the root of all three");
    // A bridge without a port has no carrier, and a connection to its own address needs none.
    let acked = Evidence { carrier: Some(false), no_route: Some(true), ..acked() };
    assert_eq!(decide(&acked).cause, Cause::PeerSilent);
    let unasked = Evidence { outstanding: Some(0), ..acked };
    assert_eq!(decide(&unasked).cause, Cause::LinkDown, "it was acknowledged long ago");
    for word in [Cause::ConnectTimeout, Cause::NoLocalRoute, Cause::Unreachable] {
        let connect = Evidence {
            word: Some(word),
            stage: Some(Stage::Connect),
            carrier: Some(false),
            ..Evidence::default()
        };
        assert_eq!(decide(&connect).cause, Cause::LinkDown, "{word}");
    }
}

#[test]
fn a_routers_word_is_told_from_a_firewalls_by_the_kernels_doubling() {
    let said = |errno: i32, retransmits, backoff| {
        of(|e| {
            e.icmp_errno = Some(errno as u32);
            (e.retransmits, e.backoff) = (Some(retransmits), Some(backoff));
        })
    };
    let taken_back = likely(Cause::Unreachable, &[Cause::Prohibited]);
    assert_eq!(said(libc::EHOSTUNREACH, 3, 0), taken_back);
    let again = |backoff| {
        of(|e| {
            (e.icmp_errno, e.icmp_again) = (Some(libc::EHOSTUNREACH as u32), Some(true));
            (e.retransmits, e.backoff) = (Some(3), Some(backoff));
        })
    };
    assert_eq!(again(0), certain(Cause::Unreachable));
    let either = possible(Cause::Unreachable, &[Cause::Prohibited]);
    assert_eq!(again(3), either, "not taken back: a firewall, packets in circles, a slow router");
    // Of IPv6 the kernel takes it back for `no route` alone, and a firewall's word is EACCES.
    let v6 = of(|e| {
        e.peer = Some("[2001:db8::2]:7000".to_owned());
        (e.icmp_errno, e.icmp_again) = (Some(libc::EHOSTUNREACH as u32), Some(true));
    });
    assert_eq!(v6, certain(Cause::Unreachable), "a host that is off");
    assert_eq!(said(libc::ECONNREFUSED, 0, 0), certain(Cause::Prohibited));
    assert_eq!(said(libc::EACCES, 0, 0), certain(Cause::Prohibited));
    for retransmits in [2, 3] {
        // Routers say so once a second, so that timeouts pass between two words.
        assert_eq!(said(libc::EHOSTUNREACH, retransmits, retransmits), either);
    }
    // The type and the code of a router's word decide; a fresh connection has read them.
    let read = |fresh| {
        of(|e| {
            (e.icmp_errno, e.fresh) = (Some(libc::EHOSTUNREACH as u32), Some(fresh));
            (e.retransmits, e.icmp_type) = (Some(3), Some(3));
        })
    };
    assert_eq!(read(Fresh::Prohibited), certain(Cause::Prohibited));
    assert_eq!(read(Fresh::Unreachable), certain(Cause::Unreachable));
}

#[test]
fn many_hosts_at_once_are_our_network_unless_others_answer_or_a_peer_has_acknowledged() {
    let many = |suspects, hosts, well| {
        of(|e| (e.suspects, e.hosts, e.hosts_well) = (Some(suspects), Some(hosts), well))
    };
    let local = many(9, 10, None);
    assert_eq!((local.cause, local.confidence), (Cause::LocalNetwork, Confidence::Likely));
    assert_eq!(many(2, 2, None).cause, Cause::AckTimeout);
    assert_eq!(many(3, 10, Some(7)).cause, Cause::AckTimeout, "the peers that answer are reached");
    let acked = Evidence { suspects: Some(3), hosts: Some(3), ..acked() };
    assert_eq!(decide(&acked).cause, Cause::PeerSilent, "its packets pass both ways");
}

#[test]
fn some_behind_one_router_share_their_network_and_the_rest_is_reached() {
    let some = |well, network: Option<&str>| {
        of(|e| {
            (e.suspects, e.hosts, e.hosts_well) = (Some(3), Some(10), well);
            e.network = network.map(str::to_owned);
        })
    };
    let far = some(Some(7), Some("10.0.5.0/28"));
    assert_eq!((far.cause, far.confidence), (Cause::FarNetwork, Confidence::Likely));
    assert_ne!(some(Some(7), None).cause, Cause::FarNetwork, "they share nothing");
    assert_ne!(some(None, Some("10.0.5.0/28")).cause, Cause::FarNetwork, "nobody else is well");
}

#[test]
fn who_was_away_convicts_nobody() {
    let late = of(|e| (e.late_us, e.no_route) = (Some(900 * MS), Some(true)));
    assert_eq!(late, certain(Cause::LocalStall));
    let slept = of(|e| (e.late_us, e.suspended_us) = (Some(900 * MS), Some(800 * MS)));
    assert_eq!(slept, certain(Cause::ResumedFromSleep));
    let after = Evidence { suspended_us: Some(800 * MS), ..end(Cause::Reset) };
    assert_eq!(decide(&after), likely(Cause::ResumedFromSleep, &[Cause::Reset]));
    let refused = Evidence { suspended_us: Some(800 * MS), ..end(Cause::LoginRefused) };
    assert_eq!(decide(&refused), certain(Cause::LoginRefused));
}

#[test]
fn a_close_after_the_same_pause_again_is_the_servers_limit() {
    let closed = |times| {
        decide(&Evidence { outstanding: Some(0), idle_closes: times, ..end(Cause::ClosedByPeer) })
    };
    assert_eq!(closed(None), certain(Cause::ClosedByPeer));
    assert_eq!(closed(Some(1)), certain(Cause::ClosedByPeer).or(Cause::IdleClosed));
    assert_eq!(closed(Some(2)), likely(Cause::IdleClosed, &[Cause::ClosedByPeer]));
    assert_eq!(closed(Some(3)), certain(Cause::IdleClosed));
}

#[test]
fn a_reset_that_came_too_soon_was_made_nearer() {
    let reset = |waited, outstanding| {
        decide(&Evidence {
            waited_us: Some(waited),
            least_rtt_us: Some(20 * MS),
            outstanding: Some(outstanding),
            ..end(Cause::Reset)
        })
    };
    assert_eq!(reset(9 * MS, 1).cause, Cause::ResetByMiddlebox);
    assert_eq!(reset(11 * MS, 1).cause, Cause::Reset);
    assert_eq!(reset(9 * MS, 0).cause, Cause::Reset, "it answers no beat");
    assert_eq!(reset(9 * MS, 2).cause, Cause::Reset, "it may answer the first of two");
    assert!(reset(11 * MS, 1).alternatives.contains(&Cause::ResetByMiddlebox));
}

#[test]
fn ends_keep_their_word_unless_more_is_known() {
    let more_acks = Evidence { outstanding: Some(0), ..end(Cause::WrongReply) };
    assert_eq!(decide(&more_acks), certain(Cause::WrongReply), "acks are no unasked bytes");
    assert_eq!(decide(&end(Cause::KernelGaveUp)).cause, Cause::KernelGaveUp);
    let ours = Evidence { no_route: Some(true), ..end(Cause::KernelGaveUp) };
    assert_eq!(decide(&ours).cause, Cause::NoLocalRoute);
    for word in [Cause::ProtocolPanicked, Cause::LoginRefused, Cause::PartialReply] {
        assert_eq!(decide(&end(word)), certain(word));
    }
    let connect = |word| {
        let (word, stage) = (Some(word), Some(Stage::Connect));
        decide(&Evidence { word, stage, ..Evidence::default() })
    };
    for word in [Cause::NameNotResolved, Cause::Refused, Cause::TlsFailed, Cause::Prohibited] {
        assert_eq!(connect(word), certain(word));
    }
    assert!(connect(Cause::ConnectTimeout).alternatives.contains(&Cause::AcceptQueueFull));
    let handshake = decide(&Evidence {
        word: Some(Cause::ConnectTimeout),
        stage: Some(Stage::Connect),
        tcp_state: Some("established".to_owned()),
        closed_port: Some(Fresh::Refused),
        ..Evidence::default()
    });
    assert_eq!(handshake.cause, Cause::ConnectTimeout, "the port is open, TLS got no answer");
    assert!(!handshake.alternatives.contains(&Cause::PathDead), "{handshake:?}");
}

#[test]
fn a_warning_of_lost_packets_names_the_rate_limit_that_every_beat_would_show() {
    let lossy = |beats| Evidence {
        word: Some(Cause::LossyPath),
        stage: Some(Stage::Warning),
        resent_beats: Some(beats),
        ..Evidence::default()
    };
    assert_eq!(decide(&lossy(3)), likely(Cause::LossyPath, &[Cause::RateLimited]));
    assert_eq!(decide(&lossy(7)), possible(Cause::RateLimited, &[Cause::LossyPath]));
}
