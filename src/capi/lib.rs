//! The C library: `keepbeat.h` over the Rust crate. The header has the contract; here is how it is
//! kept.
//!
//! * [`call`] is the border: no panic crosses it, errno stays, no call is a cancellation point.
//! * [`handles`] turns the handles of C into things and back. A handle is a number, so one that was
//!   freed is found to be so.
//! * [`adopted`] knows which sockets were handed over.
//! * [`layout`] reads and fills structs of another version by their size.
//!
//! Every function takes what C gives: a pointer that is not NULL points to what the header says.

mod adopted;
mod call;
mod causes;
mod coordinator;
mod event;
mod follow;
mod frames;
mod framing;
mod handles;
mod layout;
mod link;
mod links;
mod logging;
#[cfg(not(feature = "session"))]
mod no_session;
#[cfg(feature = "session")]
mod session;
mod text;

/// As the header has it.
const VERSION: u32 = 0x000100;

/// The version of the library.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kb_version() -> u32 {
    VERSION
}
