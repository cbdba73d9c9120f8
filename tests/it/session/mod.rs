//! Sessions, against a scripted server on loopback.

mod alone;
mod authorities;
mod basics;
mod bodies;
mod bounds;
mod canary;
mod faults;
mod learning;
mod memory;
mod names;
mod proxied;
mod relay;
mod replays;
mod secrets;
mod secure;
mod separation;
mod server;
mod shutdown;
mod stale;
mod streams;
mod threads;
mod times;
mod uploads;
mod warm;
