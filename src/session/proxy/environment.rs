//! The environment's proxies, as curl reads them: each scheme has its own, small letters come
//! first, and what cannot be used is an error, never a direct connection that nobody wanted.

use std::ffi::OsString;
use std::sync::Arc;

use super::{Exceptions, Proxies, Proxy};
use crate::error::Error;

/// From `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`.
///
/// # Errors
///
/// Names the variable whose value is no proxy.
pub(crate) fn from_environment(value: impl Fn(&str) -> Option<OsString>) -> Result<Proxies, Error> {
    let value = |name: &'static str| -> Result<Option<(&'static str, String)>, Error> {
        let Some(text) = value(name) else { return Ok(None) };
        let text = text.into_string().map_err(|_| wrong(name, "it is no UTF-8"))?;
        // An empty one is none, as curl has it.
        let text = text.trim().to_owned();
        Ok((!text.is_empty()).then_some((name, text)))
    };
    let first = |names: &[&'static str]| -> Result<Option<(&'static str, String)>, Error> {
        for name in names {
            if let Some(found) = value(name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    };
    let proxy = |names: &[&'static str]| -> Result<Option<Arc<Proxy>>, Error> {
        let Some((name, text)) = first(names)? else { return Ok(None) };
        Proxy::read(&text).map(|proxy| Some(Arc::new(proxy))).map_err(|what| wrong(name, what))
    };
    // Under CGI it is the client's header `Proxy:`, and no setting (CVE-2016-5385).
    let cgi = value("REQUEST_METHOD")?.is_some();
    let http: &[_] = match cgi {
        true => &["http_proxy", "all_proxy", "ALL_PROXY"],
        false => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let except = first(&["no_proxy", "NO_PROXY"])?.map_or(String::new(), |(_, text)| text);
    Ok(Proxies {
        http: proxy(http)?,
        https: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
        except: Exceptions::read(&except),
    })
}

fn wrong(name: &str, what: &str) -> Error {
    Error::invalid(format!("the environment's `{name}` names no proxy: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<(Option<String>, Option<String>), String> {
        let get = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        let proxies = from_environment(get).map_err(|error| error.to_string())?;
        let host = |proxy: Option<Arc<Proxy>>| proxy.map(|proxy| proxy.host.clone());
        Ok((host(proxies.http), host(proxies.https)))
    }

    fn both(variables: &[(&str, &str)], http: &str, https: &str) {
        let some = |host: &str| (!host.is_empty()).then(|| host.to_owned());
        assert_eq!(read(variables), Ok((some(http), some(https))), "{variables:?}");
    }

    #[test]
    fn each_scheme_has_its_own_and_all_comes_last() {
        both(&[], "", "");
        both(&[("http_proxy", "http://a"), ("HTTPS_PROXY", "http://b")], "a", "b");
        both(&[("all_proxy", "c"), ("http_proxy", "a")], "a", "c");
        both(&[("ALL_PROXY", "c")], "c", "c");
        both(&[("HTTP_PROXY", "a")], "a", "");
        both(&[("http_proxy", "a"), ("HTTP_PROXY", "b")], "a", "");
        both(&[("http_proxy", " "), ("HTTP_PROXY", "b")], "b", "");
    }

    #[test]
    fn capitals_are_the_clients_words_under_cgi() {
        let cgi = ("REQUEST_METHOD", "GET");
        both(&[cgi, ("HTTP_PROXY", "a"), ("HTTPS_PROXY", "b")], "", "b");
        both(&[cgi, ("HTTP_PROXY", "a"), ("http_proxy", "c"), ("all_proxy", "d")], "c", "d");
    }

    #[test]
    fn what_is_no_proxy_is_an_error_that_names_the_variable_and_no_password() {
        for value in ["http://u:s3cret@h:99999", "ftp://h", "http://", "u:s3cret@v@h", "h/path"] {
            for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"] {
                let error = read(&[(name, value)]).unwrap_err();
                assert!(
                    error.contains(&format!("`{name}`")) && !error.contains("s3cret"),
                    "{error}"
                );
            }
        }
        // What nobody would take may be what it likes.
        both(&[("http_proxy", "a"), ("https_proxy", "b"), ("all_proxy", "ftp://x")], "a", "b");
    }
}
