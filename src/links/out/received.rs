//! What comes out of a link: frames, the ends of its connections, at last the connection itself.

use std::net::TcpStream;
use std::ops::Range;

use crate::cause::Loss;

/// What comes out of [`Link::frames`](crate::Link::frames), in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A frame of the peer: its data, without prefix or line end.
    Frame(Vec<u8>),
    /// A new connection stands and is logged in; frames from here on come from it. Only on links
    /// that reconnect.
    Connected {
        /// Its number on this link, from 1.
        connection: u64,
    },
    /// The connection has ended: all that came on it came before this. On a link that does not
    /// reconnect, and on any that was closed, it is the last.
    ///
    /// Frames are numbered as [`Link::send`](crate::Link::send) returned. Those that are in neither range have been
    /// read by the peer: an ack of a beat after them came, and TCP keeps order.
    Lost {
        /// Why.
        loss: Loss,
        /// Frames that were written and not known to have been read: delivered or not.
        in_doubt: Range<u64>,
        /// Frames that were taken and never written. They wait for the next connection; where the
        /// link is over, nobody gets them.
        unsent: Range<u64>,
    },
}

impl Received {
    /// The data, if it is a frame.
    pub fn into_frame(self) -> Option<Vec<u8>> {
        match self {
            Received::Frame(data) => Some(data),
            _ => None,
        }
    }
}

/// A connection that was handed back by [`Link::into_stream`](crate::Link::into_stream).
#[derive(Debug)]
#[non_exhaustive]
pub struct Returned {
    /// The socket, connected as it is, with the options that it had.
    pub stream: TcpStream,
    /// Frames that had come and were not taken: their data.
    pub frames: Vec<Vec<u8>>,
    /// Bytes that came after those frames and are not yet a whole one. Read on behind them.
    pub unread: Vec<u8>,
    /// So many acks of beats may still come: whoever reads on has to pass over them.
    pub acks_due: usize,
}
