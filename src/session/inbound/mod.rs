//! The doorkeeper: what comes from a server is read here, once, before anybody else sees it. Heads
//! are taken whole, interim ones apart; where a body ends and whether another answer may follow on
//! the connection is known here alone. Pure: bytes are arguments.
//!
//! Tolerant where curl is tolerant: folded lines, blanks before a colon, lines that are none, bare
//! LF in heads. Strict where two readers of the same bytes could disagree about the end of a body
//! (RFC 9112, section 11.2): lengths, chunks, codings. What was tolerated costs the connection.

mod framing;
mod head;

pub(crate) use framing::Framing;
pub(crate) use head::{Coding, Door, Head, Look};
