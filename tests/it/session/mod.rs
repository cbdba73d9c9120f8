//! Sessions, against a scripted server on loopback.

mod basics;
mod canary;
mod learning;
mod names;
mod relay;
mod separation;
mod server;
mod stale;
