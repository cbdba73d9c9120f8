//! The head of a request as it goes over the wire, which ureq never sees.

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::body::Body;
use super::exchange::Outbound;
use super::location::push_encoded;
use super::proxy::Route;
use crate::protocol::http::fields;

/// Fields that every request has, unless it has others of the same name.
#[derive(Debug)]
pub(crate) struct Defaults {
    /// All of them, ready to be sent.
    block: Vec<u8>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Defaults {
    pub(crate) fn new(fields: Vec<(HeaderName, HeaderValue)>) -> Defaults {
        let mut block = Vec::new();
        fields
            .iter()
            .for_each(|(name, value)| push_field(&mut block, name.as_str(), value.as_bytes()));
        Defaults { block, fields }
    }

    fn push_to(&self, head: &mut Vec<u8>, own: &HeaderMap) {
        let kept_out = |name: &HeaderName| {
            own.contains_key(name)
                // Of a part of something that is packed, nobody can unpack anything.
                || *name == header::ACCEPT_ENCODING && own.contains_key(header::RANGE)
        };
        if own.is_empty() {
            head.extend_from_slice(&self.block);
            return;
        }
        for (name, value) in self.fields.iter().filter(|(name, _)| !kept_out(name)) {
            push_field(head, name.as_str(), value.as_bytes());
        }
    }
}

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// No body, and no header about one.
    Nothing,
    Length(u64),
    Chunked,
}

impl Framed {
    /// Chooses one framing, never both (RFC 9112, section 6.2).
    pub(crate) fn of(method: &Method, headers: &HeaderMap, body: &Body) -> Framed {
        // Methods that usually have a body announce its length even if it is empty.
        let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        if headers.contains_key(header::TRANSFER_ENCODING) {
            return Framed::Chunked;
        }
        match body.len() {
            None => Framed::Chunked,
            Some(0) if body.is_empty() && !expects_body => Framed::Nothing,
            Some(len) => Framed::Length(len),
        }
    }
}

/// What is to be sent.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Body,
    /// What the store of cookies sends along.
    pub(crate) cookie: Option<&'a str>,
    pub(crate) defaults: &'a Defaults,
    pub(crate) route: &'a Route,
}

impl Request<'_> {
    pub(crate) fn framed(&self) -> Framed {
        Framed::of(self.method, self.headers, self.body)
    }

    pub(crate) fn outbound(&self) -> Outbound {
        let framed = self.framed();
        let expects = self.headers.contains_key(header::EXPECT);
        let there = self.body.bytes().is_some_and(|bytes| !bytes.is_empty());
        let says_close = |value: &HeaderValue| {
            fields::values(value.as_bytes()).any(|word| word.eq_ignore_ascii_case(b"close"))
        };
        Outbound {
            head: self.head(framed),
            body_follows: there && !expects && matches!(framed, Framed::Length(_)),
            is_head: *self.method == Method::HEAD,
            closes: self.headers.get_all(header::CONNECTION).iter().any(says_close),
        }
    }

    fn head(&self, framed: Framed) -> Vec<u8> {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(self.method.as_str().as_bytes());
        head.push(b' ');
        if let Route::Forward(_) = self.route {
            head.extend_from_slice(b"http://");
            head.extend_from_slice(authority.as_bytes());
        }
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        if !target.starts_with('/') {
            head.push(b'/');
        }
        push_target(&mut head, target);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        match self.headers.get(header::HOST) {
            Some(host) => push_field(&mut head, "host", host.as_bytes()),
            None => push_field(&mut head, "host", authority.as_bytes()),
        }
        for (name, value) in self.headers {
            // The body has one framing, whatever was said of it.
            let framing = *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING;
            if !framing && *name != header::HOST {
                push_field(&mut head, name.as_str(), value.as_bytes());
            }
        }
        if let Some(cookie) = self.cookie {
            push_field(&mut head, "cookie", cookie.as_bytes());
        }
        self.defaults.push_to(&mut head, self.headers);
        match framed {
            Framed::Nothing => {}
            Framed::Length(len) => {
                push_field(&mut head, "content-length", len.to_string().as_bytes());
            }
            Framed::Chunked => push_field(&mut head, "transfer-encoding", b"chunked"),
        }
        if let Route::Forward(proxy) = self.route {
            if let Some(authorization) = proxy.authorization() {
                push_field(&mut head, "proxy-authorization", authorization.as_bytes());
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

fn push_field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Path and query; `http` lets UTF-8 pass, and no server has to.
fn push_target(head: &mut Vec<u8>, target: &str) {
    if target.is_ascii() {
        return head.extend_from_slice(target.as_bytes());
    }
    let mut text = String::new();
    for byte in target.bytes() {
        if byte.is_ascii() { text.push(byte as char) } else { push_encoded(&mut text, byte) }
    }
    head.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::proxy::Proxy;
    use std::sync::Arc;

    fn head(url: &str, headers: &[(&str, &str)], body: Body, route: &Route) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        let defaults = Defaults::new(vec![
            (header::USER_AGENT, HeaderValue::from_static("us")),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        let (method, uri) = (Method::GET, url.parse().unwrap());
        let request = Request {
            method: &method,
            uri: &uri,
            headers: &map,
            body: &body,
            cookie: None,
            defaults: &defaults,
            route,
        };
        String::from_utf8(request.outbound().head).unwrap()
    }

    #[test]
    fn a_head_says_each_thing_once() {
        let direct = |url, headers: &[_], body| head(url, headers, body, &Route::Direct);
        assert_eq!(
            direct("http://h:81/a?b", &[], Body::empty()),
            "GET /a?b HTTP/1.1\r\nhost: h:81\r\nuser-agent: us\r\naccept-encoding: gzip\r\n\r\n"
        );
        assert_eq!(
            direct(
                "http://h",
                &[("host", "x"), ("user-agent", "y"), ("range", "bytes=0-1")],
                Body::empty()
            ),
            "GET / HTTP/1.1\r\nhost: x\r\nuser-agent: y\r\nrange: bytes=0-1\r\n\r\n"
        );
        assert!(direct("http://h?x=1", &[], Body::empty()).starts_with("GET /?x=1 HTTP/1.1\r\n"));
        assert!(direct("http://h/ä", &[], Body::empty()).starts_with("GET /%C3%A4 HTTP/1.1\r\n"));
        let sized = direct("http://h/", &[("content-length", "4")], "body".into());
        assert!(
            sized.contains("\r\ncontent-length: 4\r\n") && sized.matches("length").count() == 1
        );
        let chunked = direct("http://h/", &[("transfer-encoding", "Chunked")], "body".into());
        assert!(chunked.contains("\r\ntransfer-encoding: chunked\r\n"), "{chunked}");
        assert!(!chunked.contains("length"), "{chunked}");
    }

    #[test]
    fn a_proxy_is_sent_the_whole_url_and_its_password() {
        let proxy = Arc::new(Proxy::read("http://user:pass@proxy").unwrap());
        let head = head("http://h:81/a", &[], Body::empty(), &Route::Forward(proxy));
        assert!(head.starts_with("GET http://h:81/a HTTP/1.1\r\nhost: h:81\r\n"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
    }
}
