//! What ureq's public types tell: where a request goes, whether its settings are its own, and what
//! its errors carry inside.

use std::fmt;
use std::io::{self, ErrorKind};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;

use super::authority::Address;

/// Where to: the host without the brackets of an IPv6 address.
pub(super) fn host_and_port(uri: &Uri) -> Result<(&str, u16), Error> {
    let address = Address::of(uri).map_err(|what| Error::BadUri(what.to_owned()))?;
    Ok((address.host, address.port_for(uri.scheme_str() == Some("https"))))
}

/// Whether TLS is as the session has it: the agent's own settings are ureq's defaults, and a
/// request that changes them wants its own.
#[cfg(feature = "tls")]
pub(super) fn has_own_tls(config: &Config) -> bool {
    use ureq::tls::{RootCerts, TlsProvider};
    let tls = config.tls_config();
    tls.provider() != TlsProvider::Rustls
        || tls.client_cert().is_some()
        || !matches!(tls.root_certs(), RootCerts::WebPki)
        || !tls.use_sni()
        || tls.disable_verification()
        || tls.unversioned_rustls_crypto_provider().is_some()
}

#[cfg(not(feature = "tls"))]
pub(super) fn has_own_tls(_: &Config) -> bool {
    false
}

/// The answer came before the request was written: through ureq's layers, to the lease above.
#[derive(Debug)]
pub(super) struct Answered;

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server answered before it had read the whole request")
    }
}

impl std::error::Error for Answered {}

/// ureq wraps its own timeouts into an error of input and output.
pub(super) fn unwrapped(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::Timeout(_)) => ErrorKind::WouldBlock.into(),
        _ => error,
    }
}
