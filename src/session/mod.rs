//! HTTP sessions: one kept connection serves many requests, and a request never pays for a stale
//! one. On [ureq](https://docs.rs/ureq), with blocking calls on the caller's thread.
//!
//! ```no_run
//! use keepbeat::Session;
//!
//! let session = Session::new()?;
//! let jobs = session.get("http://api.local/jobs").send()?.text()?;
//!
//! let mut response = session.post("http://api.local/jobs").body("name=nightly").send()?;
//! println!("{} on a connection {:?} old", response.status(), response.connection_age());
//! # Ok::<(), keepbeat::Error>(())
//! ```
//!
//! # A guide to keep-alive
//!
//! **Why keep a connection.** Opening one costs a round trip, under TLS two or three, and a name
//! lookup before; a request on a kept one costs the round trip of the request alone, and three
//! system calls.
//!
//! **What an idle limit is.** Nobody keeps an unused connection for ever. Servers close it after
//! their own limit (Node 5 s, Apache 5 s, nginx 75 s, many load balancers 60 s), firewalls forget
//! it without a word. Neither asks the client.
//!
//! **The stale race.** A request that goes out in the moment in which the server closes meets a
//! closed connection. The client sees an end, or a reset, and no answer; it cannot know whether the
//! server had read the request before. The last round trip before the limit belongs to this race.
//!
//! **What may be replayed.** A request that may run twice is simply sent again, once, on a fresh
//! connection: GET, HEAD, OPTIONS, TRACE, PUT and DELETE are made for that (RFC 9110, section
//! 9.2.2). A POST is not: an order placed twice is worse than an error. It is sent again only if no
//! byte of it had left, or if [`Replay::All`] says that the server recognises a repeated request.
//! Otherwise the error [`is_stale`](crate::Error::is_stale), and
//! [`may_have_run`](crate::Error::may_have_run) tells whether the server may have run it. Nothing
//! is replayed after a timeout, after a byte of a response, or from a reader that was read.
//!
//! **So stay out of the race.** A session knows how long a connection to each host may have been
//! idle, and gives a request an older one only if the request may be replayed:
//!
//! | bound | from | distance kept |
//! |---|---|---|
//! | yours | [`idle_timeout`](SessionBuilder::idle_timeout), 90 s | none |
//! | said | `Keep-Alive: timeout=5, max=100` in a response | a tenth, or two round trips |
//! | learnt | closes of idle connections that were seen | the same, for what may not be replayed |
//!
//! **How a limit is learnt.** One thread watches all idle connections. When the server closes one
//! in an orderly way, its idle age is the limit. Resets teach nothing, nor do closes in the middle
//! of an exchange, nor several connections of different ages that close together (a restart), nor a
//! server that cannot be reached right after. The limit is the host's alone; it *withholds*
//! connections and closes none, so that a wrong one costs a connect and no request: a connection
//! that lives on for twice the limit, or really ends later, corrects it, and after ten minutes it
//! is forgotten.
//!
//! **What is seen at once.** An end, a reset, or bytes that nobody asked for on an idle connection
//! evict it within a millisecond, with an [event](Session::events). A host that vanished without a
//! word is found by the kernel's probes within 14 s
//! ([`tcp_keepalive`](SessionBuilder::tcp_keepalive)). Every kept connection is looked at once more
//! before it is used. Each reason has its word: [`Eviction`].
//!
//! **Keep one warm.** [`Warm`] sends a small request on an idle connection before its limit, if you
//! ask for it.
//!
//! **What costs a connection.** A body that is dropped with more than 64 KiB left, or with less
//! that is not there within 50 ms; `Connection: close`; HTTP/1.0; settings of a single request that
//! its connection depends on.
//!
//! # Limits and waits
//!
//! At most [`max_per_host`](SessionBuilder::max_per_host) connections to a host and
//! [`max_total`](SessionBuilder::max_total) in all; who finds none free waits, the first come first
//! served, for the connect timeout at most. A response holds its connection until its body ends or
//! it is dropped: a thread that holds one and asks for another needs two.
//!
//! # Times, further attempts, an end by hand
//!
//! A [`timeout`](SessionBuilder::timeout) is for a whole request, with replay, redirects, further
//! attempts and the body. Each phase may have a shorter one:
//! [`resolve_timeout`](SessionBuilder::resolve_timeout),
//! [`connect_timeout`](SessionBuilder::connect_timeout),
//! [`first_byte_timeout`](SessionBuilder::first_byte_timeout),
//! [`silence_timeout`](SessionBuilder::silence_timeout). [`Retry`] tries again what failed and may
//! pass; a [`Canceller`] ends a request from another thread.
//!
//! # Proxies, TLS, gzip, JSON
//!
//! Proxies come from the environment or from [`proxy`](SessionBuilder::proxy). Features: `tls`
//! (https, on by default), `gzip` (on by default), `brotli`, `cookies`, `json`. The
//! [agent](Session::agent) is there for whatever else ureq can do.

mod authority;
mod body;
mod buffers;
mod builder;
mod call;
mod cancel;
mod charset;
mod compose;
mod conn;
#[cfg(feature = "cookies")]
mod cookies;
mod core;
mod date;
mod decode;
mod defaults;
mod dial;
mod event;
mod eviction;
mod exchange;
mod facts;
mod failure;
mod form;
mod hops;
mod idle_limit;
mod inbound;
mod limits;
mod location;
mod multipart;
mod names;
mod open;
mod pipe;
mod pool;
mod proxy;
mod redirect;
mod replay;
mod request;
mod response;
mod retry;
mod setters;
mod source;
#[cfg(feature = "tls")]
mod tls;
mod trouble;
mod unix;
mod url;
mod warm;
mod warming;
mod watcher;
mod wire;

use std::sync::Arc;

use crossbeam_channel::Receiver;
use ureq::http::{self, Method, Request as HttpRequest, Uri};

pub use body::Body;
pub use builder::SessionBuilder;
pub use cancel::Canceller;
#[cfg(feature = "cookies")]
pub use cookies::Cookies;
pub use event::{HostStats, SessionEvent, SessionEventKind, SessionStats};
pub use eviction::Eviction;
pub use multipart::Multipart;
pub use replay::Replay;
pub use request::RequestBuilder;
pub use response::{Reader, Response};
pub use retry::Retry;
pub use warm::Warm;

use crate::error::Error;
use request::Inner;

/// An HTTP client that keeps connections, and never hands out a stale one.
///
/// Cheap to clone: clones share connections, and threads may share one session. It has no thread of
/// its own until something idles, and then one. When the last clone is gone, and the last response,
/// idle connections are closed and that thread ends.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

impl Session {
    /// A session with the defaults.
    ///
    /// # Errors
    ///
    /// As [`SessionBuilder::build`].
    pub fn new() -> Result<Session, Error> {
        Session::builder().build()
    }

    /// Settings for a session.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    fn from_inner(inner: Inner) -> Session {
        Session { inner: Arc::new(inner) }
    }

    /// A request with this method.
    pub fn method<T>(&self, method: Method, url: T) -> RequestBuilder
    where
        Uri: TryFrom<T>,
        <Uri as TryFrom<T>>::Error: Into<http::Error>,
    {
        RequestBuilder::new(&self.inner, method, Uri::try_from(url).map_err(Into::into))
    }

    /// A request of the [`http`] crate. Its extensions are not looked at.
    ///
    /// ```no_run
    /// use keepbeat::{Session, http};
    ///
    /// let session = Session::new()?;
    /// let request = http::Request::put("http://api.local/jobs/7").body("name=nightly")?;
    /// session.request(request).send()?.error_for_status()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request<B: Into<Body>>(&self, request: HttpRequest<B>) -> RequestBuilder {
        RequestBuilder::from_http(&self.inner, request)
    }

    /// The counts up to now, and what is known of each host.
    pub fn stats(&self) -> SessionStats {
        self.inner.core.stats()
    }

    /// What happens to connections from now on. All receivers of a session read from one queue of
    /// 4096; what finds no room is counted in [`SessionStats::events_lost`].
    ///
    /// In a forked child nothing ever comes: what happens to connections happens in the parent.
    pub fn events(&self) -> Receiver<SessionEvent> {
        if self.inner.core.is_forked() {
            return crossbeam_channel::never(); // the lock may be held for ever
        }
        self.inner.core.events()
    }

    /// The agent, for whatever ureq can do. It uses the same connections; but what it sends is not
    /// replayed, and bodies that it leaves unread cost their connection. Requests with TLS, proxy
    /// or socket settings of their own get connections of their own, which are not kept. Base URL
    /// and default headers are added to its requests as well; retries, cookies and cancellers are
    /// the session's alone, because ureq follows redirects where no session sees it.
    pub fn agent(&self) -> &ureq::Agent {
        self.inner.outer_agent()
    }
}

macro_rules! methods {
    ($($name:ident, $method:ident;)*) => {
        impl Session {
            $(
                #[doc = concat!("A `", stringify!($method), "` request.")]
                pub fn $name<T>(&self, url: T) -> RequestBuilder
                where
                    Uri: TryFrom<T>,
                    <Uri as TryFrom<T>>::Error: Into<http::Error>,
                {
                    self.method(Method::$method, url)
                }
            )*
        }
    };
}

methods! {
    get, GET;
    head, HEAD;
    post, POST;
    put, PUT;
    patch, PATCH;
    delete, DELETE;
    options, OPTIONS;
}
