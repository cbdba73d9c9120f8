//! What all requests of a session have in common: a base URL, headers of the user's, https alone.

use std::fmt;

use ureq::http::{self, HeaderMap, HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};

use super::SessionBuilder;
use super::failure;
use super::request::{checked, field};
use crate::error::Error;

/// What every request of a session has, unless it has its own.
#[derive(Clone, Default)]
pub(crate) struct Common {
    base: Option<Uri>,
    headers: HeaderMap,
    pub(super) https_only: bool,
    /// The first setting that cannot work.
    fault: Option<String>,
}

impl fmt::Debug for Common {
    /// Never a header or a login: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common")
            .field("base", &self.base.as_ref().map(failure::shown))
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
            let text = format!("{}: `https_only` allows no other scheme", failure::shown(uri));
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

    fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

impl SessionBuilder {
    /// Where requests go whose URL is a path: `session.get("/jobs")` is then a request for
    /// `http://api.local/v1/jobs`. The path is put behind that of the base, whatever it is; a whole
    /// URL goes where it says. None unless set. User and password may stand in it.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let base = format!("http://{}/v1", server.local_addr()?);
    /// # let answered = std::thread::spawn(move || -> std::io::Result<String> {
    /// #     let mut stream = server.accept()?.0;
    /// #     let mut bytes = [0; 1024];
    /// #     let n = stream.read(&mut bytes)?;
    /// #     stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    /// #     Ok(String::from_utf8_lossy(&bytes[..n]).into_owned())
    /// # });
    /// use keepbeat::Session;
    ///
    /// let session = Session::builder()
    ///     .base_url(base) // `http://api.local/v1`
    ///     .default_header("Authorization", "Bearer t0ken")
    ///     .build()?;
    /// let response = session.get("/jobs").query("state", "open jobs").send()?;
    /// assert_eq!(response.status(), 204);
    /// # let head = answered.join().unwrap()?;
    /// # assert!(head.starts_with("GET /v1/jobs?state=open%20jobs HTTP/1.1\r\n"), "{head}");
    /// # assert!(head.contains("authorization: Bearer t0ken\r\n"), "{head}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn base_url(mut self, url: impl AsRef<str>) -> SessionBuilder {
        let fault = |what: String| format!("the `base_url`: {what}");
        let uri = url.as_ref().parse::<Uri>().map_err(|error| fault(format!("no URL: {error}")));
        let base = uri.and_then(|uri| {
            checked(uri.clone()).map_err(|error| fault(error.to_string()))?;
            match uri.query() {
                Some(_) => Err(fault("it has a query: give it to each request".to_owned())),
                None => Ok(uri),
            }
        });
        match base {
            Ok(base) => self.common.base = Some(base),
            Err(error) => self.common.fail(error),
        }
        self
    }

    /// A header of every request that has none of the same name. The same name again adds another
    /// one. `Authorization` and `Cookie` follow a redirect to the same origin alone.
    pub fn default_header<K, V>(mut self, name: K, value: V) -> SessionBuilder
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        match field(name, value) {
            Ok((name, _)) if is_of_one_request(&name) => {
                let text = format!("`{name}` belongs to one request, and is no `default_header`");
                self.common.fail(text);
            }
            Ok((name, value)) => drop(self.common.headers.append(name, value)),
            Err(error) => {
                let text = format!("a `default_header` cannot be sent: {error}");
                self.common.fail(text);
            }
        }
        self
    }

    /// Whether `http://` is refused, also behind a redirect: off unless set.
    pub fn https_only(mut self, yes: bool) -> SessionBuilder {
        self.common.https_only = yes;
        self
    }
}

/// What says where a request goes, or where it ends.
fn is_of_one_request(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::EXPECT,
        header::PROXY_AUTHORIZATION,
    ]
    .contains(name)
}
