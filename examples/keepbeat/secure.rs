//! TLS for targets: whom to trust, if TLS is built in.

use std::path::Path;
#[cfg(feature = "tls")]
use std::time::Duration;

use keepbeat::Target;

use crate::settings::Settings;
#[cfg(feature = "tls")]
use crate::shown;

#[cfg(feature = "tls")]
pub use keepbeat::Tls;

/// Without TLS there is nothing to set.
#[cfg(not(feature = "tls"))]
#[derive(Clone)]
pub enum Tls {}

#[cfg(not(feature = "tls"))]
pub const NOT_BUILT_IN: &str = "TLS is not built in: build it with `--features tls`";

/// Trust in the authorities of a file.
///
/// # Errors
///
/// Says what is wrong with the file.
#[cfg(feature = "tls")]
pub fn authorities(file: &Path) -> Result<Tls, String> {
    let at = |fault: String| format!("CA file {}: {fault}", shown::file(file));
    let pem = std::fs::read(file).map_err(|error| at(error.to_string()))?;
    Tls::new().ca_pem(&pem).map_err(|error| at(error.to_string()))
}

#[cfg(not(feature = "tls"))]
pub fn authorities(_file: &Path) -> Result<Tls, String> {
    Err(NOT_BUILT_IN.to_owned())
}

/// The target with its TLS settings.
#[cfg(feature = "tls")]
pub fn secured(target: Target, settings: &Settings) -> Target {
    if !target.is_tls() {
        return target;
    }
    let days = settings.certificate_days;
    if settings.insecure != Some(true) && settings.ca.is_none() && days.is_none() {
        return target;
    }
    let mut tls = settings.ca.clone().unwrap_or_default();
    if let Some(days) = days {
        tls = tls.expiry_warning(Duration::from_secs(u64::from(days) * 24 * 3600));
    }
    if settings.insecure == Some(true) {
        let danger = "whoever is on the path can read and change what is sent";
        log::warn!(target: "tls", "{target}: any certificate is accepted; {danger}");
        tls = tls.danger_accept_any_certificate();
    }
    target.tls(tls)
}

#[cfg(not(feature = "tls"))]
pub fn secured(target: Target, _settings: &Settings) -> Target {
    target // refused already
}
