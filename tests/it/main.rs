//! One integration binary: one file per subject, against a scripted peer on loopback.

mod allocations;
mod alone;
#[cfg(feature = "tls")]
mod certificates;
mod cli;
mod faults;
mod floors;
mod follow;
mod framing;
mod fuzzed;
mod http_link;
mod imports;
mod link;
mod manners;
mod noticing;
mod observe;
mod order;
mod peer;
mod protocols;
mod recordings;
mod responder;
mod session;
mod splits;
mod stopping;
mod subscribers;
mod tidy;
#[cfg(feature = "tls")]
mod tls_link;
mod tree;
mod tutorial;
mod watching;
mod why;
