//! What the server says about keeping the connection: `Keep-Alive: timeout=5, max=100` (RFC 2068,
//! section 19.7.1.1; informational since, and sent by Apache, nginx and Node).

use std::time::Duration;

/// A day. Nobody means more, and sums with it do not overflow.
const LONGEST: u64 = 24 * 60 * 60;

/// What was said. What makes no sense was not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The server closes after so long without a request.
    pub(crate) timeout: Option<Duration>,
    /// So many requests more are served on this connection.
    pub(crate) max: Option<u64>,
}

impl Hint {
    /// From all `Keep-Alive` headers of a response. Of what is said twice, the lower counts.
    pub(crate) fn read<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Hint {
        let mut hint = Hint::default();
        for part in headers.flat_map(|header| header.split(|byte| *byte == b',')) {
            let Some((name, value)) =
                std::str::from_utf8(part).ok().and_then(|p| p.split_once('='))
            else {
                continue;
            };
            let Some(value) = number(value.trim().trim_matches('"')) else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "timeout" => {
                    let timeout = Duration::from_secs(value.min(LONGEST));
                    hint.timeout = Some(hint.timeout.map_or(timeout, |other| other.min(timeout)));
                }
                "max" => hint.max = Some(hint.max.map_or(value, |other| other.min(value))),
                _ => {}
            }
        }
        hint
    }
}

/// Digits only; more of them than fit are a very large number.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(headers: &[&str]) -> (Option<u64>, Option<u64>) {
        let hint = Hint::read(headers.iter().map(|header| header.as_bytes()));
        (hint.timeout.map(|timeout| timeout.as_secs()), hint.max)
    }

    #[test]
    fn servers_are_understood() {
        assert_eq!(read(&["timeout=5, max=100"]), (Some(5), Some(100)));
        assert_eq!(read(&["timeout=20"]), (Some(20), None));
        assert_eq!(read(&["Timeout = \"7\" ,Max=3"]), (Some(7), Some(3)));
        assert_eq!(read(&["max=0"]), (None, Some(0)));
    }

    #[test]
    fn absurd_values_survive() {
        let day = Some(86_400);
        assert_eq!(read(&["timeout=0"]), (Some(0), None));
        assert_eq!(read(&["timeout=-5, max=-1"]), (None, None));
        assert_eq!(read(&["timeout=99999999999999999999999999"]), (day, None));
        assert_eq!(read(&["timeout=18446744073709551615"]), (day, None));
        assert_eq!(read(&["timeout=5.5, timeout=1e3, timeout=0x10, timeout="]), (None, None));
        assert_eq!(
            read(&["timeout=60, timeout=5", "timeout=30, max=9, max=8"]),
            (Some(5), Some(8))
        );
        assert_eq!(read(&["", ",,,", "=", "timeout", "=5", "\u{7f}=1"]), (None, None));
    }

    proptest! {
        #[test]
        fn no_header_harms(header in prop::collection::vec(any::<u8>(), 0..200)) {
            let hint = Hint::read([header.as_slice()].into_iter());
            prop_assert!(hint.timeout.is_none_or(|timeout| timeout.as_secs() <= LONGEST));
        }
    }
}
