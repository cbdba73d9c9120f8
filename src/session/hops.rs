//! Runs a request: hop by hop, each hop once, and a second time if that is safe. Only this file
//! knows what has run, the deadline of the whole, and which headers and body go along.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use log::debug;
use ureq::http::{Request as HttpRequest, Uri, header};
use ureq::{AsSendBody, SendBody};

use super::authority::Address;
use super::body::Body;
use super::call::{self, Order, Outcome};
use super::cancel::Canceller;
use super::compose::{Framed, Request};
use super::conn::Conn;
use super::event::SessionEventKind;
use super::eviction::Eviction;
use super::failure;
use super::inbound::Head;
use super::limits::{LOOK, Limits};
use super::pool::places::{Key, Want};
use super::proxy::Route;
use super::redirect::{self, Next};
use super::replay::{self, Attempt};
use super::request::{Inner, Parts, RequestBuilder};
use super::response::{Exchange, Response};
use super::retry::{self, Came};
use super::url::{Asked, checked};
use super::warming;
use crate::error::{Error, Kind};

/// Behind a redirect of what may not run twice, only a connection that was just used is used again:
/// the first hop cannot be repeated.
const JUST_USED: Duration = Duration::from_millis(500);

/// A request without an answer: ureq's error, and what our transport noted.
pub(super) struct Failed {
    error: Option<ureq::Error>,
    outcome: Outcome,
}

impl Failed {
    /// The error for the user.
    pub(super) fn told(mut self, asked: &Asked) -> Error {
        failure::of(self.error, &mut self.outcome, asked)
    }
}

impl RequestBuilder {
    /// Sends the request and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// * [`is_invalid`](Error::is_invalid): it cannot be sent as it is.
    /// * [`is_connect`](Error::is_connect): no connection came to be.
    /// * [`is_limit`](Error::is_limit): all connections stayed in use, or this machine has no
    ///   descriptor left.
    /// * [`is_timeout`](Error::is_timeout): the time was up, or the server fell silent.
    /// * [`is_stale`](Error::is_stale): the server closed the kept connection in the same moment,
    ///   and the request may not be sent twice.
    /// * [`is_stopped`](Error::is_stopped): the agent was shut down.
    /// * [`is_cancelled`](Error::is_cancelled): its canceller ended it.
    /// * [`is_forked`](Error::is_forked): the session was made by the process that this one was
    ///   forked from.
    /// * Otherwise the server answered with no HTTP, or not at all; or the body could not be read,
    ///   or ended before its announced length.
    ///
    /// A status is no error; see [`Response::error_for_status`].
    pub fn send(self) -> Result<Response, Error> {
        let RequestBuilder { inner, parts, mut body } = self;
        if inner.core.is_forked() {
            return Err(Error::forked_session()); // its locks may be held for ever
        }
        let mut parts = parts?;
        parts.complete(&inner.settings.common, &mut body)?;
        inner.core.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(warmer) = &inner.warmer {
            warming::start(warmer, &inner);
        }
        inner.run(parts, body)
    }
}

/// An answer, and how it came.
pub(super) struct Arrived {
    pub(super) head: Head,
    pub(super) conn: Conn,
    replayed: bool,
    retries: u32,
}

impl Inner {
    /// Runs the request, behind all redirects.
    pub(super) fn run(&self, mut parts: Parts, mut body: Body) -> Result<Response, Error> {
        if self.core.is_forked() {
            return Err(Error::forked_session());
        }
        if !call::is_possible() {
            // This is the destructor of a thread-local. A new thread has thread-locals of its own.
            return thread::scope(|scope| {
                let run = || self.follow(&mut parts, &mut body);
                scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
        }
        self.follow(&mut parts, &mut body)
    }

    fn follow(&self, parts: &mut Parts, body: &mut Body) -> Result<Response, Error> {
        let limits = self.limits(parts);
        let (mut hops, mut replayed, mut retries) = (0, false, 0);
        loop {
            let ran = hops > 0;
            let arrived = self.try_hop(parts, body, limits, ran).map_err(|e| e.having_run(ran))?;
            replayed |= arrived.replayed;
            retries += arrived.retries;
            let Arrived { head, mut conn, .. } = arrived;
            let next = match self.settings.max_redirects {
                0 => Next::Stay,
                _ => self.next(&head, parts),
            };
            let wrong = |what: &str| {
                let text =
                    format!("{}: a redirect ({}): {what}", parts.asked, head.status.as_u16());
                Error::request(Kind::Http, text).having_run(true)
            };
            match next {
                Next::Stay => {
                    let idle = conn.used.idle;
                    let (age, facts) = (conn.used.born.elapsed(), conn.facts());
                    let exchange = Exchange { idle, age, replayed, retries, facts };
                    return Ok(Response::new(head, conn, parts.asked.clone(), exchange));
                }
                Next::Nowhere(what) => return Err(wrong(&what)),
                Next::Go { .. } if hops == self.settings.max_redirects => {
                    return Err(wrong(&format!("the last of {hops} that are followed")));
                }
                Next::Go { method, uri, with_body } => {
                    conn.drain();
                    drop(conn);
                    let (uri, login) = checked(uri)
                        .and_then(|to| self.settings.common.allows(&to.0).map(|()| to))
                        .map_err(|error| wrong(&error.to_string()))?;
                    if with_body && (!body.is_rewindable() || body.rewind().is_err()) {
                        return Err(wrong("its body was read, and cannot be sent again"));
                    }
                    if !with_body {
                        *body = Body::empty();
                        redirect::drop_body_headers(&mut parts.headers);
                    }
                    redirect::keep_for_origin(&mut parts.headers, &parts.asked.uri, &uri);
                    if let Some(login) = login {
                        parts.headers.insert(header::AUTHORIZATION, login);
                    }
                    debug!("{}: redirected ({})", parts.asked, head.status.as_u16());
                    (parts.asked.method, parts.asked.uri) = (method, uri);
                    hops += 1;
                }
            }
        }
    }

    fn next(&self, head: &Head, parts: &Parts) -> Next {
        if !head.status.is_redirection() {
            return Next::Stay;
        }
        redirect::next(head.status, &head.all("location"), &parts.asked.method, &parts.asked.uri)
    }

    fn limits(&self, parts: &Parts) -> Limits {
        let timeout = parts.timeout.or(self.settings.timeout);
        Limits {
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            connect: self.settings.connect_timeout,
            first_byte: self.settings.first_byte,
            silence: self.settings.silence_beside(timeout),
        }
    }

    /// Runs one hop, with all retries that the session allows.
    fn try_hop(
        &self,
        parts: &Parts,
        body: &mut Body,
        limits: Limits,
        behind: bool,
    ) -> Result<Arrived, Error> {
        let Some(retry) = &self.settings.retry else {
            return self.hop(parts, body, limits, behind);
        };
        self.budget.earn();
        let rule = (parts.replay, &parts.asked.method);
        let (mut retries, mut ran) = (0, false);
        loop {
            let result = self.hop(parts, body, limits, behind);
            let came = match &result {
                Ok(arrived) => Came::Answer(&arrived.head),
                Err(error) => Came::Error(error),
            };
            let wait = match body.is_rewindable() {
                true => retry::again(retry, &self.budget, retries, &came, rule),
                false => None,
            };
            let fits = |wait: &Duration| limits.deadline.is_none_or(|d| Instant::now() + *wait < d);
            let Some(wait) = wait.filter(fits).filter(|_| body.rewind().is_ok()) else {
                let given_up = |error: Error| error.having_run(ran);
                return result.map(|a| Arrived { retries, ..a }).map_err(given_up);
            };
            debug!("{} is tried again in {wait:?}", parts.asked);
            ran |= result.as_ref().map_or_else(Error::may_have_run, |_| true);
            if let Ok(Arrived { mut conn, .. }) = result {
                conn.drain();
            }
            self.pause(wait, parts.cancel.as_ref());
            retries += 1;
        }
    }

    /// Waits, and returns early when the request is cancelled or the session shut down; the next
    /// attempt then fails by itself.
    fn pause(&self, wait: Duration, cancel: Option<&Canceller>) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.core.is_closed() {
            let piece = until.saturating_duration_since(Instant::now()).min(LOOK);
            match cancel {
                None => thread::sleep(piece),
                Some(cancel) => {
                    let _ = cancel.bell().recv_timeout(piece);
                    if cancel.has_cancelled() {
                        return;
                    }
                }
            }
        }
    }

    /// Runs one hop, and runs it again on a fresh connection if that is safe.
    fn hop(
        &self,
        parts: &Parts,
        body: &mut Body,
        limits: Limits,
        behind: bool,
    ) -> Result<Arrived, Error> {
        let method = &parts.asked.method;
        let (mut replayed, mut begun) = (false, false);
        let nowhere = || Error::invalid(format!("{}: it has no host", parts.asked));
        let key = Key::of_checked(&parts.asked.uri).ok_or_else(nowhere)?;
        loop {
            let replayable = parts.replay.allows(method) && body.is_rewindable();
            let idle_at_most = if behind && !replayable { JUST_USED } else { Duration::MAX };
            let to_the_last =
                self.settings.use_to_the_last && replayable && replay::is_safe(method);
            let want = Want { fresh: replayed, to_the_last, idle_at_most };
            let order = self.order(key.clone(), parts, body, limits, want);
            let mut failed = match self.once(parts, body, order) {
                Ok((head, conn)) => {
                    #[cfg(feature = "cookies")]
                    self.take_cookies(&parts.asked, &head);
                    return Ok(Arrived { head, conn, replayed, retries: 0 });
                }
                Err(failed) => *failed,
            };
            let outcome = &failed.outcome;
            let ended = self.core.ended(parts.cancel.as_ref());
            let attempt = Attempt {
                reused: outcome.used.is_some_and(|used| used.idle.is_some()),
                ended: ended.is_none()
                    && outcome.trouble.as_ref().is_some_and(|trouble| trouble.is_end()),
                answered: outcome.story.answered,
                begun: outcome.story.begun,
                rewindable: body.is_rewindable(),
            };
            let again = !replayed && attempt.may_be_replayed(parts.replay, method);
            if !again || limits.is_over() || body.rewind().is_err() {
                let idle = outcome.used.and_then(|used| used.idle);
                if ended.is_some() {
                    failed.outcome.trouble = ended;
                }
                let error = failed.told(&parts.asked);
                debug!("{} failed, idle before: {idle:?}", parts.asked);
                let late = error.is_limit() && limits.is_over();
                // Whatever happened to the second attempt, the first one may have run.
                return Err(error.being_late(late).having_run(begun));
            }
            (replayed, begun) = (true, attempt.begun);
            self.tell_replay(&key, parts, outcome);
        }
    }

    /// Describes the connection that the request needs, and the head that it sends.
    pub(super) fn order(
        &self,
        key: Key,
        parts: &Parts,
        body: &Body,
        limits: Limits,
        want: Want,
    ) -> Order {
        let route = self.route(&key);
        #[cfg(feature = "cookies")]
        let cookie = self.cookie_for(parts);
        #[cfg(not(feature = "cookies"))]
        let cookie: Option<String> = None;
        let request = Request {
            method: &parts.asked.method,
            uri: &parts.asked.uri,
            headers: &parts.headers,
            body,
            cookie: cookie.as_deref(),
            defaults: &self.settings.defaults,
            route: &route,
        };
        let cancel = parts.cancel.clone();
        let outbound = request.outbound();
        Order { key, want, pinned: None, limits, cancel, outbound, route }
    }

    fn route(&self, key: &Key) -> Route {
        if self.core.proxies.are_none() {
            return Route::Direct;
        }
        match Address::read(key.authority.as_str()) {
            Ok(address) => {
                let port = address.port_for(key.https);
                self.core.proxies.route(key.https, address.host, port)
            }
            Err(_) => Route::Direct, // the connector refuses it
        }
    }

    /// One run of ureq.
    pub(super) fn once(
        &self,
        parts: &Parts,
        body: &mut Body,
        order: Order,
    ) -> Result<(Head, Conn), Box<Failed>> {
        let framed = Framed::of(&parts.asked.method, &parts.headers, body);
        let (result, mut outcome, order) =
            call::during(order, || self.run_ureq(parts, body, framed));
        if let Some(taken) = order.and_then(|order| order.pinned) {
            // ureq failed before it asked for a connection: free the pinned one.
            self.core.leave_unused(taken, Eviction::NotReusable);
        }
        match (result, outcome.arrived.take()) {
            (Ok(_), Some((head, conn))) => Ok((head, conn)),
            (result, arrived) => {
                if let Some((_, mut conn)) = arrived {
                    conn.spoil(); // how much of the request was sent is unknown
                }
                Err(Box::new(Failed { error: result.err(), outcome }))
            }
        }
    }

    /// ureq sees the method and the headers that frame the body. The real head replaces its own.
    fn run_ureq(&self, parts: &Parts, body: &mut Body, framed: Framed) -> Result<(), ureq::Error> {
        match framed {
            Framed::Nothing => self.run_with(parts, framed, ()),
            _ => match body.bytes() {
                Some(bytes) => self.run_with(parts, framed, bytes),
                None => self.run_with(parts, framed, SendBody::from_reader(body)),
            },
        }
    }

    fn run_with(
        &self,
        parts: &Parts,
        framed: Framed,
        body: impl AsSendBody,
    ) -> Result<(), ureq::Error> {
        let mut request = HttpRequest::new(body);
        *request.method_mut() = parts.asked.method.clone();
        // The real URL is in the order: ureq would write it into its log.
        *request.uri_mut() = Uri::from_static("http://session/");
        let headers = request.headers_mut();
        match framed {
            Framed::Nothing => {}
            Framed::Length(len) => drop(headers.insert(header::CONTENT_LENGTH, len.into())),
            Framed::Chunked => {
                let chunked = header::HeaderValue::from_static("chunked");
                headers.insert(header::TRANSFER_ENCODING, chunked);
            }
        }
        if let Some(expect) = parts.headers.get(header::EXPECT).filter(|_| has_body(framed)) {
            headers.insert(header::EXPECT, expect.clone());
        }
        self.agent.run(request).map(drop)
    }

    fn tell_replay(&self, key: &Key, parts: &Parts, outcome: &Outcome) {
        let idle = outcome.used.and_then(|used| used.idle).unwrap_or_default();
        debug!("{} is sent again", parts.asked);
        let kind = SessionEventKind::Replayed { method: parts.asked.method.clone(), idle };
        self.core.pool().replayed(key, kind);
    }
}

#[cfg(feature = "cookies")]
impl Inner {
    /// What goes along with a request that has no `Cookie` of its own.
    fn cookie_for(&self, parts: &Parts) -> Option<String> {
        let cookies = self.settings.cookies.as_ref()?;
        let own = parts.headers.contains_key(header::COOKIE);
        (!own).then(|| cookies.header_for(&parts.asked.uri)).flatten()
    }

    /// Keeps what an answer sets.
    fn take_cookies(&self, asked: &Asked, head: &Head) {
        if let Some(cookies) = &self.settings.cookies {
            cookies.take(&asked.uri, head);
        }
    }
}

fn has_body(framed: Framed) -> bool {
    !matches!(framed, Framed::Nothing | Framed::Length(0))
}
