//! What of TLS failed, as one word, and who should act: the remedy of that word and of no other.

use super::evidence::Evidence;
use crate::cause::{Cause, Loss};

/// The word, with which the detail of such a loss begins.
pub(super) fn word(loss: &Loss) -> Option<String> {
    let (word, _) = loss.detail.split_once(": ").filter(|_| loss.cause == Cause::TlsFailed)?;
    Some(word.to_owned())
}

/// How a server is told of that shows the certificate of an authority as its own: what
/// `openssl req -x509` makes unless told otherwise.
pub(crate) const IS_AUTHORITY: &str = "is that of an authority";

/// None where that word is not known.
pub(super) fn advise(evidence: &Evidence, peer: &str) -> Option<String> {
    Some(match evidence.tls.as_deref()? {
        "expired" => renew(peer),
        "not-yet-valid" => format!(
            "check this machine's clock (`date -u`); if it is right, {peer} shows its certificate \
             too early"
        ),
        "clock" => "set this machine's clock (`date -u` shows it), and keep it right with NTP; \
                    certificates cannot be checked before"
            .to_owned(),
        "wrong-name" => format!(
            "write the target with a name that the certificate of {peer} has, or add this name to \
             the certificate; or the name leads to the wrong server"
        ),
        "untrusted" if evidence.detail.as_deref().is_some_and(|it| it.contains(IS_AUTHORITY)) => {
            format!(
                "let {peer} show another certificate: one that this authority has signed for it, \
                 or one of its own made with `basicConstraints=CA:FALSE`; that of an authority is \
                 accepted for no server"
            )
        }
        "untrusted" => format!(
            "trust the authority that signed the certificate of {peer}, by its CA file, or let one \
             sign it that is trusted here; where it is not known who signed it, find that out first"
        ),
        "protocol" => format!(
            "compare the TLS settings of {peer} with what is offered here, TLS 1.2 and 1.3: \
             `openssl s_client -connect {peer}` shows its own"
        ),
        "plaintext" => format!(
            "find the port of {peer} that speaks TLS, or switch TLS on there: this one answers \
             without it"
        ),
        "silent" => format!(
            "look at the process behind {peer}: it hangs, or speaks no TLS on this port and waits; \
             where it is well, the network drops what TLS sends first"
        ),
        _ => return None,
    })
}

pub(super) fn renew(peer: &str) -> String {
    format!("renew the certificate of {peer}, and let its server load the new one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(word: &str, detail: &str) -> String {
        let (tls, detail) = (Some(word.to_owned()), Some(detail.to_owned()));
        advise(&Evidence { tls, detail, ..Evidence::default() }, "10.0.0.5:443").unwrap()
    }

    #[test]
    fn each_word_has_its_own_remedy_and_none_drops_tls() {
        let words = [
            "expired",
            "not-yet-valid",
            "clock",
            "wrong-name",
            "untrusted",
            "protocol",
            "plaintext",
            "silent",
        ];
        let mut remedies: Vec<String> = words.map(|word| advice(word, "")).into();
        remedies.push(advice("untrusted", &format!("the certificate {IS_AUTHORITY}; ...")));
        for remedy in &remedies {
            assert!(!remedy.contains("insecure") && !remedy.contains("http://"), "{remedy}");
            assert_eq!(remedies.iter().filter(|other| *other == remedy).count(), 1, "{remedy}");
        }
        assert!(remedies[8].contains("CA:FALSE"), "{}", remedies[8]);
        assert_eq!(advise(&Evidence::default(), "x"), None);
    }

    #[test]
    fn the_word_is_what_the_detail_of_tls_begins_with() {
        let loss = Loss::new(Cause::TlsFailed, "expired: the certificate: it is");
        assert_eq!(word(&loss).as_deref(), Some("expired"));
        assert_eq!(word(&Loss::new(Cause::Reset, "expired: x")), None);
    }
}
