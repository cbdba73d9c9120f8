//! Proxies: which one a request takes, and how. `http://` goes to an HTTP proxy in absolute form
//! (RFC 9112, section 3.2.2), as curl, Go and browsers do it: squid and tinyproxy refuse CONNECT to
//! port 80. `https://` goes through a tunnel, and so does everything behind SOCKS.

mod environment;
mod exceptions;
mod socks;
mod tunnel;

use std::sync::Arc;

pub(crate) use environment::from_environment;
pub(crate) use exceptions::Exceptions;
pub(crate) use socks::{Goal, through_socks};
pub(crate) use tunnel::through_http;

use super::authority::Address;
use crate::login;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    /// HTTP under TLS.
    Https,
    Socks4,
    /// The proxy looks the name up.
    Socks4a,
    Socks5,
    /// The proxy looks the name up.
    Socks5h,
}

/// Where a proxy is and how to talk to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) kind: Kind,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
}

/// How a request reaches its server.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    Direct,
    /// The proxy is sent the request itself.
    Forward(Arc<Proxy>),
    /// The proxy connects to the server.
    Tunnel(Arc<Proxy>),
}

/// The proxies of a session.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    pub(crate) http: Option<Arc<Proxy>>,
    pub(crate) https: Option<Arc<Proxy>>,
    pub(crate) except: Exceptions,
}

impl Proxies {
    /// This one for everything.
    pub(crate) fn all(proxy: Proxy) -> Proxies {
        let proxy = Some(Arc::new(proxy));
        Proxies { http: proxy.clone(), https: proxy, except: Exceptions::default() }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    pub(crate) fn route(&self, https: bool, host: &str, port: u16) -> Route {
        let proxy = if https { &self.https } else { &self.http };
        match proxy {
            Some(proxy) if !self.except.contain(host, port) => Route::by(proxy, https),
            _ => Route::Direct,
        }
    }
}

impl Route {
    pub(crate) fn by(proxy: &Arc<Proxy>, https: bool) -> Route {
        match proxy.kind {
            Kind::Http | Kind::Https if !https => Route::Forward(Arc::clone(proxy)),
            _ => Route::Tunnel(Arc::clone(proxy)),
        }
    }
}

impl Proxy {
    /// From `scheme://user:password@host:port`; without a scheme it is `http`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that hold nothing of it: there may be a password.
    pub(crate) fn read(url: &str) -> Result<Proxy, &'static str> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let (kind, usual) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "https" => (Kind::Https, 443),
            "socks4" => (Kind::Socks4, 1080),
            "socks4a" => (Kind::Socks4a, 1080),
            "socks" | "socks5" => (Kind::Socks5, 1080),
            "socks5h" => (Kind::Socks5h, 1080),
            _ => {
                return Err("a proxy speaks `http`, `https`, `socks4`, `socks4a`, `socks5` or \
                             `socks5h`: write `http://user:password@host:port`");
            }
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err("a path behind host and port: write `http://user:password@host:port`");
        }
        let address = Address::read(authority)?;
        let login = address.login.map(Proxy::login).transpose()?;
        let port = address.port.unwrap_or(usual);
        Ok(Proxy { kind, host: address.host.to_owned(), port, login })
    }

    fn login(text: &str) -> Result<(String, String), &'static str> {
        let (user, password) = login::of_url(text)?;
        if user.len() > 255 || password.len() > 255 {
            return Err("user and password must have 255 bytes at most");
        }
        login::basic(&user, &password)?;
        Ok((user, password))
    }

    /// What follows `Proxy-Authorization:`.
    pub(crate) fn authorization(&self) -> Option<String> {
        let (user, password) = self.login.as_ref()?;
        login::basic(user, password).ok().map(|token| format!("Basic {token}"))
    }

    pub(crate) fn is_http(&self) -> bool {
        matches!(self.kind, Kind::Http | Kind::Https)
    }
}

impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the proxy {}", at(&self.host, self.port))
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.kind, at(&self.host, self.port))
    }
}

/// Host and port as they stand in a URL.
pub(crate) fn at(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_proxies_are_read() {
        let read = |url| {
            let proxy = Proxy::read(url).unwrap();
            (proxy.kind, proxy.host, proxy.port, proxy.login)
        };
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("h"), (Kind::Http, "h".to_owned(), 80, None));
        assert_eq!(read("u:p%40@h:8080/"), (Kind::Http, "h".to_owned(), 8080, login("u", "p@")));
        assert_eq!(read("HTTPS://[::1]"), (Kind::Https, "::1".to_owned(), 443, None));
        assert_eq!(read("socks://u@h"), (Kind::Socks5, "h".to_owned(), 1080, login("u", "")));
        assert_eq!(read("socks4a://h:1"), (Kind::Socks4a, "h".to_owned(), 1, None));
        for wrong in
            ["", "ftp://h", "http://", "h/path", "h?q", "h:99999", "u:p@ss@h", "u%@h", "a b"]
        {
            assert!(Proxy::read(wrong).is_err(), "{wrong}");
        }
        let shown = format!("{:?} {0}", Proxy::read("http://u:s3cret@h").unwrap());
        assert!(!shown.contains("s3cret") && shown.contains("h:80"), "{shown}");
    }

    #[test]
    fn plain_requests_are_forwarded_and_others_take_a_tunnel() {
        let by = |url, https| Route::by(&Arc::new(Proxy::read(url).unwrap()), https);
        assert!(matches!(by("http://h", false), Route::Forward(_)));
        assert!(matches!(by("https://h", false), Route::Forward(_)));
        assert!(matches!(by("http://h", true), Route::Tunnel(_)));
        assert!(matches!(by("socks5://h", false), Route::Tunnel(_)));
    }
}
