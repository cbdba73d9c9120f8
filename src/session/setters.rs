//! Setters of SessionBuilder: what requests have in common, and where connections start and end.

use std::net::IpAddr;
use std::path::PathBuf;

use ureq::http::{self, HeaderName, HeaderValue, Uri, header};

use super::SessionBuilder;
use super::url::{checked, field};

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

    /// The address that connections start from: the kernel's choice unless set. Of a name's
    /// addresses, only those of the same family are tried.
    pub fn local_address(mut self, address: IpAddr) -> SessionBuilder {
        self.source.address = Some(address);
        self
    }

    /// The interface that connections start from (`SO_BINDTODEVICE`): by the routes unless set.
    /// Linux only; before 5.7 it takes a privilege.
    pub fn interface(mut self, name: impl Into<String>) -> SessionBuilder {
        self.source.interface = Some(name.into());
        self
    }

    /// All connections go to this Unix socket, whatever host the URL names: that is what the server
    /// is told in `Host`. No name is looked up, and no proxy is asked.
    ///
    /// ```no_run
    /// let session = keepbeat::Session::builder().unix_socket("/run/docker.sock").build()?;
    /// let version = session.get("http://docker/version").send()?.text()?;
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> SessionBuilder {
        self.source.unix = Some(path.into());
        self
    }

    /// Keeps cookies in this store, and sends them along: none unless set. Those that a redirect
    /// sets go along to where it leads. A request with a `Cookie` header of its own sends that one
    /// alone.
    ///
    /// ```no_run
    /// use keepbeat::Session;
    /// use keepbeat::session::Cookies;
    ///
    /// let session = Session::builder().cookies(Cookies::new()).build()?;
    /// session.post("https://api.local/login").form([("user", "me")]).send()?;
    /// println!("{}", session.get("https://api.local/me").send()?.text()?);
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    #[cfg(feature = "cookies")]
    pub fn cookies(mut self, cookies: super::Cookies) -> SessionBuilder {
        self.cookies = Some(cookies);
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
