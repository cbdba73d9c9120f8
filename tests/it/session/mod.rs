//! Sessions, against a scripted server on loopback.

mod alone;
mod basics;
mod bodies;
mod bounds;
mod faults;
mod replays;
mod server;
mod shutdown;
mod streams;
mod threads;
mod uploads;
