//! What of TLS failed, as one word, and who should act: the remedy of that word and of no other.

use super::evidence::Evidence;
use crate::cause::{Cause, Loss};

/// The word, with which the detail of such a loss begins.
pub(super) fn word(loss: &Loss) -> Option<String> {
    let (word, _) = loss.detail.split_once(": ").filter(|_| loss.cause == Cause::TlsFailed)?;
    Some(word.to_owned())
}

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
