//! TLS for targets: whom to trust, as far as it is built in.

use std::path::Path;

use keepbeat::Target;

use crate::settings::Settings;

#[cfg(feature = "tls")]
pub use keepbeat::Tls;

/// Where TLS is not built in there is nothing to set.
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
    Tls::new().ca_file(file).map_err(|error| error.to_string())
}

#[cfg(not(feature = "tls"))]
pub fn authorities(_file: &Path) -> Result<Tls, String> {
    Err(NOT_BUILT_IN.to_owned())
}

/// The target with what was set for its TLS.
#[cfg(feature = "tls")]
pub fn secured(target: Target, settings: &Settings) -> Target {
    if !target.is_tls() {
        return target;
    }
    if settings.insecure == Some(true) {
        let danger = "whoever is on the path can read and change what is sent";
        log::warn!(target: "tls", "{target}: any certificate is accepted; {danger}");
        return target.tls(Tls::new().danger_accept_any_certificate());
    }
    match &settings.ca {
        Some(tls) => target.tls(tls.clone()),
        None => target,
    }
}

#[cfg(not(feature = "tls"))]
pub fn secured(target: Target, _settings: &Settings) -> Target {
    target // refused already
}
