//! Request: put together, sent, and sent again where that is safe.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::{
    self, HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, Uri, header,
};

use super::body::Body;
use super::cancel::Canceller;
use super::compose::Defaults;
use super::core::Core;
use super::defaults::Common;
use super::limits::{SILENCE, TIMES};
use super::replay::Replay;
use super::retry::{Budget, Retry};
use super::url::{Asked, check_host, checked, field};
use super::warm::Warmer;
use super::wire;
use crate::error::Error;
use crate::protocol::line::number;

/// What the clones of a session share.
#[derive(Debug)]
pub(crate) struct Inner {
    /// For requests of the session.
    pub(crate) agent: Agent,
    /// For others, made when somebody asks for it; from these settings.
    outer: OnceLock<Agent>,
    outer_config: Config,
    pub(crate) core: Arc<Core>,
    pub(crate) settings: Settings,
    pub(crate) warmer: Option<Warmer>,
    pub(crate) budget: Budget,
}

/// How requests are sent.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) replay: Replay,
    pub(crate) use_to_the_last: bool,
    pub(crate) max_redirects: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) silence: Option<Duration>,
    pub(crate) defaults: Defaults,
    pub(crate) common: Arc<Common>,
    pub(crate) retry: Option<Retry>,
    #[cfg(feature = "cookies")]
    pub(crate) cookies: Option<super::Cookies>,
}

impl Settings {
    /// How long a server may be silent beside this time for the whole request.
    pub(crate) fn silence_beside(&self, timeout: Option<Duration>) -> Option<Duration> {
        self.silence.or(timeout.is_none().then_some(SILENCE))
    }
}

impl Inner {
    pub(crate) fn new(
        core: Arc<Core>,
        (inner, outer): (Config, Config),
        settings: Settings,
        warmer: Option<Warmer>,
    ) -> Inner {
        let agent = wire::agent(&core, inner);
        Inner {
            agent,
            outer: OnceLock::new(),
            outer_config: outer,
            core,
            settings,
            warmer,
            budget: Budget::default(),
        }
    }

    pub(crate) fn outer_agent(&self) -> &Agent {
        self.outer.get_or_init(|| wire::outer_agent(&self.core, self.outer_config.clone()))
    }
}

/// A request that is being put together. What is wrong with it is told by
/// [`send`](RequestBuilder::send).
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct RequestBuilder {
    pub(super) inner: Arc<Inner>,
    pub(super) parts: Result<Parts, Error>,
    pub(super) body: Body,
}

pub(super) struct Parts {
    pub(super) asked: Asked,
    /// From the URL, unless there is such a header.
    login: Option<HeaderValue>,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Option<Duration>,
    pub(super) replay: Replay,
    pub(super) cancel: Option<Canceller>,
}

impl RequestBuilder {
    pub(crate) fn new(
        inner: &Arc<Inner>,
        method: Method,
        uri: Result<Uri, http::Error>,
    ) -> RequestBuilder {
        let replay = inner.settings.replay;
        let parts = uri
            .map_err(|error| Error::invalid(format!("this is no URL: {error}")))
            .and_then(|uri| inner.settings.common.whole(uri))
            .and_then(checked)
            .and_then(|(uri, login)| inner.settings.common.allows(&uri).map(|()| (uri, login)))
            .map(|(uri, login)| {
                let asked = Asked { method, uri };
                Parts { login, ..Parts::new(asked, replay) }
            });
        RequestBuilder { inner: Arc::clone(inner), parts, body: Body::empty() }
    }

    pub(crate) fn from_http<B: Into<Body>>(
        inner: &Arc<Inner>,
        request: HttpRequest<B>,
    ) -> RequestBuilder {
        let (parts, body) = request.into_parts();
        let mut made = RequestBuilder::new(inner, parts.method, Ok(parts.uri)).body(body);
        if let Ok(made) = &mut made.parts {
            made.headers = parts.headers;
        }
        made
    }

    /// Adds a header. The same name again adds another one.
    pub fn header<K, V>(mut self, name: K, value: V) -> RequestBuilder
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        if let Ok(parts) = &mut self.parts {
            match field(name, value) {
                Ok((name, value)) => drop(parts.headers.append(name, value)),
                Err(error) => {
                    self.parts = Err(Error::invalid(format!("a header cannot be sent: {error}")));
                }
            }
        }
        self
    }

    /// Sends this with it. See [`Body`] for what can be a body.
    pub fn body(mut self, body: impl Into<Body>) -> RequestBuilder {
        self.body = body.into();
        self
    }

    /// Sends this value as JSON with it.
    #[cfg(feature = "json")]
    pub fn json(mut self, value: &impl serde::Serialize) -> RequestBuilder {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                self.body = bytes.into();
                self.of_type("application/json")
            }
            Err(error) => {
                self.parts = Err(Error::invalid(format!("this value is no JSON: {error}")));
                self
            }
        }
    }

    /// For the whole of this request, body included, in place of the session's
    /// [`timeout`](super::SessionBuilder::timeout).
    pub fn timeout(mut self, timeout: Duration) -> RequestBuilder {
        if !TIMES.contains(&timeout) {
            self.parts = Err(Error::invalid("`timeout` must be 1 ms to a year"));
        } else if let Ok(parts) = &mut self.parts {
            parts.timeout = Some(timeout);
        }
        self
    }

    /// Whether this request may be sent twice, in place of the session's own rule.
    pub fn replay(mut self, replay: Replay) -> RequestBuilder {
        if let Ok(parts) = &mut self.parts {
            parts.replay = replay;
        }
        self
    }

    /// Ends it when this canceller does, up to the last byte of the response.
    pub fn cancelled_by(mut self, canceller: &Canceller) -> RequestBuilder {
        if let Ok(parts) = &mut self.parts {
            parts.cancel = Some(canceller.clone());
        }
        self
    }
}

impl fmt::Debug for Parts {
    /// Never a header: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} headers", self.asked, self.headers.len())
    }
}

impl Parts {
    pub(super) fn new(asked: Asked, replay: Replay) -> Parts {
        Parts { asked, login: None, headers: HeaderMap::new(), timeout: None, replay, cancel: None }
    }

    /// Adds the headers that follow from the rest, and refuses those that cannot be. Nothing was
    /// sent yet: what is wrong is told before anything is.
    pub(super) fn complete(&mut self, common: &Common, body: &mut Body) -> Result<(), Error> {
        if let Some(login) = self.login.take() {
            self.headers.entry(header::AUTHORIZATION).or_insert(login);
        }
        common.complete(&mut self.headers);
        if self.headers.is_empty() && body.is_empty() && self.asked.method.is_safe() {
            return Ok(());
        }
        let asked = self.asked.clone();
        let wrong = move |what: &str| Err(Error::invalid(format!("{asked}: {what}")));
        if self.headers.contains_key(header::PROXY_AUTHORIZATION) {
            return wrong(
                "`Proxy-Authorization` is for a proxy, and every server behind it would read it \
                 here: put user and password into the URL of the `proxy`",
            );
        }
        let method = &self.asked.method;
        if *method == Method::CONNECT {
            return wrong("CONNECT asks a proxy for a tunnel: set the `proxy`");
        }
        if method.as_str().len() > 100 {
            return wrong("no method is that long");
        }
        let has_no_body = *method == Method::HEAD || *method == Method::TRACE;
        if has_no_body && body.len() != Some(0) {
            return wrong("this method has no body (RFC 9110, section 9.3)");
        }
        for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
            if self.headers.get_all(&name).iter().count() > 1 {
                return wrong(&format!("`{name}` more than once"));
            }
        }
        if let Some(host) = self.headers.get(header::HOST) {
            check_host(host).or_else(|what| wrong(&format!("its `Host`: {what}")))?;
        }
        self.check_framing(body).or_else(|what| wrong(&what))?;
        if body.len() == Some(0) {
            self.headers.remove(header::EXPECT); // there is nothing to continue with
        }
        Ok(())
    }

    fn check_framing(&self, body: &mut Body) -> Result<(), String> {
        let mut codings = self.headers.get_all(header::TRANSFER_ENCODING).iter();
        if let Some(coding) = codings.next() {
            if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
                return Err("no `Transfer-Encoding` but `chunked` can be sent".to_owned());
            }
            if self.headers.contains_key(header::CONTENT_LENGTH) {
                return Err("`Content-Length` beside `Transfer-Encoding`".to_owned());
            }
        }
        let Some(said) = self.headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
        if !number(said.as_bytes()).is_some_and(|said| body.expect(said)) {
            return Err("its `Content-Length` is not its body's".to_owned());
        }
        Ok(())
    }
}
