//! Redirects: whether an answer leads on, and what goes along (RFC 9110, section 15.4, and what
//! browsers do, the Fetch standard). Pure.

use ureq::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};

use super::authority::Address;
use super::location::{self, Nowhere};

/// What follows an answer.
#[derive(Debug)]
pub(crate) enum Next {
    /// The answer is the response.
    Stay,
    /// A request to this URL, with the body again or without one.
    Go { method: Method, uri: Uri, with_body: bool },
    /// It was to lead on, and cannot.
    Nowhere(String),
}

/// What follows an answer with this status to a request with this method to this URL.
pub(crate) fn next(status: StatusCode, locations: &[Vec<u8>], method: &Method, uri: &Uri) -> Next {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Next::Stay;
    }
    let mut locations = locations.iter().map(|location| location.trim_ascii());
    let Some(location) = locations.next().filter(|location| !location.is_empty()) else {
        return Next::Stay;
    };
    if locations.any(|other| other != location) {
        // Chrome refuses it as well: a proxy on the way may have added one.
        return Next::Nowhere("it names two targets".to_owned());
    }
    let uri = match location::resolve(uri, location) {
        Ok(uri) => uri,
        Err(Nowhere::Scheme(scheme)) => {
            return Next::Nowhere(format!("it leads away from HTTP, to `{scheme}:`"));
        }
        Err(Nowhere::Wrong(what)) => return Next::Nowhere(what.to_owned()),
    };
    // Only a POST becomes a GET by 301 and 302, for historical reasons; by 303 everything does that
    // is not one already.
    let becomes_get = match status.as_u16() {
        301 | 302 => *method == Method::POST,
        303 => *method != Method::GET && *method != Method::HEAD,
        _ => false,
    };
    let method = if becomes_get { Method::GET } else { method.clone() };
    Next::Go { method, uri, with_body: !becomes_get }
}

/// Takes away what is meant for this origin alone, if the other URL is not of the same.
pub(crate) fn keep_for_origin(headers: &mut HeaderMap, from: &Uri, to: &Uri) {
    if !is_same_origin(from, to) {
        let kept_here = [
            header::AUTHORIZATION,
            header::COOKIE,
            header::HOST,
            header::PROXY_AUTHORIZATION,
            header::WWW_AUTHENTICATE,
            header::ORIGIN,
            HeaderName::from_static("cookie2"),
        ];
        kept_here.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// Takes away what described a body that is not sent again.
pub(crate) fn drop_body_headers(headers: &mut HeaderMap) {
    let of_body = [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_LOCATION,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::EXPECT,
    ];
    of_body.iter().for_each(|name| drop(headers.remove(name)));
}

/// Scheme, host and port (RFC 6454).
pub(crate) fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let https = uri.scheme_str() == Some("https");
        let address = Address::of(uri).ok()?;
        Some((https, address.host.to_ascii_lowercase(), address.port_for(https)))
    };
    let a = origin(a);
    a.is_some() && a == origin(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(status: u16, method: Method) -> Option<(Method, bool)> {
        let status = StatusCode::from_u16(status).unwrap();
        match next(status, &[b"/x".to_vec()], &method, &"http://h/".parse().unwrap()) {
            Next::Go { method, with_body, .. } => Some((method, with_body)),
            Next::Stay => None,
            Next::Nowhere(what) => panic!("{what}"),
        }
    }

    #[test]
    fn methods_change_as_browsers_change_them() {
        for status in [301, 302] {
            assert_eq!(go(status, Method::POST), Some((Method::GET, false)));
            for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH] {
                assert_eq!(go(status, method.clone()), Some((method, true)));
            }
        }
        assert_eq!(go(303, Method::HEAD), Some((Method::HEAD, true)));
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            assert_eq!(go(303, method), Some((Method::GET, false)));
        }
        for status in [307, 308] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                assert_eq!(go(status, method.clone()), Some((method, true)));
            }
        }
        for status in [200, 300, 304, 305, 306, 399, 404] {
            assert_eq!(go(status, Method::GET), None);
        }
    }

    #[test]
    fn a_redirect_names_one_target() {
        let next = |locations: &[&str]| {
            let locations: Vec<_> = locations.iter().map(|l| l.as_bytes().to_vec()).collect();
            next(StatusCode::FOUND, &locations, &Method::GET, &"http://h/".parse().unwrap())
        };
        assert!(matches!(next(&[]), Next::Stay) && matches!(next(&[" "]), Next::Stay));
        assert!(matches!(next(&["/x", " /x "]), Next::Go { .. }));
        assert!(matches!(next(&["/x", "/y"]), Next::Nowhere(_)));
        assert!(matches!(next(&["ftp://h/"]), Next::Nowhere(what) if what.contains("`ftp:`")));
    }

    #[test]
    fn an_origin_is_scheme_and_host_and_port() {
        let same = |a: &str, b: &str| is_same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("http://h/a", "http://H:80/b") && same("https://h", "https://u:p@h:443"));
        assert!(!same("http://h", "https://h") && !same("http://h", "http://h:81"));
        assert!(!same("http://h", "http://h.evil") && !same("http://h", "http://sub.h"));
        assert!(!same("http://h:99999", "http://h:99999"), "what is none is not the same either");
    }
}
