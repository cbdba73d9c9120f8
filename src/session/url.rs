//! URLs and header fields of requests: what can be sent, and how a URL is shown to people.

use std::fmt;

use ureq::http::{self, HeaderName, HeaderValue, Method, Uri};

use super::authority::Address;
use crate::error::Error;
use crate::login;

/// The request for people: no user, password or query, which may hold secrets.
pub(crate) fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let scheme = uri.scheme_str().unwrap_or("?");
    let place = match Address::read(authority) {
        Ok(address) => address.place,
        // A `/` in a password ends the authority in the middle of it.
        Err(_) if authority.contains('@') || uri.path().contains('@') => {
            return format!("{scheme}://...");
        }
        Err(_) => authority,
    };
    let query = if uri.query().is_some() { "?..." } else { "" };
    format!("{scheme}://{place}{}{query}", uri.path())
}

/// A request, to be named if something goes wrong.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, shown(&self.uri))
    }
}

/// What `Host` may say: host and port, or nothing (RFC 9112, section 3.2).
pub(super) fn check_host(host: &HeaderValue) -> Result<(), &'static str> {
    let host = host.to_str().map_err(|_| "a character that no host name has")?;
    match host.is_empty() {
        true => Ok(()),
        false if host.contains('@') => Err("user and password are no part of it"),
        false => Address::read(host).map(drop),
    }
}

/// Only what can be sent; user and password of the URL apart.
pub(super) fn checked(uri: Uri) -> Result<(Uri, Option<HeaderValue>), Error> {
    let wrong = |what: &str| Error::invalid(format!("`{}`: {what}", shown(&uri)));
    let https = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => {
            let text = "this is no URL of HTTP: write `http://host/path` or `https://host/path`";
            return Err(wrong(text));
        }
    };
    let address = Address::of(&uri).map_err(wrong)?;
    let login = address.login.map(|login| basic(login).map_err(wrong)).transpose()?;
    if address.is_bare(https) {
        return Ok((uri, None));
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(address.bare(https));
    let bare = Uri::from_parts(parts).map_err(|_| wrong("this is no URL of HTTP"))?;
    Ok((bare, login))
}

/// The header for a user and a password of a URL.
fn basic(login: &str) -> Result<HeaderValue, &'static str> {
    let (user, password) = login::of_url(login)?;
    let token = login::basic(&user, &password)?;
    let mut header =
        HeaderValue::from_str(&format!("Basic {token}")).expect("base64 is fit for a header");
    header.set_sensitive(true);
    Ok(header)
}

/// A header field, of what can be one.
pub(super) fn field<K, V>(name: K, value: V) -> Result<(HeaderName, HeaderValue), http::Error>
where
    HeaderName: TryFrom<K>,
    <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
    HeaderValue: TryFrom<V>,
    <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
{
    let name = HeaderName::try_from(name).map_err(Into::into)?;
    Ok((name, HeaderValue::try_from(value).map_err(Into::into)?))
}
