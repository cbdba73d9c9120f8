//! Fields of a request: in the query of its URL, or as the body of a form.

use std::fmt::Display;

use ureq::http::uri::PathAndQuery;
use ureq::http::{Uri, header};

use super::RequestBuilder;
use super::location::push_encoded;
use crate::error::Error;

impl RequestBuilder {
    /// Adds a field to the query of the URL: percent-encoded here, behind what stands there.
    pub fn query(mut self, name: impl AsRef<str>, value: impl Display) -> RequestBuilder {
        if let Ok(parts) = &mut self.parts {
            let target = parts.asked.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let mut text = target.to_owned();
            match target.contains('?') {
                false => text.push('?'),
                true if target.ends_with(['?', '&']) => {}
                true => text.push('&'),
            }
            push_field(&mut text, name.as_ref(), &value.to_string(), "%20");
            match with_target(&parts.asked.uri, text) {
                Some(uri) => parts.asked.uri = uri,
                None => self.parts = Err(Error::invalid("the query is too long for a URL")),
            }
        }
        self
    }

    /// Sends these fields as a form of the web with it (`application/x-www-form-urlencoded`).
    ///
    /// ```no_run
    /// let session = keepbeat::Session::new()?;
    /// let fields = [("name", "nightly"), ("when", "2 a.m.")];
    /// session.post("http://api.local/jobs").form(fields).send()?.error_for_status()?;
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    pub fn form<K, V>(mut self, fields: impl IntoIterator<Item = (K, V)>) -> RequestBuilder
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut text = String::new();
        for (name, value) in fields {
            if !text.is_empty() {
                text.push('&');
            }
            push_field(&mut text, name.as_ref(), value.as_ref(), "+");
        }
        self.body = text.into();
        self.of_type("application/x-www-form-urlencoded")
    }

    /// With this type of body, unless it has one.
    pub(super) fn of_type(self, kind: &str) -> RequestBuilder {
        match &self.parts {
            Ok(parts) if parts.headers.contains_key(header::CONTENT_TYPE) => self,
            _ => self.header(header::CONTENT_TYPE, kind),
        }
    }
}

fn with_target(uri: &Uri, target: String) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

fn push_field(text: &mut String, name: &str, value: &str, blank: &str) {
    push_word(text, name, blank);
    text.push('=');
    push_word(text, value, blank);
}

fn push_word(text: &mut String, word: &str, blank: &str) {
    for byte in word.bytes() {
        match byte {
            b' ' => text.push_str(blank),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte as char);
            }
            _ => push_encoded(text, byte),
        }
    }
}
