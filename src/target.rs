//! Target: what a person typed, parsed into where to connect and what may be shown.

mod slips;

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "tls")]
use std::sync::Arc;

use crate::error::Error;
use crate::login::percent_decoded;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Where a link connects to: `host:port`, or a URL `scheme://user:password@host:port`, for `http`
/// and `https` with a path and a query.
///
/// The text that a person may see never has the user, the password or the query. `https://` and
/// any `tls+SCHEME://` mean TLS (feature `tls`). Otherwise the scheme has no meaning here, because
/// the caller gives the protocol beside the target.
///
/// Schemes may have capital letters: `HTTP://` is `http://`. `rediss://` and `valkeys://` are
/// `tls+redis://`. A database number and parameters may follow the port of a Redis URL; a PING
/// needs none of them, so only a user and a password are taken from them. An IPv6 address may name
/// its interface, by name or number, as `[fe80::1%25eth0]` (RFC 6874) or `[fe80::1%eth0]`.
///
/// # Examples
///
/// ```
/// use keepbeat::Target;
///
/// let target: Target = "redis://:s3cret@10.0.0.5:6379".parse()?;
/// assert_eq!(target.to_string(), "redis://10.0.0.5:6379");
/// assert_eq!(target.password(), Some("s3cret"));
///
/// let target = Target::new("10.0.0.5:7000")?.named("billing");
/// assert_eq!((target.host(), target.port()), ("10.0.0.5", 7000));
///
/// let target: Target = "https://api.example/health?key=s3cret".parse()?;
/// assert_eq!(target.to_string(), "https://api.example:443/health?...");
/// assert_eq!(target.path(), "/health?key=s3cret");
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: u16,
    name: Option<String>,
    /// The path with its query; at least `/`.
    path: String,
    #[cfg(feature = "tls")]
    tls: Option<Arc<Tls>>,
}

impl Target {
    /// Parses `text`. A missing scheme is `tcp`. A missing port is an error unless the scheme has a
    /// default (`http`: 80, `https`: 443, `redis` and `tls+redis`: 6379).
    ///
    /// # Errors
    ///
    /// Says which part of the text is missing or wrong. The error never repeats a password.
    pub fn new(text: &str) -> Result<Target, Error> {
        if let Some(slip) = slips::of(text) {
            return Err(Error::invalid(slip));
        }
        let (typed, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let scheme = canonical(typed);
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') {
            return Err(Error::invalid(
                "the part before `://` is no scheme: write `tcp://host:port`, and in a password \
                 `:` as %3A, `/` as %2F",
            ));
        }
        let is_redis = scheme.ends_with("redis");
        let has_path = is_redis || matches!(scheme.as_str(), "http" | "https");
        let (rest, path) = match rest.find(['/', '?', '#']).filter(|_| has_path) {
            Some(at) => rest.split_at(at),
            None => (rest.strip_suffix('/').unwrap_or(rest), ""),
        };
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        // An `@` in a path may be the one that ends a password with a `/` in it.
        let is_clear = may_be_shown(address, text.contains("://")) && !path.contains('@');
        let shown = if is_clear { address } else { "..." };
        let wrong = |what: &str| Error::invalid(format!("target `{scheme}://{shown}`: {what}"));
        if rest.contains(['/', '?', '#']) || (is_redis && path.contains('@')) {
            return Err(wrong(
                "nothing may follow the port; in a password write `/` as %2F, `?` as %3F, `#` \
                 as %23",
            ));
        }
        let (host, port) = host_and_port(address).map_err(|what| wrong(&what))?;
        let mut query = Query::default();
        let path = if is_redis {
            query = database(path).map_err(|what| wrong(&what))?;
            "/".to_owned()
        } else {
            whole_path(path).map_err(wrong)?
        };
        let Some(port) = port.or(usual_port(&scheme)) else {
            return Err(wrong("the port is missing: write `host:port`"));
        };
        let login = login.unwrap_or_default();
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let decoded = |text| {
            percent_decoded(text).ok_or_else(|| {
                wrong("user or password has a `%` without two hex digits: write it as `%25`")
            })
        };
        let (user, password) = (some(decoded(user)?), some(decoded(password)?));
        let (user, password) = (user.or(query.user), password.or(query.password));
        Ok(Target { scheme, user, password, path, ..Target::plain(host, port) })
    }

    fn plain(host: String, port: u16) -> Target {
        Target {
            scheme: "tcp".to_owned(),
            user: None,
            password: None,
            host,
            port,
            name: None,
            path: "/".to_owned(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Uses TLS on the connections to this target, with these settings. Without settings, a target
    /// whose scheme means TLS trusts the public authorities. The certificate must have the name of
    /// the target's host.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use keepbeat::{Target, Tls};
    ///
    /// let own = Tls::new().ca_file("/etc/ssl/our-ca.pem")?;
    /// let target = Target::new("tls+redis://10.0.0.5")?.tls(own);
    /// assert!(target.is_tls());
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Target {
        self.tls = Some(Arc::new(tls));
        self
    }

    /// The settings that were given, if any.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_settings(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// Whether connections to this target use TLS: the scheme says so, or settings were given.
    pub fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        let given = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let given = false;
        given || self.scheme == "https" || self.scheme.starts_with("tls+")
    }

    /// Gives the target a name for events and logs. The default is the target as `Display` prints
    /// it.
    pub fn named(mut self, name: impl Into<String>) -> Target {
        self.name = Some(name.into());
        self
    }

    /// The name that was given, or the target as `Display` prints it.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.to_string())
    }

    /// The part before `://`; `tcp` if there was none.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The scheme of the protocol that is spoken, if the protocol has one: a target that a program
    /// made of an address has no scheme of its own.
    pub(crate) fn spoken(&self, scheme: Option<&str>) -> String {
        match (scheme, self.is_tls()) {
            (None, _) => self.scheme.clone(),
            (Some("http"), true) => "https".to_owned(),
            (Some(scheme), true) => format!("tls+{scheme}"),
            (Some(scheme), false) => scheme.to_owned(),
        }
    }

    /// `host:port`.
    pub(crate) fn place(&self) -> String {
        let host = &self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{host}:{}", self.port)
    }

    /// The host as other machines know it: without the zone of an address, which means something on
    /// this machine only, and without the final dot of a name, which is for the resolver.
    pub(crate) fn host_elsewhere(&self) -> &str {
        let host = self.host.split('%').next().unwrap_or_default();
        host.strip_suffix('.').filter(|host| !host.is_empty()).unwrap_or(host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path with its query, as it was typed; `/` if there was none. A query may hold secrets,
    /// so print the target instead.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of the `Host` header: it has a port only if the port is not the default of the
    /// scheme.
    pub(crate) fn host_header(&self) -> String {
        let host = self.host_elsewhere();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        if usual_port(&self.scheme) == Some(self.port) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The user, percent-decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, percent-decoded. Never print it.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

/// The scheme in small letters, with aliases replaced.
fn canonical(scheme: &str) -> String {
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "rediss" | "valkeys" | "tls+rediss" | "tls+valkey" => "tls+redis".to_owned(),
        "valkey" => "redis".to_owned(),
        _ => scheme,
    }
}

/// The login in the parameters of a Redis URL.
#[derive(Default)]
struct Query {
    user: Option<String>,
    password: Option<String>,
}

/// Reads what follows the port of a Redis URL: a database number and parameters. Only the login is
/// kept, because a PING is the same in every database.
fn database(path: &str) -> Result<Query, String> {
    let (number, parameters) = path.split_once('?').unwrap_or((path, ""));
    let number = number.strip_prefix('/').unwrap_or(number);
    let number = number.strip_suffix('/').unwrap_or(number);
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        let what = "only a database number may follow the port, as in `redis://host:6379/0`; in a \
                    password write `/` as %2F, `#` as %23";
        return Err(what.to_owned());
    }
    let mut query = Query::default();
    for parameter in parameters.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let decoded = || percent_decoded(value).and_then(some);
        match key {
            "user" | "username" => query.user = decoded(),
            "password" => query.password = decoded(),
            "ssl" | "tls" if value != "false" => {
                return Err(format!("`{key}` means TLS: write `rediss://`, and leave it out"));
            }
            _ => {}
        }
    }
    Ok(query)
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "redis" | "tls+redis" => Some(6379),
        _ => None,
    }
}

/// The path of a request.
fn whole_path(path: &str) -> Result<String, &'static str> {
    if path.contains('#') {
        return Err("a `#` and what follows it never reach a server: leave them out");
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("in the path, write white space and what is not plain ASCII as %XX");
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{slash}{path}"))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// An address in an error may be a password that was typed in the wrong place. So it is shown only
/// if it looks like an address, a host and a number. Text without a scheme has no credentials.
fn may_be_shown(address: &str, is_url: bool) -> bool {
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let lone = address.matches(':').count() <= 1 || address.starts_with('[');
    !is_url || (digits && lone && !address.starts_with(':'))
}

fn host_and_port(address: &str) -> Result<(String, Option<u16>), String> {
    if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a host has no white space".to_owned());
    }
    if !address.is_ascii() {
        return Err("a host has ASCII letters alone: write such a name as the name servers know \
                    it, `xn--...`"
            .to_owned());
    }
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("the `]` after the address is missing")?;
        (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("")))
    } else if address.matches(':').count() > 1 {
        return Err("an IPv6 address needs brackets: write `[ADDRESS]:port`".to_owned());
    } else {
        let (host, port) = address.split_once(':').unwrap_or((address, ""));
        (host, Some(port))
    };
    if host.is_empty() {
        return Err("the host is missing: write `host:port`".to_owned());
    }
    let host = zoned(host)?;
    match port {
        Some("") => Ok((host, None)),
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => Ok((host, Some(port))),
            _ => Err("what follows the `:` is no port: use 1 to 65535".to_owned()),
        },
        None => Err("only `:port` may follow the `]`".to_owned()),
    }
}

/// An address with its interface, behind `%25` as RFC 6874 writes it in URLs, or behind `%` as
/// other programs do. `%25` alone is the interface with the number 25.
fn zoned(host: &str) -> Result<String, String> {
    match host.split_once('%') {
        Some((_, "")) => Err("the interface behind the `%` is missing".to_owned()),
        Some((address, zone)) => {
            let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
            Ok(format!("{address}%{zone}"))
        }
        None => Ok(host.to_owned()),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.place())?;
        match self.path.split_once('?') {
            None if self.path == "/" => Ok(()),
            None => f.write_str(&self.path),
            Some((path, _)) => write!(f, "{path}?..."),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target, Error> {
        Target::new(text)
    }
}

impl TryFrom<&str> for Target {
    type Error = Error;

    fn try_from(text: &str) -> Result<Target, Error> {
        Target::new(text)
    }
}

impl TryFrom<String> for Target {
    type Error = Error;

    fn try_from(text: String) -> Result<Target, Error> {
        Target::new(&text)
    }
}

impl From<std::net::SocketAddr> for Target {
    fn from(address: std::net::SocketAddr) -> Target {
        let host = match address {
            std::net::SocketAddr::V6(v6) if v6.scope_id() > 0 => {
                format!("{}%{}", v6.ip(), v6.scope_id())
            }
            _ => address.ip().to_string(),
        };
        Target::plain(host, address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        for (text, shown) in [
            ("a.example:7000", "tcp://a.example:7000"),
            ("tcp://10.0.0.5:1/", "tcp://10.0.0.5:1"),
            ("[::1]:80", "tcp://[::1]:80"),
            ("line://[fe80::1%eth0]:80", "line://[fe80::1%eth0]:80"),
            ("redis://h", "redis://h:6379"),
            ("redis://u:p@h:1", "redis://h:1"),
            ("tls+redis://h", "tls+redis://h:6379"),
            ("http://h", "http://h:80"),
            ("https://[::1]/", "https://[::1]:443"),
            ("https://u:p@h:1/a/b@c?key=s3cret", "https://h:1/a/b@c?..."),
            ("http://h?x", "http://h:80/?..."),
            ("HTTP://h", "http://h:80"),
            ("TLS+Redis://h", "tls+redis://h:6379"),
            ("rediss://u:p@h", "tls+redis://h:6379"),
            ("valkey://h/1", "redis://h:6379"),
            ("redis://h/0", "redis://h:6379"),
            ("redis://h:6379/2?timeout=5s", "redis://h:6379"),
            ("redis://h?db=1", "redis://h:6379"),
            ("tls+redis://h/1", "tls+redis://h:6379"),
            ("https://u:p@[::1]:443/", "https://[::1]:443"),
            ("http://[fe80::1%25eth0]:80", "http://[fe80::1%eth0]:80"),
            ("[fe80::1%25]:80", "tcp://[fe80::1%25]:80"),
            ("[fe80::1%2512]:80", "tcp://[fe80::1%12]:80"),
            ("https://a.example./x", "https://a.example.:443/x"),
        ] {
            let target = Target::new(text).unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(format!("{target:?}"), format!("Target({shown})"));
        }
        let target = Target::new("redis://al%40ice:p%3A%2f@w@h:1").unwrap();
        assert_eq!((target.user(), target.password()), (Some("al@ice"), Some("p:/@w")));
        assert_eq!(target.host(), "h");
        let target = Target::new("redis://h/1?username=bob&password=p%40ss").unwrap();
        assert_eq!((target.user(), target.password()), (Some("bob"), Some("p@ss")));
        let target = Target::new("redis://:first@h?password=second").unwrap();
        assert_eq!((target.user(), target.password()), (None, Some("first")));
        let target = Target::new("http://u:p@h/a@b?c=/d@e").unwrap();
        assert_eq!((target.path(), target.host()), ("/a@b?c=/d@e", "h"));
        assert_eq!(Target::new("http://h?x").unwrap().path(), "/?x");
        assert_eq!(Target::new("tcp://h:1/").unwrap().path(), "/");
        let scoped: std::net::SocketAddr = "[fe80::1%3]:80".parse().unwrap();
        assert_eq!(Target::from(scoped).to_string(), "tcp://[fe80::1%3]:80");
    }

    #[test]
    fn the_host_header_has_a_port_that_is_not_the_usual_one() {
        for (text, header) in [
            ("http://h", "h"),
            ("http://h:80/x", "h"),
            ("https://h:80", "h:80"),
            ("http://[fe80::1%eth0]:8080", "[fe80::1]:8080"),
            ("http://a.example.", "a.example"),
            ("tcp://h:80", "h:80"),
        ] {
            assert_eq!(Target::new(text).unwrap().host_header(), header);
        }
    }

    #[test]
    fn tls_is_what_the_scheme_or_the_settings_say() {
        for (text, is) in [("https://h", true), ("tls+x://h:1", true), ("http://h", false)] {
            assert_eq!(Target::new(text).unwrap().is_tls(), is, "{text}");
        }
        #[cfg(feature = "tls")]
        {
            let plain = || Target::new("h:1").unwrap();
            let (given, insecure) = (plain().tls(Tls::new()), Tls::new());
            assert!(given.is_tls() && given == plain().tls(Tls::new()) && given != plain());
            assert_ne!(given, plain().tls(insecure.danger_accept_any_certificate()));
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_secrets_are_not() {
        for (text, words) in [
            ("", "host is missing"),
            (":80", "host is missing"),
            ("host", "port is missing"),
            ("host:", "port is missing"),
            ("host:0", "`tcp://host:0`: what follows the `:` is no port"),
            ("host:65536", "no port"),
            ("host:http", "`tcp://host:http`: what follows the `:` is no port"),
            ("ho\nst:80", "white space"),
            ("redis://bob:s3cret", "no port"),
            ("redis://:s3cret:6379", "brackets"),
            ("bob:s3cret://ret@h:1", "no scheme"),
            ("redis://:s3cret@h:1/0?x=a@evil", "nothing may follow"),
            ("::1:80", "brackets"),
            ("[::1:80", "`]`"),
            ("[::1]80", "may follow the `]`"),
            ("tcp://host:80/path", "nothing may follow"),
            ("t p://host:80", "no scheme"),
            ("redis://:p%zz@host:1", "two hex digits"),
            ("redis://u:s3cret@host:x", "no port"),
            ("http://h/a#b", "never reach a server"),
            ("http://h/a b", "write white space"),
            ("http://h/\u{e4}", "not plain ASCII"),
            ("http://bob:s3cret/x@h/", "no port"),
            ("tls+tcp://h", "port is missing"),
            ("tls+line://h:1/1", "nothing may follow"),
            ("redis://h/name", "only a database number may follow the port"),
            ("redis://:s3/cret@h:1/0", "`/` as %2F"),
            ("redis://h#1", "only a database number"),
            ("redis://h?ssl=true", "write `rediss://`"),
            ("[fe80::1%]:80", "interface behind the `%` is missing"),
            ("b\u{fc}cher.example:80", "`xn--...`"),
            ("redis:/:s3cret@h", "write `redis://host:port`"),
        ] {
            let error = Target::new(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("s3cret") && !error.contains("p%zz"), "{error}");
        }
    }
}
