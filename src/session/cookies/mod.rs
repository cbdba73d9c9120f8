//! Cookies: what servers set, sent back to them. A session has none unless it is given a store.

mod jar;
mod parse;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ureq::http::{StatusCode, Uri};

use super::authority::Address;
use super::inbound::Head;
use super::url;
use crate::error::Error;
use jar::{Jar, Place};
use parse::SetCookie;

/// A store of cookies, for [`SessionBuilder::cookies`]. Clones are the same store, and several
/// sessions may share one.
///
/// It follows RFC 6265, and its successor (6265bis) where that is stricter: a cookie for a public
/// suffix (`co.uk`, `github.io`; the list of publicsuffix.org, compiled in) is refused, `Secure` is
/// set and sent under TLS alone, a cookie lives for 400 days at most. Cookies without a name, or
/// with bytes that are no UTF-8, are not kept. `SameSite` and `HttpOnly` are for browsers. At most
/// 180 of one domain and 3000 in all are kept, in memory alone.
///
/// ```
/// use keepbeat::session::Cookies;
///
/// let cookies = Cookies::new();
/// cookies.set("https://api.example.com/", "session=s3cret; Secure; Domain=example.com")?;
/// assert_eq!(cookies.header("https://www.example.com/jobs").as_deref(), Some("session=s3cret"));
/// assert_eq!(cookies.header("http://www.example.com/jobs"), None);
/// assert!(cookies.set("https://example.co.uk/", "session=1; Domain=co.uk").is_err());
/// # Ok::<(), keepbeat::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Cookies(Arc<Mutex<Jar>>);

impl Cookies {
    /// An empty store.
    pub fn new() -> Cookies {
        Cookies::default()
    }

    /// Sets a cookie, as if an answer from this URL had this `Set-Cookie` header.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid): this is no URL of HTTP or no cookie, or a server there may
    /// not set it. The text says why, and repeats no value.
    pub fn set(&self, url: &str, cookie: &str) -> Result<(), Error> {
        let wrong = |what: &str| Error::invalid(format!("a cookie cannot be set: {what}"));
        let uri: Uri = url.parse().map_err(|_| wrong("its URL is none"))?;
        let (said, now) = (SetCookie::read(cookie, SystemTime::now()), SystemTime::now());
        let said = said.ok_or_else(|| wrong("write `name=value`"))?;
        self.at(&uri, |jar, place| jar.keep(place, said, now))
            .unwrap_or(Err("its URL is no URL of HTTP"))
            .map_err(wrong)
    }

    /// What a request to this URL would say in `Cookie`; none if no cookie goes along.
    pub fn header(&self, url: &str) -> Option<String> {
        self.header_for(&url.parse().ok()?)
    }

    /// Forgets all cookies.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many cookies there are that have not expired.
    pub fn len(&self) -> usize {
        self.lock().len(SystemTime::now())
    }

    /// Whether there is no cookie.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn header_for(&self, uri: &Uri) -> Option<String> {
        self.at(uri, |jar, place| jar.header(place, SystemTime::now())).flatten()
    }

    /// What an answer sets. A proxy that asks for its password speaks for no server.
    pub(super) fn take(&self, uri: &Uri, head: &Head) {
        if head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return;
        }
        let now = SystemTime::now();
        for value in head.all("set-cookie") {
            let text = std::str::from_utf8(&value).ok();
            let Some(said) = text.and_then(|text| SetCookie::read(text, now)) else { continue };
            // Its name and value may be secret.
            if let Some(Err(why)) = self.at(uri, |jar, place| jar.keep(place, said, now)) {
                log::debug!("{}: a cookie is not kept: {why}", url::shown(uri));
            }
        }
    }

    fn at<T>(&self, uri: &Uri, run: impl FnOnce(&mut Jar, Place) -> T) -> Option<T> {
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = Address::of(uri).ok()?.host.to_ascii_lowercase();
        Some(run(&mut self.lock(), Place { https, host: &host, path: uri.path() }))
    }

    /// Nothing that could panic runs under it.
    fn lock(&self) -> MutexGuard<'_, Jar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cookies {
    /// Never a cookie: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cookies", self.len())
    }
}
