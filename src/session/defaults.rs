//! What all requests of a session have in common: a base URL, headers of the user's, https alone.

use std::fmt;

use ureq::http::{self, HeaderMap, Uri, uri::PathAndQuery};

use super::url;
use crate::error::Error;

/// What every request of a session has, unless it has its own.
#[derive(Clone, Default)]
pub(crate) struct Common {
    pub(super) base: Option<Uri>,
    pub(super) headers: HeaderMap,
    pub(super) https_only: bool,
    /// The first setting that cannot work.
    fault: Option<String>,
}

impl fmt::Debug for Common {
    /// Never a header or a login: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common")
            .field("base", &self.base.as_ref().map(url::shown))
            .field("headers", &self.headers.len())
            .field("https_only", &self.https_only)
            .finish()
    }
}

impl Common {
    pub(super) fn settled(mut self) -> Result<Common, Error> {
        if let Some(fault) = self.fault.take() {
            return Err(Error::invalid(fault));
        }
        if let Some(base) = &self.base {
            self.allows(base)?;
        }
        Ok(self)
    }

    /// Whether a request may go there.
    pub(super) fn allows(&self, uri: &Uri) -> Result<(), Error> {
        if self.https_only && uri.scheme_str() != Some("https") {
            let text = format!("{}: `https_only` allows no other scheme", url::shown(uri));
            return Err(Error::invalid(text));
        }
        Ok(())
    }

    /// The whole URL of a request, where it was given as a path.
    pub(super) fn whole(&self, uri: Uri) -> Result<Uri, Error> {
        let Some(base) = &self.base else { return Ok(uri) };
        if uri.scheme().is_some() || uri.authority().is_some() {
            return Ok(uri);
        }
        let own = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let folder = base.path().trim_end_matches('/');
        let mut parts = base.clone().into_parts();
        let joined = PathAndQuery::try_from(format!("{folder}{own}"));
        parts.path_and_query = joined.ok();
        Uri::from_parts(parts).map_err(|error| Error::invalid(format!("this is no URL: {error}")))
    }

    /// Adds the headers that a request has not.
    pub(super) fn complete(&self, headers: &mut HeaderMap) {
        if self.headers.is_empty() {
            return;
        }
        for name in self.headers.keys() {
            if headers.contains_key(name) {
                continue;
            }
            for value in self.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
    }

    /// A request of the agent's, completed in the same way.
    pub(super) fn added_to<B>(&self, mut request: http::Request<B>) -> http::Request<B> {
        self.complete(request.headers_mut());
        // What is no whole URL even then, ureq refuses itself.
        if let Ok(whole) = self.whole(request.uri().clone()) {
            *request.uri_mut() = whole;
        }
        request
    }

    pub(super) fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}
