//! The certificate of the peer of one link: when it expires, and when that is worth a warning.
//! Times are arguments.

use std::time::{Duration, Instant, SystemTime};

use crate::cause::Cause;
use crate::diagnose::{Evidence, Stage};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Default)]
pub(crate) struct Certificate {
    /// Of the connection that is, or was last.
    pub(crate) expires: Option<SystemTime>,
    /// How long before that a warning is worth it.
    warns_before: Option<Duration>,
    /// Nothing is to be said before.
    next: Option<Instant>,
}

impl Certificate {
    /// A connection stands, with this certificate. One that was renewed is looked at anew.
    pub(crate) fn on_connected(
        &mut self,
        expires: Option<SystemTime>,
        warns_before: Option<Duration>,
    ) {
        if self.expires != expires {
            self.next = None;
        }
        (self.expires, self.warns_before) = (expires, warns_before);
    }

    /// What is to be said now, once a day at most. It asks for the time on the wall as seldom.
    pub(crate) fn warning(
        &mut self,
        now: Instant,
        wall: impl FnOnce() -> SystemTime,
    ) -> Option<Duration> {
        let (expires, before) = (self.expires?, self.warns_before?);
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + DAY);
        let left = expires.duration_since(wall()).unwrap_or_default();
        (left < before).then_some(left)
    }

    /// The evidence of a warning.
    pub(crate) fn evidence(&self, left: Duration, peer: String, wall: SystemTime) -> Evidence {
        let expires = self.expires.unwrap_or(wall);
        Evidence {
            word: Some(Cause::CertificateExpiring),
            stage: Some(Stage::Warning),
            detail: Some(format!("the certificate of {peer} {}", expiry(expires, wall))),
            peer: Some(peer),
            certificate_days: Some(left.as_secs() / DAY.as_secs()),
            ..Evidence::default()
        }
    }
}

#[cfg(feature = "tls")]
fn expiry(expires: SystemTime, wall: SystemTime) -> String {
    let secs = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    };
    let (end, now) = (secs(expires), secs(wall));
    crate::tls_words::expiry(end as i64 - now as i64, end)
}

#[cfg(not(feature = "tls"))]
fn expiry(_: SystemTime, _: SystemTime) -> String {
    "expires".to_owned() // without TLS there is none
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_in_time_and_once_a_day() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut certificate = Certificate::default();
        assert_eq!(certificate.warning(start, || wall), None, "no TLS");
        certificate.on_connected(Some(wall + 30 * DAY), Some(21 * DAY));
        assert_eq!(certificate.warning(start, || wall), None);
        assert_eq!(certificate.warning(start + 8 * DAY, || wall + 8 * DAY), None);
        assert_eq!(certificate.warning(start + 10 * DAY, || wall + 10 * DAY), Some(20 * DAY));
        assert_eq!(certificate.warning(start + 10 * DAY, || wall + 10 * DAY), None);
        certificate.on_connected(Some(wall + 30 * DAY), Some(21 * DAY));
        assert_eq!(certificate.warning(start + 10 * DAY, || wall + 10 * DAY), None, "the same");
        assert_eq!(certificate.warning(start + 31 * DAY, || wall + 31 * DAY), Some(Duration::ZERO));
        certificate.on_connected(Some(wall + 90 * DAY), Some(21 * DAY));
        assert_eq!(certificate.warning(start + 31 * DAY, || wall + 31 * DAY), None, "renewed");
        certificate.on_connected(Some(wall + 40 * DAY), Some(21 * DAY));
        assert_eq!(certificate.warning(start + 31 * DAY, || wall + 31 * DAY), Some(9 * DAY));
        certificate.on_connected(Some(wall), None);
        assert_eq!(certificate.warning(start + 40 * DAY, || wall + 40 * DAY), None, "not wanted");
    }
}
