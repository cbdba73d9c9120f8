//! A socket of the application: never held, known again by its cookie.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::cause::{Cause, Loss};
use crate::sys::Foreign;
use crate::tcp_info::{ROOM, TcpInfo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObservedFd {
    descriptor: Foreign,
    cookie: u64,
}

/// What has become of a descriptor that does not stand for the socket any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Closed,
    /// Its number is that of another file by now.
    Reused,
}

impl ObservedFd {
    pub(crate) fn new(socket: &impl AsFd) -> io::Result<ObservedFd> {
        let descriptor = Foreign::new(socket);
        Ok(ObservedFd { descriptor, cookie: descriptor.cookie()? })
    }

    /// The descriptor, for a call to be made at once.
    pub(crate) fn check(&self) -> Result<Foreign, Gone> {
        match self.descriptor.cookie() {
            Ok(cookie) if cookie == self.cookie => Ok(self.descriptor),
            Ok(_) => Err(Gone::Reused),
            // ENOTSOCK: a file, a pipe.
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => Err(Gone::Reused),
            Err(_) => Err(Gone::Closed),
        }
    }

    /// What the kernel knows of the connection now.
    pub(crate) fn look(&self) -> Result<TcpInfo, Gone> {
        let mut room = [0; ROOM];
        let told = self.descriptor.tcp_info(&mut room);
        // Afterwards: if it is the right socket now, then it was at the time of the look.
        self.check()?;
        told.ok().and_then(TcpInfo::parse).ok_or(Gone::Closed)
    }

    pub(crate) fn number(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

impl Gone {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Gone::Closed => "the application closed its descriptor",
            Gone::Reused => {
                "the application closed its descriptor, whose number is another file's by now"
            }
        }
    }
}

impl From<Gone> for Loss {
    fn from(gone: Gone) -> Loss {
        Loss::new(Cause::ClosedByApplication, gone.words())
    }
}
