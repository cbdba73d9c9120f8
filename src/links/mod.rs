//! Links, one folder for each kind: what the application holds of it, what its thread does, and its
//! settings.

pub(crate) mod connect;
pub(crate) mod dial;
pub(crate) mod driver;
pub(crate) mod follow;
pub(crate) mod handle;
pub(crate) mod in_band;
pub(crate) mod medium;
pub(crate) mod observe;
pub(crate) mod reporter;
pub(crate) mod respond;
pub(crate) mod watch;
