//! The run of a request: hop by hop, each sent once, and once more if that is safe. The one place
//! that knows what ran, until when all of it has to be over, and what goes along.

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
use super::failure::{self, Asked};
use super::inbound::Head;
use super::limits::{LOOK, Limits};
use super::places::Want;
use super::proxy::Route;
use super::redirect::{self, Next};
use super::replay::{self, Attempt};
use super::request::{Inner, Parts, checked};
use super::response::{Exchange, Response};
use super::retry::{self, Came};
use crate::error::{Error, Kind};

/// Behind a redirect of what may not run twice, only a connection that was just used is used again:
/// the first hop cannot be repeated.
const JUST_USED: Duration = Duration::from_millis(500);

/// No answer: what ureq said of it, and what we know.
pub(super) struct Failed {
    error: Option<ureq::Error>,
    outcome: Outcome,
}

impl Failed {
    /// What a person reads of it.
    pub(super) fn told(mut self, asked: &Asked) -> Error {
        failure::of(self.error, &mut self.outcome, asked)
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
            // In the destructor of a thread-local: it takes another thread, which has its own.
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

    /// One hop, as often as the session tries it.
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

    /// Waits, unless it is cancelled or shut down: what comes next finds that itself.
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

    /// One hop: once, and once more if that is safe.
    fn hop(
        &self,
        parts: &Parts,
        body: &mut Body,
        limits: Limits,
        behind: bool,
    ) -> Result<Arrived, Error> {
        let method = &parts.asked.method;
        let (mut replayed, mut begun) = (false, false);
        loop {
            let replayable = parts.replay.allows(method) && body.is_rewindable();
            let idle_at_most = if behind && !replayable { JUST_USED } else { Duration::MAX };
            let to_the_last =
                self.settings.use_to_the_last && replayable && replay::is_safe(method);
            let want = Want { fresh: replayed, to_the_last, idle_at_most };
            let order = self.order(parts, body, limits, want);
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
                // Whatever became of the second, the first may have run.
                return Err(error.being_late(late).having_run(begun));
            }
            (replayed, begun) = (true, attempt.begun);
            self.tell_replay(parts, outcome);
        }
    }

    /// What the connection is to be and to send.
    pub(super) fn order(&self, parts: &Parts, body: &Body, limits: Limits, want: Want) -> Order {
        let route = self.route(&parts.asked.uri);
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
        Order { want, pinned: None, limits, cancel, outbound, route: Some(route) }
    }

    fn route(&self, uri: &Uri) -> Route {
        if self.core.proxies.are_none() {
            return Route::Direct;
        }
        let https = uri.scheme_str() == Some("https");
        match Address::of(uri) {
            Ok(address) => {
                let port = address.port_for(https);
                self.core.proxies.route(https, address.host, port)
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
            // It failed before it asked for a connection: the place must not stay taken.
            self.core.leave_unused(taken, Eviction::NotReusable);
        }
        match (result, outcome.arrived.take()) {
            (Ok(_), Some((head, conn))) => Ok((head, conn)),
            (result, arrived) => {
                if let Some((_, mut conn)) = arrived {
                    conn.spoil(); // nobody knows how much of the request went out
                }
                Err(Box::new(Failed { error: result.err(), outcome }))
            }
        }
    }

    /// ureq sees where to, and what steers it; all else is in the head that goes out for its own.
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
        *request.uri_mut() = root_of(&parts.asked.uri)?;
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

    fn tell_replay(&self, parts: &Parts, outcome: &Outcome) {
        let idle = outcome.used.and_then(|used| used.idle).unwrap_or_default();
        debug!("{} is sent again", parts.asked);
        let kind = SessionEventKind::Replayed { method: parts.asked.method.clone(), idle };
        self.core.pool().replayed(&parts.asked.uri, kind);
    }
}

fn has_body(framed: Framed) -> bool {
    !matches!(framed, Framed::Nothing | Framed::Length(0))
}

/// The URL without its path: that may hold secrets, and ureq writes it into its log.
fn root_of(uri: &Uri) -> Result<Uri, ureq::Error> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(ureq::http::uri::PathAndQuery::from_static("/"));
    Ok(Uri::from_parts(parts).map_err(ureq::http::Error::from)?)
}
