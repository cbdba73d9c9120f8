//! What ureq's public types tell: whether a request's settings are its own.

use std::io::{self, ErrorKind};

use ureq::ProxyProtocol;
use ureq::config::Config;
use ureq::http::Uri;

use super::super::authority::Address;
use super::super::proxy::{Kind, Proxy};

/// The proxy that a request has for itself; none if it wants none.
pub(super) fn own_proxy(config: &Config, uri: &Uri) -> io::Result<Option<Proxy>> {
    let Some(own) = config.proxy().filter(|own| !own.is_no_proxy(uri)) else { return Ok(None) };
    let unfit = |what: &str| io::Error::new(ErrorKind::InvalidInput, what.to_owned());
    let kind = match own.protocol() {
        ProxyProtocol::Http => Kind::Http,
        ProxyProtocol::Https => Kind::Https,
        ProxyProtocol::Socks4 => Kind::Socks4,
        ProxyProtocol::Socks4A => Kind::Socks4a,
        ProxyProtocol::Socks5 => Kind::Socks5,
        ProxyProtocol::Socks5h => Kind::Socks5h,
        _ => return Err(unfit("this kind of proxy is not known")),
    };
    // ureq takes the usual port where this one is no number.
    let address = Address::of(own.uri()).map_err(unfit)?;
    let login = own.username().map(|user| {
        let password = own.password().unwrap_or_default();
        (user.to_owned(), password.to_owned())
    });
    Ok(Some(Proxy { kind, host: address.host.to_owned(), port: own.port(), login }))
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
