//! Evidence: all that was measured about one trouble, flat, each fact under its name. What was not
//! or could not be measured is absent, and no rule may read its absence as a measurement.

use std::time::Duration;

use super::fact::{Fact, Value, getter, words};
use super::last_words::Said;
use super::service::Service;
use crate::cause::Cause;
use crate::error::Error;
use crate::pulse::{Regular, Rule};
use crate::transport::Transport;

words! {
    /// In which part of a connection's life the trouble came.
    Stage {
        /// The connection never came to be.
        Connect = "connect",
        /// It stands, and what was due did not come.
        Silence = "silence",
        /// It has ended.
        End = "end",
        /// It stands and answers, but not well.
        Warning = "warning",
        /// It was silent, and answers again.
        Back = "back",
        /// This process itself was away.
        Away = "away",
    }
}

words! {
    /// What became of another connection to the same address.
    Fresh {
        Connected = "connected",
        Refused = "refused",
        Silent = "silent",
        Unreachable = "unreachable",
        Prohibited = "prohibited",
        /// It never left this machine.
        Local = "local",
        /// It stands, and TLS or the login on it failed.
        Failed = "failed",
    }
}

words! {
    /// What became of bytes that were sent on another connection.
    Carried {
        /// The peer answered.
        Answered = "answered",
        /// Its kernel acknowledged them, and no answer came.
        Acked = "acked",
        /// Not even its kernel did.
        Unacked = "unacked",
        /// The connection ended over them.
        Ended = "ended",
        /// The kernel here does not tell, and no answer came.
        Unanswered = "unanswered",
    }
}

words! {
    /// What became of the old connection, once another one was answered.
    Old {
        /// What it had sent was acknowledged after all.
        Acked = "acked",
        /// The peer does not know it any more.
        Reset = "reset",
    }
}

words! {
    /// Why there is no word of another connection.
    Kept {
        /// Nobody allowed any.
        Off = "off",
        /// More were asked for than the budget has.
        Budget = "budget",
        /// The answer is still to come.
        Pending = "pending",
        /// It is known already where the trouble is, or no address is known.
        Needless = "needless",
        /// This machine had no descriptor or port left for one.
        Full = "full",
        /// The peer may serve one client at a time: none is made to it any more.
        Single = "single",
    }
}

macro_rules! evidence {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ident,)*) => {
        /// What was measured: a flat list of facts, as the JSON lines have them.
        ///
        /// Times are in microseconds (`_us`). What was not measured is absent.
        ///
        /// | fact | |
        /// |---|---|
        $(#[doc = concat!("| `", stringify!($name), "` |", $($doc,)+ " |")])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Evidence {
            $($(#[doc = $doc])+ pub(crate) $name: Option<$kind>,)*
        }

        /// Each fact under its name, as [`facts`](Evidence::facts) has it.
        impl Evidence {
            $(getter! { $(#[doc = $doc])+ $name: $kind })*
        }

        impl Evidence {
            /// Every fact that is known, in a fixed order.
            pub fn facts(&self) -> Vec<(&'static str, Fact)> {
                let mut facts = Vec::new();
                $(if let Some(value) = &self.$name {
                    facts.push((stringify!($name), Value::to_fact(value)));
                })*
                facts
            }

            /// Adds a fact, as [`facts`](Evidence::facts) has told it before.
            ///
            /// # Errors
            ///
            /// A value that cannot be one of that name. A name that is not known, of a later
            /// version say, is passed over, and that is no error.
            pub fn set(&mut self, name: &str, fact: &Fact) -> Result<(), Error> {
                $(if name == stringify!($name) {
                    self.$name = Some(Value::of(fact).ok_or_else(|| unfit(name, fact))?);
                    return Ok(());
                })*
                Ok(())
            }

            #[cfg(test)]
            const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Takes every fact that the other one knows.
            pub(crate) fn merge(&mut self, other: &Evidence) {
                $(if other.$name.is_some() {
                    self.$name.clone_from(&other.$name);
                })*
            }
        }
    };
}

impl Evidence {
    /// Whether it has something that may overturn what was concluded from an earlier one: somebody
    /// said something, something arrived that had not, or the other way round, or our own side has
    /// changed.
    pub(crate) fn is_news_after(&self, earlier: &Evidence) -> bool {
        let acked =
            |evidence: &Evidence| evidence.unacked == Some(0) || evidence.acked_ago_us.is_some();
        let own = |evidence: &Evidence| {
            (evidence.address_gone, evidence.no_route, evidence.carrier, evidence.source.clone())
        };
        self.icmp_errno != earlier.icmp_errno
            || acked(self) != acked(earlier)
            || own(self) != own(earlier)
            || is_new(&self.old, &earlier.old)
            || is_new(&self.partial, &earlier.partial)
            || is_new(&self.closed_port, &earlier.closed_port)
            || self.fresh.is_some() && earlier.fresh.is_none()
            || is_new(&self.fresh_again, &earlier.fresh_again)
            || is_new(&self.fresh_beat, &earlier.fresh_beat)
            || is_new(&self.fresh_beat_again, &earlier.fresh_beat_again)
            || is_new(&self.tcp_state, &earlier.tcp_state)
            || is_new(&self.hosts_well, &earlier.hosts_well)
            || matches!(self.fresh, Some(Fresh::Prohibited | Fresh::Unreachable))
    }

    /// Takes what an earlier one of the same silence knew of other connections.
    pub(crate) fn keep_side(&mut self, earlier: &Evidence) {
        let Evidence { icmp_type, icmp_code, side, .. } = earlier;
        (self.icmp_type, self.icmp_code) =
            (self.icmp_type.or(*icmp_type), self.icmp_code.or(*icmp_code));
        self.side = self.side.or(*side);
    }

    /// As it would be if no other connection had been made.
    pub(crate) fn without_side(&self) -> Evidence {
        Evidence {
            fresh: None,
            fresh_is_next: None,
            fresh_took_us: None,
            fresh_resent: None,
            fresh_rtt_us: None,
            fresh_again: None,
            fresh_beat: None,
            fresh_duplicates: None,
            fresh_beat_us: None,
            fresh_beat_again: None,
            fresh_same_length: None,
            fresh_cut: None,
            fresh_tiny: None,
            fresh_passed_again: None,
            more_fresh: None,
            more_answered: None,
            more_changes: None,
            resent_beside: None,
            closed_port: None,
            ..self.clone()
        }
    }

    /// By which rule the peer ended the connection.
    pub(crate) fn add_rule(&mut self, regular: Regular) {
        let by_idle = regular.rule != Rule::Lifetime;
        self.idle_closes = by_idle.then_some(regular.times);
        self.lifetime_closes = (regular.rule != Rule::Idle).then_some(regular.times);
        match by_idle {
            true => self.idle_us = Some(regular.after),
            false => self.lived_us = Some(regular.after),
        }
    }
}

/// What is not known any more is no news.
fn is_new<T: PartialEq>(now: &Option<T>, then: &Option<T>) -> bool {
    now.is_some() && now != then
}

fn unfit(name: &str, fact: &Fact) -> Error {
    Error::invalid(format!("`{fact}` cannot be the evidence called `{name}`"))
}

evidence! {
    /// What is certain without any diagnosis: the word of the event.
    word: Cause,
    /// `connect`, `silence`, `end`, `warning`, `back` or `away`.
    stage: Stage,
    /// The peer's address.
    peer: String,
    /// What carries a followed connection: `tcp`, `tls`, `serial`, `pipe` or `other`.
    transport: Transport,
    /// What was seen, in words.
    detail: String,
    /// What failed under TLS: `expired`, `not-yet-valid`, `clock`, `wrong-name`, `untrusted`,
    /// `protocol`, `plaintext` or `silent`.
    tls: String,
    /// Days until the certificate of the peer expires; 0 where it has.
    certificate_days: u64,
    /// What is spoken, and to whom, as a target is typed, as long as no beat was answered.
    target: String,
    /// No beat of this link was ever answered.
    first_contact: bool,
    /// What listens, by what it said in place of the first answer.
    service: Service,
    /// What the peer said last, beside its acks, escaped and without what is secret.
    said: String,
    /// What that is: `closing`, `greeting`, `text` or `binary`.
    said_kind: Said,
    /// How long ago it was said.
    said_age_us: Duration,
    /// How often something was said on the connection, beside its acks.
    said_times: u32,
    /// It is the first thing that was said on the connection, and the only one.
    said_first: bool,
    /// It came after the last beat was written.
    said_since_beat: bool,
    /// Connections in a row that ended at once, before a byte of the peer, this one included.
    drops: u32,
    /// So many of those ended before a byte of ours was sent.
    drops_unsent: u32,
    /// The connection ended over the first bytes that were written on it, without a byte of the
    /// peer, where no beat was ever answered.
    upon_beat: bool,
    /// The bytes of the beat, escaped, where the protocol says that they are no secret.
    beat: String,
    /// How long the beat is.
    beat_bytes: u32,
    /// The longest wait for an ack.
    timeout_us: Duration,
    /// How long the beat has waited for its ack; for an end, since the last beat was written.
    waited_us: Duration,
    /// How long ago the first beat without an answer was written; once it is answered, how long
    /// that took.
    silent_us: Duration,
    /// Misses in a row.
    misses: u32,
    /// Beats acked in time before it.
    good: u64,
    /// Beats without an ack so far.
    outstanding: u32,
    /// A part of an answer came.
    partial: bool,
    /// This process woke so much too late.
    late_us: Duration,
    /// This machine was suspended for so long.
    suspended_us: Duration,
    /// For how long nothing had gone either way, before the beat that failed or the end.
    idle_us: Duration,
    /// The longest such pause that was survived.
    idle_survived_us: Duration,
    /// How often in a row a connection of this link was ended by the peer after the same pause,
    /// this time included.
    idle_closes: u32,
    /// How often in a row one was ended by the peer at the same age, this time included.
    lifetime_closes: u32,
    /// How long the connection had stood as it ended.
    lived_us: Duration,
    /// How often one was forgotten after the same pause or a longer one, this time included.
    idle_forgotten: u32,
    /// The shortest pause after which one was forgotten.
    forgotten_after_us: Duration,
    /// The least round-trip time of a beat.
    beat_rtt_us: Duration,
    /// Beats before this trouble that are looked back on, 32 at most.
    beats_before: u32,
    /// Beats of the last 32 before this trouble that were answered late.
    late_beats: u32,
    /// So long the last two answers before this trouble took, at least, and not by the doing of the
    /// peer's process.
    answers_us: Duration,
    /// Beats of the last 32 before this trouble for which segments had to be sent again.
    lossy_beats: u32,
    /// Beats of the last 32 before this trouble for which segments arrived twice.
    doubled_beats: u32,
    /// The cause that was told as likely before, in the same trouble.
    told_before: Cause,
    /// Figures of the kernel that cannot be true, and so are not believed.
    nonsense: String,
    /// The kernel's word for the state of the connection.
    tcp_state: String,
    /// Segments sent and not acknowledged.
    unacked: u32,
    /// Of them, those that the peer has behind one that is missing.
    sacked: u32,
    /// Bytes written and not yet sent.
    unsent_bytes: u32,
    /// The window of the peer.
    window_bytes: u32,
    /// Retransmission timeouts in a row.
    retransmits: u8,
    /// How often the timeout was doubled.
    backoff: u8,
    /// Probes without an answer, of a closed window, the keepalive or a queue of ours.
    probes: u8,
    /// The retransmission timeout.
    rto_us: Duration,
    /// The smoothed round-trip time of segments.
    rtt_us: Duration,
    /// The same before the beat.
    rtt_before_us: Duration,
    /// The longest round trip that was seen lately: of answers, or of a connection's opening.
    rtt_lately_us: Duration,
    /// The least one.
    least_rtt_us: Duration,
    /// Since a segment came that acknowledged something.
    ack_age_us: Duration,
    /// Segments that came since the beat.
    segments_in: u32,
    /// Bytes that were acknowledged since the beat.
    acked_bytes: u64,
    /// Segments that were sent again since the beat.
    resent: u32,
    /// Segments of the opening of this connection that were sent again.
    opening_resent: u32,
    /// The round trip of its opening, where that was measured.
    opening_rtt_us: Duration,
    /// How long the next answer took after the silence, or the next connection's opening.
    rtt_after_us: Duration,
    /// Segments of ours that arrived twice since the beat.
    duplicates: u32,
    /// Nothing but beats was on its way.
    alone: bool,
    /// The beat was acknowledged, whatever else is on its way.
    beat_acked: bool,
    /// So long ago it was first seen that the beat had been acknowledged.
    acked_ago_us: Duration,
    /// From the last time that something was sent again to the answer.
    since_resent_us: Duration,
    /// Bytes that came since the beat.
    received_bytes: u64,
    /// Segments that came since the beat while one before them was missing.
    out_of_order: u32,
    /// Since the beat the peer's window held sending up for so long.
    window_closed_us: Duration,
    /// Bytes of ours before the beat that were not acknowledged as it was written.
    ahead_bytes: u64,
    /// Beats of the last eight before which segments had to be sent again.
    resent_beats: u32,
    /// The kernel's number for what a router or firewall said (ICMP).
    icmp_errno: u32,
    /// That was said again and again, each time after the kernel had sent again.
    icmp_again: bool,
    /// So long the first beat without an answer had waited when it was first said.
    icmp_after_us: Duration,
    /// The type of what a router or firewall said of a fresh connection, or of the attempt.
    icmp_type: u32,
    /// The code of it.
    icmp_code: u32,
    /// The own address is not on this machine any more.
    address_gone: bool,
    /// This machine has no route to the peer.
    no_route: bool,
    /// The kernel's number for why there is none.
    route_errno: u32,
    /// A new connection would leave from this address of our own, and not from the old one.
    source: String,
    /// So long ago the own side was as bad as these facts have it; it is well again.
    own_side_back_us: Duration,
    /// Packets that a queue of this machine threw away since the beat.
    queue_drops: u64,
    /// The interface of the own address.
    interface: String,
    /// That interface is up and has a carrier.
    carrier: bool,
    /// The application's `send` has not come back for so long.
    send_stuck_us: Duration,
    /// Links to different hosts that fell silent at about the same time, this one included.
    suspects: u32,
    /// Of so many.
    hosts: u32,
    /// Hosts that have answered since the first of them fell silent.
    hosts_well: u32,
    /// The network that those have in common which fell silent, and none that has answered is in.
    network: String,
    /// Why no other connection was made: `off`, `budget`, `pending`, `needless`, `full`, `single`.
    side: Kept,
    /// Another connection to the same address: `connected`, `refused`, `silent`, `unreachable`,
    /// `prohibited`, `local`, `failed`.
    fresh: Fresh,
    /// It is the link's own next one.
    fresh_is_next: bool,
    /// How long it took to stand, or was waited for.
    fresh_took_us: Duration,
    /// Segments of its opening that were sent again.
    fresh_resent: u32,
    /// Its round-trip time.
    fresh_rtt_us: Duration,
    /// A second one, where the first was not answered, and waited for longer.
    fresh_again: Fresh,
    /// The same beat on it: `answered`, `acked` (by the kernel alone), `unacked`, `ended`,
    /// `unanswered`.
    fresh_beat: Carried,
    /// How long its answer took, where that was waited for, and the link's own did not come behind.
    fresh_beat_us: Duration,
    /// How often it arrived there once more: its first acknowledgement was lost.
    fresh_duplicates: u32,
    /// The same once more, on a connection of its own.
    fresh_beat_again: Carried,
    /// Other bytes of the same length on it.
    fresh_same_length: Carried,
    /// The beginning of the beat on it.
    fresh_cut: Carried,
    /// A tiny payload on it.
    fresh_tiny: Carried,
    /// What had passed, once more.
    fresh_passed_again: Carried,
    /// So many more connections were tried, each from another port.
    more_fresh: u32,
    /// So many of them were answered.
    more_answered: u32,
    /// From one fresh connection to the next, so often it changed whether they were.
    more_changes: u32,
    /// Connections of the link's own that stood, and on which no beat was ever acknowledged.
    next_swallowed: u32,
    /// Connections of the link's own before this one, on which beats were acknowledged and none was
    /// answered.
    next_unanswered: u32,
    /// Beats that were answered on the link's own next connection, while the last one was silent.
    next_beats: u32,
    /// A beat on it was not answered in time.
    next_missed: bool,
    /// Attempts of the link's own that nobody answered.
    next_silent: u32,
    /// First nobody answered a fresh connection, and the link's own next one was.
    path_back: bool,
    /// Segments of the old connection sent again in vain while a fresh one was answered.
    resent_beside: u32,
    /// What became of the old connection after that: `acked` after all, or `reset`.
    old: Old,
    /// How long before the end a side connection of ours was accepted.
    side_age_us: Duration,
    /// A port of the same host on which nobody listens.
    closed_port: Fresh,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evidence in which every fact is known.
    fn full() -> Evidence {
        let words = ["refused", "silence", "tcp", "ssh", "text", "acked", "connected", "pending"];
        let mut facts: Vec<_> = words.iter().map(|word| Fact::Text((*word).to_owned())).collect();
        facts.extend([Fact::Number(7), Fact::Flag(true)]);
        let mut full = Evidence::default();
        for name in Evidence::NAMES {
            assert!(facts.iter().any(|fact| full.set(name, fact).is_ok()), "{name}");
        }
        full
    }

    #[test]
    fn nothing_of_side_connections_is_left_without_them() {
        let alone = full().without_side();
        let facts = alone.facts();
        let names = facts.iter().map(|(name, _)| *name);
        let of_others = |name: &str| name.starts_with("fresh") || name.starts_with("more_");
        let left: Vec<_> = names.filter(|name| of_others(name)).collect();
        assert_eq!(left, [""; 0]);
    }

    #[test]
    fn each_fact_is_read_under_its_name() {
        let full = full();
        assert_eq!(full.facts().len(), Evidence::NAMES.len());
        assert_eq!((full.word(), full.stage()), (Some(Cause::Refused), Some("silence")));
        assert_eq!((full.rtt_us(), full.unacked()), (Some(Duration::from_micros(7)), Some(7)));
        assert_eq!((full.fresh_beat(), full.alone()), (Some("acked"), Some(true)));
        assert_eq!((full.peer(), full.side()), (Some("refused"), Some("pending")));
        assert_eq!(Evidence::default().detail(), None);
    }
}
