//! In place of `tls` where the feature is off: nothing here can exist, and a target that means TLS
//! is refused with the name of the feature.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use socket2::Socket;

use crate::cause::Loss;
use crate::error::Error;
use crate::net::inbox::Inbox;
use crate::target::Target;

#[derive(Clone)]
pub(crate) enum Secure {}

impl Secure {
    pub(crate) fn of(target: &Target) -> Result<Option<Secure>, Error> {
        if target.is_tls() {
            return Err(Error::invalid(format!(
                "target `{target}`: TLS is not built in; it needs the feature `tls`"
            )));
        }
        Ok(None)
    }

    pub(crate) fn warns_before(&self) -> Option<Duration> {
        match *self {}
    }

    pub(crate) fn shake_hands(
        &self,
        _socket: &Socket,
        _peer: SocketAddr,
        _deadline: Instant,
    ) -> Result<Layer, Loss> {
        match *self {}
    }
}

pub(crate) enum Layer {}

impl Layer {
    pub(crate) fn space(&mut self) -> &mut [u8] {
        match *self {}
    }

    pub(crate) fn filled(&mut self, _n: usize, _peer: SocketAddr) {
        match *self {}
    }

    pub(crate) fn open_into(&mut self, _inbox: &mut Inbox) -> Opened {
        match *self {}
    }

    pub(crate) fn seal(&mut self, _bytes: &[u8]) -> &[u8] {
        match *self {}
    }

    pub(crate) fn certificate_expires(&self) -> Option<SystemTime> {
        match *self {}
    }

    pub(crate) fn farewell(&mut self) -> &[u8] {
        match *self {}
    }
}

#[allow(dead_code)] // none is ever made
pub(crate) enum Opened {
    Bytes,
    Nothing,
    Closed,
    Lost(Loss),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coordinator, Heartbeat, Line};

    #[test]
    fn a_target_under_tls_is_refused_with_the_name_of_the_feature() {
        let coordinator = Coordinator::new().unwrap();
        for target in ["https://h", "tls+line://h:1"] {
            let error = coordinator.watch(target, Heartbeat::default(), Line).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains("feature `tls`"), "{error}");
        }
        assert!(matches!(Secure::of(&Target::new("http://h").unwrap()), Ok(None)));
    }
}
