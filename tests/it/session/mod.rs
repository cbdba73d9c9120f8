//! Sessions, against a scripted server on loopback.

mod basics;
mod server;
