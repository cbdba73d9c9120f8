//! Request: put together, sent, and sent again where that is safe.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::debug;
use ureq::http::{
    self, HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, Uri, header,
};
use ureq::{Agent, SendBody};

use super::authority::Address;
use super::body::Body;
use super::call::{self, Call};
use super::core::Core;
use super::event::SessionEventKind;
use super::failure::{self, Asked};
use super::places::Want;
use super::replay::{Attempt, Replay};
use super::response::{Exchange, Response};
use super::warm::Warmer;
use crate::error::Error;
use crate::login::{self, percent_decoded};

/// Behind a redirect of what may not run twice, only a connection that was just used is used again:
/// the first hop cannot be repeated.
const JUST_USED: Duration = Duration::from_millis(500);

/// What a time may be: sums of longer ones overflow.
pub(crate) const TIMES: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 60 * 60);

/// What the clones of a session share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) agent: Agent,
    pub(crate) core: Arc<Core>,
    pub(crate) replay: Replay,
    pub(crate) warmer: Option<Warmer>,
}

/// A request that is being put together. What is wrong with it is told by
/// [`send`](RequestBuilder::send).
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct RequestBuilder {
    inner: Arc<Inner>,
    parts: Result<Parts, Error>,
    body: Body,
}

struct Parts {
    asked: Asked,
    /// From the URL, unless there is such a header.
    login: Option<HeaderValue>,
    headers: HeaderMap,
    timeout: Option<Duration>,
    replay: Replay,
}

impl RequestBuilder {
    pub(crate) fn new(
        inner: &Arc<Inner>,
        method: Method,
        uri: Result<Uri, http::Error>,
    ) -> RequestBuilder {
        let replay = inner.replay;
        let parts = uri
            .map_err(|error| Error::invalid(format!("this is no URL: {error}")))
            .and_then(checked)
            .map(|(uri, login)| {
                let asked = Asked { method, uri };
                Parts { asked, login, headers: HeaderMap::new(), timeout: None, replay }
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
            let pair = HeaderName::try_from(name).map_err(Into::into).and_then(|name| {
                Ok((name, HeaderValue::try_from(value).map_err(Into::<http::Error>::into)?))
            });
            match pair {
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
                match &self.parts {
                    Ok(parts) if parts.headers.contains_key(header::CONTENT_TYPE) => self,
                    _ => self.header(header::CONTENT_TYPE, "application/json"),
                }
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

    /// Sends the request and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// * [`is_invalid`](Error::is_invalid): it cannot be sent as it is.
    /// * [`is_connect`](Error::is_connect): no connection came to be.
    /// * [`is_limit`](Error::is_limit): all connections stayed in use.
    /// * [`is_timeout`](Error::is_timeout): the time was up, or the server fell silent.
    /// * [`is_stale`](Error::is_stale): the server closed the kept connection in the same moment,
    ///   and the request may not be sent twice.
    /// * [`is_stopped`](Error::is_stopped): the agent was shut down.
    /// * Otherwise the server answered with no HTTP, or not at all; or the body could not be read,
    ///   or ended before its announced length.
    ///
    /// A status is no error; see [`Response::error_for_status`].
    pub fn send(self) -> Result<Response, Error> {
        let RequestBuilder { inner, parts, mut body } = self;
        let mut parts = parts?;
        parts.complete(&mut body)?;
        inner.core.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(warmer) = &inner.warmer {
            warmer.start(Arc::downgrade(&inner));
        }
        inner.exchange(&parts, &mut body)
    }
}

impl fmt::Debug for Parts {
    /// Never a header: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} headers", self.asked, self.headers.len())
    }
}

impl Parts {
    /// Adds the headers that follow from the rest, and refuses those that cannot be.
    fn complete(&mut self, body: &mut Body) -> Result<(), Error> {
        if self.headers.contains_key(header::PROXY_AUTHORIZATION) {
            return Err(Error::invalid(
                "`Proxy-Authorization` is for a proxy, and every server behind it would read it \
                 here: put user and password into the URL of the `proxy`",
            ));
        }
        if let Some(login) = self.login.take() {
            self.headers.entry(header::AUTHORIZATION).or_insert(login);
        }
        let chunked = self.headers.contains_key(header::TRANSFER_ENCODING);
        if chunked && self.headers.contains_key(header::CONTENT_LENGTH) {
            let text = format!("{}: `Content-Length` beside `Transfer-Encoding`", self.asked);
            return Err(Error::invalid(text));
        }
        // With a length that is too great, ureq would ask the body for the rest for ever.
        if let Some(said) = self.headers.get(header::CONTENT_LENGTH) {
            let said = said.to_str().ok().and_then(|said| said.parse().ok());
            if !said.is_some_and(|said| body.expect(said)) {
                let text = format!("{}: its `Content-Length` is not its body's", self.asked);
                return Err(Error::invalid(text));
            }
        }
        // ureq sends a length of its own only with bodies that are there as a whole.
        if body.bytes().is_none() && !chunked {
            if let Some(len) = body.len() {
                self.headers.insert(header::CONTENT_LENGTH, len.into());
            }
        }
        Ok(())
    }
}

/// Only what can be sent; user and password of the URL apart.
fn checked(uri: Uri) -> Result<(Uri, Option<HeaderValue>), Error> {
    let wrong = |what: &str| Error::invalid(format!("`{}`: {what}", failure::shown(&uri)));
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
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let pair = percent_decoded(user).zip(percent_decoded(password));
    let (user, password) = pair.ok_or("in user and password write `%` as `%25`")?;
    let token = login::basic(&user, &password)?;
    let mut header =
        HeaderValue::from_str(&format!("Basic {token}")).expect("base64 is fit for a header");
    header.set_sensitive(true);
    Ok(header)
}

impl Inner {
    /// Once, and once more if that is safe.
    fn exchange(&self, parts: &Parts, body: &mut Body) -> Result<Response, Error> {
        let (mut replayed, mut begun) = (false, false);
        loop {
            let replayable = parts.replay.allows(&parts.asked.method) && body.is_rewindable();
            let want = Want { fresh: replayed, replayable, idle_at_most: Duration::MAX };
            let behind = if replayable {
                want
            } else {
                Want { fresh: false, replayable, idle_at_most: JUST_USED }
            };
            let (result, call) = call::during(Call::new(want, behind), || self.run(parts, body));
            let error = match result {
                Ok(response) => return Ok(self.response(response, parts, &call, replayed)),
                Err(error) => error,
            };
            let attempt = Attempt {
                reused: call.idle().is_some(),
                ended: call.ended,
                answered: call.answered,
                begun: call.begun,
                hops: call.hops,
                rewindable: body.is_rewindable(),
            };
            let again = !replayed && attempt.may_be_replayed(parts.replay, &parts.asked.method);
            if !again || body.rewind().is_err() {
                let error = failure::of(error, &parts.asked, &call, &attempt);
                // Whatever became of the second, the first may have run.
                return Err(if begun { error.may_have_run_before() } else { error });
            }
            (replayed, begun) = (true, attempt.begun);
            self.tell_replay(parts, &call);
        }
    }

    fn run(&self, parts: &Parts, body: &mut Body) -> Result<HttpResponse, ureq::Error> {
        let bare = HttpRequest::builder().method(&parts.asked.method).uri(&parts.asked.uri);
        // Those that are made for a body say so even if it is empty.
        let expects_body = matches!(parts.asked.method, Method::POST | Method::PUT | Method::PATCH);
        if body.is_empty() && !expects_body {
            self.run_with(parts, bare.body(())?)
        } else if let Some(bytes) = body.bytes() {
            self.run_with(parts, bare.body(bytes)?)
        } else {
            self.run_with(parts, bare.body(SendBody::from_reader(body))?)
        }
    }

    fn run_with<B: ureq::AsSendBody>(
        &self,
        parts: &Parts,
        mut request: HttpRequest<B>,
    ) -> Result<HttpResponse, ureq::Error> {
        request.headers_mut().clone_from(&parts.headers);
        match parts.timeout {
            None => self.agent.run(request),
            Some(timeout) => self.agent.run(
                self.agent
                    .configure_request(request)
                    .timeout_global(Some(timeout))
                    .timeout_per_read(None)
                    .timeout_per_write(None)
                    .build(),
            ),
        }
    }

    fn response(
        &self,
        response: HttpResponse,
        parts: &Parts,
        call: &Call,
        replayed: bool,
    ) -> Response {
        let exchange = Exchange { idle: call.idle(), age: call.age(), replayed };
        Response::new(response, parts.asked.clone(), exchange)
    }

    fn tell_replay(&self, parts: &Parts, call: &Call) {
        let idle = call.idle().unwrap_or_default();
        debug!("{} is sent again", parts.asked);
        let kind = SessionEventKind::Replayed { method: parts.asked.method.clone(), idle };
        self.core.pool().replayed(&parts.asked.uri, kind);
    }
}

type HttpResponse = http::Response<ureq::Body>;
