//! ACTS. Links, one folder for each kind: what the application holds of it, what carries it, and
//! its settings. One thread for each link runs the one loop that there is, the [`driver`]'s; the
//! kinds differ in their [`medium`].

pub(crate) mod certificate;
mod common;
pub(crate) mod connect;
pub(crate) mod dial;
pub(crate) mod driver;
pub(crate) mod follow;
pub(crate) mod handle;
pub(crate) mod in_band;
pub(crate) mod inquiry;
pub(crate) mod medium;
pub(crate) mod observe;
pub(crate) mod out;
pub(crate) mod reporter;
pub(crate) mod resolve;
pub(crate) mod respond;
pub(crate) mod seat;
pub(crate) mod side;
pub(crate) mod socket_view;
pub(crate) mod watch;
pub(crate) mod zone;
