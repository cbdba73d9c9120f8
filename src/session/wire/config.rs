//! What ureq is told of a session's settings.

use std::sync::Arc;

use ureq::SendBody;
use ureq::config::Config;
use ureq::http::Request;
use ureq::middleware::MiddlewareNext;

use super::super::proxy::Proxies;
use super::super::request::Settings;

/// ureq's half of a request of the session: nothing but to run it.
pub(crate) fn inner() -> Config {
    Config::builder()
        .http_status_as_error(false)
        .max_idle_connections(0)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .user_agent("")
        .accept("")
        .accept_encoding("")
        .proxy(None)
        .build()
}

/// For requests through the agent itself: as ureq has it, with this session's settings.
pub(crate) fn outer(settings: &Settings, user_agent: &str, proxies: &Proxies) -> Config {
    let silence = settings.silence_beside(settings.timeout);
    // Whatever it is, it stands for the session's own choice: a request that names another one, or
    // none, can be told apart.
    let any = proxies.http.as_ref().or(proxies.https.as_ref());
    let stands_for_ours = any.and_then(|_| ureq::Proxy::new("http://proxy.invalid").ok());
    let common = Arc::clone(&settings.common);
    Config::builder()
        .middleware(move |request: Request<SendBody>, next: MiddlewareNext| {
            next.handle(common.added_to(request))
        })
        .http_status_as_error(false)
        .max_idle_connections(0)
        .max_redirects(settings.max_redirects)
        .user_agent(user_agent)
        .timeout_connect(Some(settings.connect_timeout))
        .timeout_global(settings.timeout)
        .timeout_recv_response(settings.first_byte)
        .timeout_per_read(silence)
        .timeout_per_write(silence)
        .proxy(stands_for_ours)
        .build()
}
