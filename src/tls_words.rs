//! What went wrong under TLS, in plain words: each with the sub-word of `tls-failed` in front.

use std::fmt::Display;

use rustls::{CertificateError, Error as TlsError};

use crate::cause::{Cause, Loss};
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

/// What an error of rustls means, in plain words and with the names.
pub(crate) fn failed(error: &TlsError, name: &str, peer: &dyn Display) -> Loss {
    match error {
        TlsError::InvalidCertificate(error) => certificate(error, name, peer),
        TlsError::AlertReceived(alert) => {
            tls_failed("protocol", &format!("{peer} refuses with the alert {alert:?}"))
        }
        error => tls_failed("protocol", &format!("{peer}: {error}")),
    }
}

fn certificate(error: &CertificateError, name: &str, peer: &dyn Display) -> Loss {
    let whose = format!("the certificate of {peer} for `{name}`");
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = about(time.as_secs().saturating_sub(not_after.as_secs()));
            tls_failed("expired", &format!("{whose} has been over for {ago}"))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let left = about(not_before.as_secs().saturating_sub(time.as_secs()));
            let what = format!("{whose} begins only in {left}; is this machine's clock right?");
            tls_failed("expired", &what)
        }
        CertificateError::Expired => tls_failed("expired", &format!("{whose} is over")),
        CertificateError::NotValidYet => {
            tls_failed("expired", &format!("{whose} has not begun; is this machine's clock right?"))
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
            let what = format!("{whose} is that of an authority; let it sign one for the server");
            tls_failed("untrusted", &what)
        }
        error => tls_failed("untrusted", &format!("{whose}: {error}")),
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
    fn names_lose_the_wrapping_of_rustls() {
        assert_eq!(plain("DnsName(\"a.example\")"), "`a.example`");
        assert_eq!(plain("IpAddress(10.0.0.1)"), "`IpAddress(10.0.0.1)`");
    }
}
