//! What went wrong under TLS, in plain words: each with the sub-word of `tls-failed` in front.

use std::fmt::Display;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::cause::{Cause, Loss};
use crate::diagnose::IS_AUTHORITY;
use crate::protocol::escaped;

/// Whether a record of TLS may begin so.
pub(crate) fn is_tls(first: u8) -> bool {
    (20..=24).contains(&first)
}

/// With the sub-word in front: people and programs look for it there.
pub(crate) fn tls_failed(word: &str, what: &str) -> Loss {
    Loss::new(Cause::TlsFailed, format!("{word}: {what}"))
}

/// These bytes came in place of a handshake.
pub(crate) fn plaintext(bytes: &[u8], peer: &dyn Display) -> Loss {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let shown = escaped(line.unwrap_or_default());
    tls_failed("plaintext", &format!("{peer} answered the handshake with `{shown}`"))
}

/// The server took the connection, and the handshake came to no end.
pub(crate) fn silent(peer: &dyn Display, waited: Duration, heard: bool) -> Loss {
    let what = match heard {
        true => "began the TLS handshake, and then nothing more came",
        false => "took the connection, and no answer to the TLS handshake came",
    };
    tls_failed("silent", &format!("{peer} {what} within {waited:.1?}"))
}

/// What an error of rustls means, in plain words and with the names.
pub(crate) fn failed(error: &TlsError, name: &str, peer: &dyn Display) -> Loss {
    match error {
        TlsError::InvalidCertificate(error) => certificate(error, name, peer),
        TlsError::AlertReceived(alert) => {
            let meant = match alert {
                AlertDescription::CertificateRequired => ": it asks for a client certificate",
                AlertDescription::ProtocolVersion => ": it speaks neither TLS 1.2 nor TLS 1.3",
                AlertDescription::UnrecognisedName => ": it does not know the name that was asked",
                _ => "",
            };
            tls_failed("protocol", &format!("{peer} refuses with the alert {alert:?}{meant}"))
        }
        error => tls_failed("protocol", &format!("{peer}: {error}")),
    }
}

fn certificate(error: &CertificateError, name: &str, peer: &dyn Display) -> Loss {
    let whose = format!("the certificate of {peer} for `{name}`");
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            let (now, end) = (time.as_secs(), not_after.as_secs());
            let what =
                format!("{whose} expired {} ago, on {}", about(now - end.min(now)), date(end));
            clock(now, &what).unwrap_or_else(|| tls_failed("expired", &what))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (now, start) = (time.as_secs(), not_before.as_secs());
            let left = about(start.saturating_sub(now));
            let what = format!("{whose} becomes valid in {left}, on {}", date(start));
            clock(now, &what).unwrap_or_else(|| {
                let what = format!("{what}; is this machine's clock slow? It says {}", date(now));
                tls_failed("not-yet-valid", &what)
            })
        }
        CertificateError::Expired => tls_failed("expired", &format!("{whose} has expired")),
        CertificateError::NotValidYet => {
            let what = format!("{whose} is not valid yet; is this machine's clock slow?");
            tls_failed("not-yet-valid", &what)
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let has = match presented.as_slice() {
                [] => "no name at all".to_owned(),
                names => names.iter().take(4).map(|n| plain(n)).collect::<Vec<_>>().join(", "),
            };
            tls_failed("wrong-name", &format!("expected `{name}`; the one of {peer} has {has}"))
        }
        CertificateError::NotValidForName => {
            let what = format!("expected `{name}`; the certificate of {peer} has another");
            tls_failed("wrong-name", &what)
        }
        CertificateError::UnknownIssuer => {
            let what = format!("{whose} comes from an authority that is not trusted here");
            tls_failed("untrusted", &what)
        }
        // webpki's own errors come wrapped; this one is what a server with a certificate that it
        // made for itself meets most.
        error if error.to_string().contains("CaUsedAsEndEntity") => {
            let what = format!(
                "{whose} {IS_AUTHORITY}; trust it itself, or let it sign one for the server"
            );
            tls_failed("untrusted", &what)
        }
        error => tls_failed("untrusted", &format!("{whose}: {error}")),
    }
}

/// This version's day, 2026-01-01: no clock that is right says less. Raised with each release.
const MADE: u64 = 20_454 * DAY;

/// No program of that age is still in use, or so few that the question does no harm.
const TOO_OLD: u64 = 15 * 365 * DAY;

const DAY: u64 = 86_400;

/// Accuses this machine's clock, where it cannot be right.
fn clock(now: u64, what: &str) -> Option<Loss> {
    let why = if now < MADE {
        format!("before this program was made ({})", date(MADE))
    } else if now > MADE + TOO_OLD {
        format!("long after this program was made ({})", date(MADE))
    } else {
        return None;
    };
    let what = format!("this machine's clock says {}, {why}; by that clock {what}", date(now));
    Some(tls_failed("clock", &what))
}

/// The day in UTC: `2026-01-31`. After H. Hinnant, *chrono-Compatible Low-Level Date Algorithms*.
pub(crate) fn date(secs: u64) -> String {
    // Days since 0000-03-01: the leap day is the last one of its year.
    let days = secs / DAY + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year_of_era + next)
}

/// What is to be said of a certificate that has so many seconds left, or has expired so long ago.
pub(crate) fn expiry(left: i64, end: u64) -> String {
    let time = about(left.unsigned_abs());
    match left {
        0.. => format!("expires in {time}, on {}", date(end)),
        _ => format!("expired {time} ago, on {}", date(end)),
    }
}

/// `DnsName("a.example")` is how rustls prints a name: without its wrapping, and escaped.
fn plain(name: &str) -> String {
    let inner = name.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    format!("`{}`", escaped(inner.unwrap_or(name).as_bytes()))
}

/// A time that people can feel, in its largest unit.
fn about(secs: u64) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let unit = units.into_iter().find(|(unit, _)| secs >= *unit);
    let (n, unit) = unit.map_or((0, "second"), |(unit, name)| (secs / unit, name));
    if n == 1 { format!("1 {unit}") } else { format!("{n} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        for (secs, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "1 minute"),
            (7200, "2 hours"),
            (86_400, "1 day"),
            (86_400 * 40, "40 days"),
        ] {
            assert_eq!(about(secs), words);
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, date_of) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_454, "2026-01-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days * DAY + 3600), date_of);
        }
    }

    #[test]
    fn this_version_was_not_made_in_the_future() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(MADE <= now.as_secs(), "lower the day, or set this machine's clock");
    }

    fn told(error: CertificateError) -> String {
        failed(&TlsError::InvalidCertificate(error), "a.example", &"10.0.0.5:443").detail
    }

    fn at(secs: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(secs))
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_accused_and_no_other() {
        let not_yet = |now, not_before| {
            told(CertificateError::NotValidYetContext { time: at(now), not_before: at(not_before) })
        };
        let expired = |now, not_after| {
            told(CertificateError::ExpiredContext { time: at(now), not_after: at(not_after) })
        };
        let text = expired(MADE + 1100 * DAY, MADE + 68 * DAY);
        assert!(text.starts_with("expired: ") && text.contains("expired 1032 days ago"), "{text}");
        assert!(!text.contains("clock"), "{text}");
        let text = not_yet(MADE + DAY, MADE + 3 * DAY);
        assert!(text.starts_with("not-yet-valid: "), "{text}");
        assert!(text.contains("valid in 2 days, on 2026-01-04") && text.contains("clock slow"));
        for text in [
            not_yet(2 * DAY, MADE),
            expired(MADE - 9 * DAY, MADE - 40 * DAY),
            expired(MADE + 70 * 365 * DAY, MADE + 90 * DAY),
        ] {
            assert!(text.starts_with("clock: this machine's clock says "), "{text}");
            assert!(text.contains("for `a.example`"), "what it led to: {text}");
        }
        assert!(not_yet(2 * DAY, MADE).contains("1970-01-03, before this program was made"));
    }

    #[test]
    fn an_expiry_is_told_in_days() {
        assert_eq!(expiry(13 * DAY as i64, MADE), "expires in 13 days, on 2026-01-01");
        assert_eq!(expiry(-(DAY as i64), MADE), "expired 1 day ago, on 2026-01-01");
    }

    #[test]
    fn names_lose_the_wrapping_of_rustls() {
        assert_eq!(plain("DnsName(\"a.example\")"), "`a.example`");
        assert_eq!(plain("IpAddress(10.0.0.1)"), "`IpAddress(10.0.0.1)`");
    }
}
