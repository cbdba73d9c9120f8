//! Advice for a target that never answered, that hung up at once, or that said why it ends: what to
//! type next, and whom to ask. A password is not known here, and so not repeated.

use crate::cause::Cause;
use crate::diagnose::decide::Verdict;
use crate::diagnose::evidence::{Evidence, Stage};
use crate::diagnose::last_words;
use crate::diagnose::service::{self, Service};

use super::server_line;

/// Who hangs up over bytes that it does not know, without a word.
const WORDLESS: &str = "PostgreSQL, MQTT brokers, MongoDB and TLS servers hang up over others";

/// The same for HTTP, over which some hang up that answer other bytes.
const WORDLESS_OVER_HTTP: &str = "Redis, memcached, PostgreSQL, MQTT brokers and TLS servers hang \
                                  up over HTTP";

pub(super) fn advise(evidence: &Evidence, verdict: &Verdict, peer: &str) -> Option<String> {
    let place = Place::of(evidence);
    let hold = place.as_ref().map(Place::hold);
    let is_held = place.as_ref().is_some_and(Place::is_held);
    let is_end = matches!(verdict.cause, Cause::ClosedByPeer | Cause::Reset);
    match evidence.service {
        Some(service) if is_held && is_end => return Some(nobody_logs_in(service, peer)),
        Some(service) if !is_held => return place.map(|place| place.speaks(service)),
        _ => {}
    }
    let detail = evidence.detail.as_deref().unwrap_or_default();
    if let Some(advice) = server_line::advise(verdict.cause, detail, hold.as_deref()) {
        return Some(advice);
    }
    match verdict.cause {
        Cause::DroppedAtOnce => Some(dropped(evidence, place.as_ref(), peer)),
        Cause::ClosedByPeer | Cause::Reset if evidence.upon_beat == Some(true) => {
            Some(over_bytes(&place?, verdict, peer))
        }
        Cause::AckTimeout if evidence.outstanding == Some(0) => place.map(|place| {
            format!("does the service at {peer} greet at all? It said nothing: {}", place.guess())
        }),
        Cause::PeerSilent => Some(never_answered(evidence, &place?, peer)),
        // It may be only late; but who has never answered may not know the bytes.
        Cause::AckTimeout if evidence.beat_acked == Some(true) => {
            Some(never_answered(evidence, &place?, peer))
        }
        // So servers answer plain HTTP on a port for TLS, and to HEAD they may not say so.
        Cause::BadStatus if detail.starts_with("400 ") => {
            place.filter(|place| place.scheme == "http").map(|Place { place, .. }| {
                format!(
                    "check the path, or whether the port wants TLS: type `keepbeat \
                     https://{place}/`"
                )
            })
        }
        Cause::ClosedWithReason => Some(said_why(evidence, place.as_ref(), peer)),
        Cause::WrongReply if evidence.stage == Some(Stage::Silence) => {
            let said = evidence.said.as_deref().unwrap_or_default();
            Some(format!(
                "check what answers on {peer}: it said `{said}`, which is not the ack; if it is, \
                 expect that"
            ))
        }
        _ => None,
    }
}

/// A target as it was typed: a scheme, and `host:port`.
struct Place<'a> {
    scheme: &'a str,
    place: &'a str,
}

impl<'a> Place<'a> {
    /// Known as long as no beat was answered.
    fn of(evidence: &'a Evidence) -> Option<Place<'a>> {
        let (scheme, rest) = evidence.target.as_deref()?.split_once("://")?;
        let place = rest.split(['/', '?']).next().unwrap_or(rest);
        Some(Place { scheme, place })
    }

    fn is_tls(&self) -> bool {
        self.scheme == "https" || self.scheme.starts_with("tls+")
    }

    /// Nothing is sent to it.
    fn is_held(&self) -> bool {
        matches!(self.scheme, "connect" | "tls+connect")
    }

    fn hold(&self) -> String {
        let scheme = if self.is_tls() { "tls+connect" } else { "connect" };
        format!("`keepbeat {scheme}://{}`", self.place)
    }

    fn speaks(&self, service: Service) -> String {
        let command = service.command(self.scheme, self.place);
        match service {
            Service::Echo => format!(
                "choose an ack that differs from the beat, or expect the beat itself: type \
                 {command}"
            ),
            _ => format!("{} listens there: type {command}", service.name()),
        }
    }

    fn wordless(&self) -> &'static str {
        if matches!(self.scheme, "http" | "https") { WORDLESS_OVER_HTTP } else { WORDLESS }
    }

    /// What the port usually is, where that is no news to whoever chose the scheme.
    fn usual(&self) -> Option<(u16, Service)> {
        let port = self.place.rsplit_once(':')?.1.parse().ok()?;
        let service = service::by_port(port)?;
        let is_known = service.is_spoken_by(self.scheme) || self.is_tls();
        (!is_known).then_some((port, service))
    }

    /// `port 6379 is usually that of a Redis: type ...`, or else how to hold a connection.
    fn guess(&self) -> String {
        match self.usual() {
            Some((port, service)) => {
                let command = service.command(self.scheme, self.place);
                format!("port {port} is usually that of {}: type {command}", service.name())
            }
            None => format!("type {}, which holds a connection and sends no byte", self.hold()),
        }
    }
}

fn dropped(evidence: &Evidence, place: Option<&Place>, peer: &str) -> String {
    let stand_in = format!(
        "look at what accepts connections on {peer}: a proxy or balancer without a living backend, \
         the port of a container that does not run, a list of allowed clients, or a limit on them"
    );
    let sent = evidence.outstanding.is_some_and(|beats| beats > 0);
    match place.filter(|_| sent) {
        // Then it is as likely that it does not know the bytes.
        Some(place) => format!(
            "{stand_in}; or the service does not know these bytes ({}): {}",
            place.wordless(),
            place.guess()
        ),
        None => stand_in,
    }
}

/// The connection ended over the first bytes.
fn over_bytes(place: &Place, verdict: &Verdict, peer: &str) -> String {
    let or = match verdict.alternatives.contains(&Cause::DroppedAtOnce) {
        true => "; or a proxy without a living backend accepts in the place of one",
        false => "",
    };
    let (who, guess) = (place.wordless(), place.guess());
    format!("the service at {peer} may not know these bytes ({who}): {guess}{or}")
}

/// Its kernel acknowledged the beat, and no beat was ever answered.
fn never_answered(evidence: &Evidence, place: &Place, peer: &str) -> String {
    let sends = match evidence.beat.as_deref() {
        Some(beat @ "heartbeat") => format!("`tcp://` sends `{beat}`, and few know that"),
        _ => "it never has".to_owned(),
    };
    format!(
        "does the service at {peer} answer these bytes at all ({sends})? If not, {}; if it does, \
         look at its process: it hangs or is overloaded, while its kernel answers",
        place.guess()
    )
}

/// A service that greeted, and ended a connection on which nothing was said.
fn nobody_logs_in(service: Service, peer: &str) -> String {
    format!(
        "{} ends connections on which nobody logs in, and on this one nothing is said: no fault, \
         if it comes regularly. To speak with it use `--steps FILE`; else look at the log of \
         {peer}",
        service.name()
    )
}

fn said_why(evidence: &Evidence, place: Option<&Place>, peer: &str) -> String {
    let said = evidence.said.as_deref().unwrap_or_default();
    let is_held = place.is_some_and(Place::is_held);
    match (last_words::are_about_idling(said), is_held) {
        (true, true) => format!(
            "{peer} closes connections on which nothing is said, and this one says nothing: let \
             it speak with `--steps FILE`, or raise the limit of {peer}"
        ),
        (true, false) => format!(
            "beat more often than {peer} closes connections that say nothing, or raise its limit"
        ),
        (false, _) => format!("do what its words ask for; the log of {peer} may tell more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::diagnosis::Diagnosis;

    fn first(target: &str, word: Cause) -> Evidence {
        Evidence {
            word: Some(word),
            stage: Some(Stage::End),
            target: Some(target.to_owned()),
            peer: Some("192.0.2.1:7000".to_owned()),
            first_contact: Some(true),
            outstanding: Some(1),
            ..Evidence::default()
        }
    }

    fn advice(evidence: Evidence) -> String {
        Diagnosis::of(evidence).advice().to_owned()
    }

    #[test]
    fn what_listens_is_answered_with_the_command_to_type() {
        let service = Some(Service::Ssh);
        let ssh = Evidence { service, ..first("tcp://db.example:22", Cause::WrongReply) };
        let told = advice(ssh);
        assert!(
            told.starts_with(
                "an SSH server listens there: type `keepbeat connect://db.example:22`"
            )
        );
        let service = Some(Service::Http);
        let http = Evidence { service, ..first("tls+redis://h:1", Cause::WrongReply) };
        assert!(advice(http).ends_with("type `keepbeat https://h:1/`"));
        let service = Some(Service::Redis);
        let redis = Evidence { service, ..first("http://h:6379/x?...", Cause::WrongReply) };
        assert!(advice(redis).ends_with("type `keepbeat redis://h:6379`"));
    }

    #[test]
    fn a_port_supports_a_guess_and_names_what_ends_a_connection_over_unknown_bytes() {
        let upon_beat = Some(true);
        let ended = |target, word| Evidence { upon_beat, ..first(target, word) };
        let postgres = advice(ended("tcp://h:5432", Cause::ClosedByPeer));
        assert!(
            postgres.contains("port 5432 is usually that of a PostgreSQL server"),
            "{postgres}"
        );
        assert!(postgres.contains("`keepbeat connect://h:5432`"), "{postgres}");
        let tls = advice(ended("tcp://h:443", Cause::Reset));
        assert!(tls.contains("`keepbeat https://h:443/`") && !tls.contains("crash"), "{tls}");
        let any = advice(ended("tcp://h:9", Cause::Reset));
        assert!(any.contains("`keepbeat connect://h:9`") && any.contains("PostgreSQL"), "{any}");
        let secured = advice(ended("tls+tcp://h:443", Cause::Reset));
        assert!(secured.contains("`keepbeat tls+connect://h:443`"), "{secured}");
    }

    #[test]
    fn a_stand_in_is_no_crash() {
        let dropped = Evidence { drops: Some(1), ..first("tcp://h:9", Cause::Reset) };
        let told = advice(dropped.clone());
        assert!(told.contains("living backend") && told.contains("`keepbeat connect://h:9`"));
        let unsent = advice(Evidence { outstanding: Some(0), ..dropped.clone() });
        assert!(unsent.contains("living backend") && !unsent.contains("PostgreSQL"), "{unsent}");
        let again = Evidence { first_contact: None, target: None, drops: Some(5), ..dropped };
        assert_eq!(advice(again), unsent);
        assert!(!told.contains("crash") && !unsent.contains("crash"));
    }

    #[test]
    fn who_never_answered_is_asked_first_whether_it_knows_the_bytes() {
        let silence = |target| Evidence {
            stage: Some(Stage::Silence),
            unacked: Some(0),
            unsent_bytes: Some(0),
            acked_ago_us: Some(std::time::Duration::from_secs(1)),
            beat: Some("heartbeat".to_owned()),
            ..first(target, Cause::AckTimeout)
        };
        let told = advice(silence("tcp://h:6379"));
        let question =
            "does the service at 192.0.2.1:7000 answer these bytes at all (`tcp://` sends";
        assert!(told.starts_with(question), "{told}");
        assert!(told.contains("type `keepbeat redis://h:6379`"), "{told}");
        let any = advice(silence("tcp://h:7"));
        assert!(any.contains("type `keepbeat connect://h:7`"), "{any}");
        let known = Evidence { first_contact: None, target: None, ..silence("tcp://h:6379") };
        assert!(advice(known).starts_with("look at the process behind 192.0.2.1:7000"));
    }

    #[test]
    fn words_about_idling_are_no_advice_to_beat_where_no_byte_is_sent() {
        let bye = |target| Evidence {
            said: Some("* BYE Autologout".to_owned()),
            said_kind: Some(crate::diagnose::last_words::Said::Closing),
            said_age_us: Some(std::time::Duration::ZERO),
            said_times: Some(2),
            ..first(target, Cause::ClosedByPeer)
        };
        assert!(advice(bye("tcp://h:143")).contains("beat more often"));
        let held = advice(bye("connect://h:143"));
        assert!(!held.contains("beat more often") && held.contains("--steps FILE"), "{held}");
    }

    #[test]
    fn a_server_that_waits_for_a_login_in_vain_has_not_crashed() {
        let service = Some(Service::Ssh);
        let ended = Evidence {
            service,
            said_first: Some(true),
            outstanding: Some(0),
            ..first("connect://h:22", Cause::Reset)
        };
        let told = advice(ended);
        assert!(
            told.starts_with("an SSH server ends connections on which nobody logs in"),
            "{told}"
        );
        assert!(!told.contains("crash"), "{told}");
    }
}
