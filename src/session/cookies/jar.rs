//! The jar decides: which cookies are kept, and which go along with a request (RFC 6265, sections
//! 5.3 and 5.4, with the stricter rules of 6265bis). Pure: time is an argument.

use std::net::IpAddr;
use std::time::SystemTime;

use super::parse::SetCookie;

/// Cookies of one domain, and of all: as many as browsers keep. The oldest give way.
const MOST_OF_ONE: usize = 180;
const MOST: usize = 3000;

/// Where a request goes, or an answer comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) https: bool,
    /// In lower case.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
}

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    expires: Option<SystemTime>,
    domain: String,
    /// For that host alone, and none below it.
    host_only: bool,
    path: String,
    secure: bool,
}

/// Cookies in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Jar {
    cookies: Vec<Cookie>,
}

impl Jar {
    /// Keeps a cookie, replaces one, or takes one back that has expired.
    ///
    /// # Errors
    ///
    /// Why this place may not set it.
    pub(super) fn keep(
        &mut self,
        place: Place,
        said: SetCookie,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        let (domain, host_only) = domain_of(place.host, said.domain.as_deref())?;
        if said.secure && !place.https {
            return Err("`Secure` over `http://`");
        }
        let path = said.path.unwrap_or_else(|| default_path(place.path).to_owned());
        let lower = said.name.to_ascii_lowercase();
        if lower.starts_with("__secure-") && !said.secure {
            return Err("a `__Secure-` name without `Secure`");
        }
        if lower.starts_with("__host-") && !(said.secure && host_only && path == "/") {
            return Err("a `__Host-` name of more than this host, or without `Secure`");
        }
        // What was set over TLS is not replaced from outside of it.
        let shadows = |other: &Cookie| {
            other.secure
                && other.name == said.name
                && (is_within(&other.domain, &domain) || is_within(&domain, &other.domain))
                && is_below(&path, &other.path)
        };
        if !place.https && self.cookies.iter().any(shadows) {
            return Err("a `Secure` cookie of this name is there");
        }
        let is_same = |other: &Cookie| {
            other.name == said.name && other.domain == domain && other.path == path
        };
        let cookie = Cookie {
            name: said.name.clone(),
            value: said.value,
            expires: said.expires,
            domain: domain.clone(),
            host_only,
            path: path.clone(),
            secure: said.secure,
        };
        match self.cookies.iter_mut().find(|other| is_same(other)) {
            Some(old) => *old = cookie,
            None => self.cookies.push(cookie),
        }
        self.cookies.retain(|cookie| cookie.is_alive(now));
        self.make_room();
        Ok(())
    }

    fn make_room(&mut self) {
        let Some(newest) = self.cookies.last().map(|cookie| cookie.domain.clone()) else { return };
        let of_newest = |cookie: &Cookie| cookie.domain == newest;
        if self.cookies.iter().filter(|cookie| of_newest(cookie)).count() > MOST_OF_ONE {
            if let Some(oldest) = self.cookies.iter().position(of_newest) {
                self.cookies.remove(oldest);
            }
        }
        if self.cookies.len() > MOST {
            self.cookies.remove(0);
        }
    }

    /// What follows `Cookie:` in a request to there; none if no cookie goes along.
    pub(super) fn header(&self, place: Place, now: SystemTime) -> Option<String> {
        let mut fitting: Vec<&Cookie> =
            self.cookies.iter().filter(|cookie| cookie.goes_to(place, now)).collect();
        // Longer paths first, then the older ones: the sort keeps the order of equals.
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> =
            fitting.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub(super) fn clear(&mut self) {
        self.cookies.clear();
    }

    pub(super) fn len(&self, now: SystemTime) -> usize {
        self.cookies.iter().filter(|cookie| cookie.is_alive(now)).count()
    }
}

impl Cookie {
    fn is_alive(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|at| at > now)
    }

    fn goes_to(&self, place: Place, now: SystemTime) -> bool {
        let host = match self.host_only {
            true => place.host == self.domain,
            false => is_within(place.host, &self.domain),
        };
        host && is_below(place.path, &self.path)
            && (place.https || !self.secure)
            && self.is_alive(now)
    }
}

/// The domain of a cookie, and whether it is that of its host alone.
fn domain_of(host: &str, said: Option<&str>) -> Result<(String, bool), &'static str> {
    let Some(domain) = said.filter(|domain| *domain != host) else {
        // What names itself may be a public suffix, or an address: nothing stands below those.
        let alone = said.is_none() || is_address(host) || is_public_suffix(host);
        return Ok((host.to_owned(), alone));
    };
    if is_public_suffix(domain) {
        return Err("a public suffix: under it are strangers");
    }
    match is_within(host, domain) {
        true => Ok((domain.to_owned(), false)),
        false => Err("the domain of another host"),
    }
}

/// Whether anybody may register a name below it (publicsuffix.org). What the list does not know is
/// one where it has no dot.
fn is_public_suffix(domain: &str) -> bool {
    psl::suffix(domain.as_bytes()).is_none_or(|suffix| suffix.as_bytes() == domain.as_bytes())
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Whether this host is the domain, or stands below it (RFC 6265, section 5.1.3).
fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|above| above.is_empty() || above.ends_with('.') && !is_address(host))
}

/// Whether this path is the other one, or stands below it (section 5.1.4).
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || above.ends_with('/') || rest.starts_with('/'))
}

/// The folder of a path.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(at) if at > 0 => &path[..at],
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    /// `scheme://host/path`.
    fn place(url: &str) -> Place<'_> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let at = rest.find('/').unwrap();
        Place { https: scheme == "https", host: &rest[..at], path: &rest[at..] }
    }

    impl Jar {
        fn take(&mut self, url: &str, said: &str) -> bool {
            let said = SetCookie::read(said, now()).unwrap();
            self.keep(place(url), said, now()).is_ok()
        }

        fn to(&self, url: &str) -> String {
            self.header(place(url), now()).unwrap_or_default()
        }
    }

    #[test]
    fn a_cookie_goes_back_to_its_host_and_below_its_domain() {
        let mut jar = Jar::default();
        assert!(jar.take("http://www.example.com/", "own=1"));
        assert!(jar.take("http://www.example.com/", "all=2; Domain=example.com"));
        assert_eq!(jar.to("http://www.example.com/"), "own=1; all=2");
        assert_eq!(jar.to("http://example.com/"), "all=2");
        assert_eq!(jar.to("http://a.b.example.com/"), "all=2");
        for stranger in ["http://notexample.com/", "http://example.com.evil/", "http://www/"] {
            assert_eq!(jar.to(stranger), "", "{stranger}");
        }
    }

    #[test]
    fn nobody_sets_a_cookie_for_strangers() {
        let mut jar = Jar::default();
        for (url, domain) in [
            ("http://a.example.com/", "com"),
            ("http://a.example.co.uk/", "co.uk"),
            ("http://a.github.io/", "github.io"),
            ("http://a.intern/", "intern"),
            ("http://example.com/", "other.com"),
            ("http://example.com/", "www.example.com"),
            ("http://notexample.com/", "example.com"),
            ("http://127.0.0.1/", "0.0.1"),
            ("http://127.0.0.1/", "1"),
        ] {
            assert!(!jar.take(url, &format!("a=b; Domain={domain}")), "{url} {domain}");
        }
        assert_eq!(jar.len(now()), 0);
        // A suffix may keep cookies for itself.
        for host in ["github.io", "localhost", "127.0.0.1", "::1"] {
            assert!(jar.take(&format!("http://{host}/"), &format!("a={host}; Domain={host}")));
            assert_eq!(jar.to(&format!("http://{host}/")), format!("a={host}"));
            assert_eq!(jar.to(&format!("http://x.{host}/")), "");
        }
    }

    #[test]
    fn paths_are_folders_and_the_longest_comes_first() {
        let mut jar = Jar::default();
        assert!(jar.take("http://h/a/b", "folder=1"));
        assert!(jar.take("http://h/", "root=2; path=/"));
        assert!(jar.take("http://h/", "deep=3; path=/a/b/"));
        assert_eq!(jar.to("http://h/a/b/c"), "deep=3; folder=1; root=2");
        assert_eq!(jar.to("http://h/a"), "folder=1; root=2");
        assert_eq!(jar.to("http://h/ab"), "root=2");
        assert_eq!(jar.to("http://h/a/b"), "folder=1; root=2");
    }

    #[test]
    fn what_is_secure_stays_under_tls() {
        let mut jar = Jar::default();
        assert!(!jar.take("http://h/", "a=1; Secure"));
        assert!(jar.take("https://h/", "a=2; Secure"));
        assert_eq!((jar.to("https://h/"), jar.to("http://h/")), ("a=2".into(), "".into()));
        assert!(!jar.take("http://h/", "a=3"), "it would hide the other one");
        assert!(!jar.take("http://h/x/", "a=3"));
        assert!(jar.take("https://h/", "a=4"));
        assert_eq!(jar.to("http://h/"), "a=4");
        for said in [
            "__Secure-a=1",
            "__secure-a=1",
            "__Host-a=1; Secure; Path=/; Domain=h.test",
            "__Host-a=1; Secure; Path=/x",
            "__Host-a=1; Path=/",
        ] {
            assert!(!jar.take("https://h.test/", said), "{said}");
        }
        assert!(jar.take("https://h.test/x", "__Host-a=1; Secure; Path=/"));
    }

    #[test]
    fn a_cookie_is_replaced_in_its_place_and_taken_back() {
        let mut jar = Jar::default();
        for said in ["a=1", "b=2", "a=3"] {
            assert!(jar.take("http://h/", said));
        }
        assert_eq!(jar.to("http://h/"), "a=3; b=2");
        assert!(jar.take("http://h/", "a=; Max-Age=0"));
        assert!(jar.take("http://h/", "c=4; Max-Age=60"));
        assert_eq!(jar.to("http://h/"), "b=2; c=4");
        let later = now() + Duration::from_secs(60);
        assert_eq!(jar.header(place("http://h/"), later).as_deref(), Some("b=2"));
        assert_eq!((jar.len(now()), jar.len(later)), (2, 1));
        jar.clear();
        assert_eq!(jar.to("http://h/"), "");
    }

    #[test]
    fn a_server_fills_no_memory() {
        let mut jar = Jar::default();
        for n in 0..MOST_OF_ONE + 20 {
            assert!(jar.take("http://a.example.com/", &format!("c{n}=x")));
        }
        assert_eq!(jar.len(now()), MOST_OF_ONE);
        assert!(!jar.to("http://a.example.com/").contains("c19="), "the oldest give way");
        for n in 0..MOST + 20 {
            assert!(jar.take(&format!("http://h{n}.example.com/"), "a=x"));
        }
        assert_eq!(jar.len(now()), MOST);
    }
}
