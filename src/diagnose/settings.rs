//! Diagnose: how far keepbeat may go to find out why a link failed.

/// How far keepbeat may go to find out why a link failed. A setting of the
/// [heartbeat](crate::Heartbeat::diagnose).
///
/// | | looks at | system calls a healthy beat |
/// |---|---|---|
/// | [`off`](Diagnose::off) | nothing: the causes are the certain words alone | none |
/// | [`kernel`](Diagnose::kernel), the default | what this machine's kernel knows of the connection, its own addresses and routes, and what became of the link's next connection | one |
/// | [`side_connections`](Diagnose::side_connections) | other connections to the same address, too | one |
///
/// Side connections are a privilege. A device that accepts a single client would lose its live
/// link, and foreign bytes are an unknown command to whoever reads them. So none is made until they
/// are allowed here; a protocol says what a fresh connection may carry
/// ([`Protocol::fresh`](crate::Protocol::fresh), [`Protocol::neutral`](crate::Protocol::neutral));
/// one is made at a time for each link, and all links share the
/// [budget](crate::Builder::side_connections) of their coordinator. They go to the link's own
/// address and no other, only while the link is silent, and never to a peer that has opened the
/// connection itself: nobody listens at its end.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use keepbeat::{Diagnose, Heartbeat};
///
/// let beat = Heartbeat::every(Duration::from_secs(30)).diagnose(Diagnose::side_connections());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnose {
    pub(crate) evidence: bool,
    pub(crate) side: bool,
    pub(crate) closed_port: bool,
}

impl Default for Diagnose {
    fn default() -> Diagnose {
        Diagnose::kernel()
    }
}

impl Diagnose {
    /// No evidence is taken, and nothing is diagnosed.
    pub fn off() -> Diagnose {
        Diagnose { evidence: false, side: false, closed_port: false }
    }

    /// What this machine knows, without a packet more than the heartbeat sends. The default.
    pub fn kernel() -> Diagnose {
        Diagnose { evidence: true, ..Diagnose::off() }
    }

    /// Other connections to the same address as well: whether it still accepts, whether it answers
    /// the same beat on a fresh connection, and where it does not, which bytes pass.
    pub fn side_connections() -> Diagnose {
        Diagnose { side: true, ..Diagnose::kernel() }
    }

    /// Where a fresh connection is not answered, also one to a port of the same host on which
    /// nobody is likely to listen: a refusal says that the host lives, and that only the port is
    /// dropped. Off until asked for, because to others it looks like a scan. Has no effect without
    /// side connections.
    pub fn closed_port(mut self) -> Diagnose {
        self.closed_port = true;
        self
    }
}
