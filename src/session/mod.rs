//! HTTP sessions: one kept connection serves many requests, and a request never pays for a stale
//! one.
//!
//! ```no_run
//! use keepbeat::Session;
//!
//! let session = Session::new()?;
//! let jobs = session.get("http://api.local/jobs").send()?.text()?;
//! println!("{jobs}");
//! # Ok::<(), keepbeat::Error>(())
//! ```

mod body;
mod buffers;
mod builder;
mod call;
mod core;
mod dial;
mod event;
mod eviction;
mod failure;
mod hint;
mod host;
mod idle_limit;
mod lease;
mod names;
mod pipe;
mod places;
mod pool;
mod replay;
mod request;
mod response;
#[cfg(feature = "tls")]
mod tls;
mod warm;
mod watcher;
mod wire;

use std::sync::Arc;

use crossbeam_channel::Receiver;
use ureq::http::{self, Method, Request as HttpRequest, Uri};

pub use body::Body;
pub use builder::SessionBuilder;
pub use event::{HostStats, SessionEvent, SessionEventKind, SessionStats};
pub use eviction::Eviction;
pub use replay::Replay;
pub use request::RequestBuilder;
pub use response::{Reader, Response};
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

    /// A request of the `http` crate. Its extensions are not looked at.
    pub fn request<B: Into<Body>>(&self, request: HttpRequest<B>) -> RequestBuilder {
        RequestBuilder::from_http(&self.inner, request)
    }

    /// The counts up to now, and what is known of each host.
    pub fn stats(&self) -> SessionStats {
        self.inner.core.stats()
    }

    /// What happens to connections from now on. All receivers of a session read from one queue of
    /// 4096; what finds no room is counted in [`SessionStats::events_lost`].
    pub fn events(&self) -> Receiver<SessionEvent> {
        self.inner.core.pool().teller.events()
    }

    /// The agent, for whatever ureq can do. It uses the same connections; but what it sends is not
    /// replayed, and bodies that it leaves unread cost their connection. Requests with TLS, proxy
    /// or socket settings of their own get connections of their own, which are not kept.
    pub fn agent(&self) -> &ureq::Agent {
        &self.inner.agent
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
