//! What needs a server, a tool or room on the machine: real Redis, HAProxy, nginx, strace,
//! thousands of threads.
//!
//! What is missing shows as ignored, with the reason; `KEEPBEAT_REQUIRE=1` turns that into a
//! failure. Those that measure run one at a time, behind the others.

mod child;
mod examinations;
mod firewall;
mod haproxy;
mod http_servers;
mod itself;
#[path = "../it/observe/lent.rs"]
mod lent;
mod limits;
mod names;
mod nginx;
mod observe;
mod real_http;
mod redis;
mod redis_in_band;
mod redis_link;
mod redis_refusals;
#[path = "../it/session/relay.rs"]
mod relay;
mod scale;
mod server;
mod session;
mod stall;
mod syscalls;

use libtest_mimic::{Arguments, Trial};

/// So many of those that wait run side by side.
const AT_ONCE: usize = 4;

/// Whether something is there; else why not, and how to get it.
type Need = Result<(), String>;

/// A test that needs something.
fn trial(name: &str, need: Need, test: fn()) -> Trial {
    let required = std::env::var("KEEPBEAT_REQUIRE").is_ok_and(|value| value == "1");
    match need {
        Ok(()) => Trial::test(name, move || {
            test();
            Ok(())
        }),
        Err(reason) if required => Trial::test(name, move || Err(reason.into())),
        Err(reason) => {
            eprintln!("SKIPPED {name}: {reason}");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

fn main() {
    if child::run() {
        return;
    }
    let mut arguments = Arguments::from_args();
    // They wait for servers most of the time, so several do so side by side.
    arguments.test_threads = Some(AT_ONCE);
    let waiting = [
        http_servers::trials(), // takes longest
        redis::trials(),
        redis_link::trials(),
        redis_refusals::trials(),
        firewall::trials(),
        redis_in_band::trials(),
        haproxy::trials(),
        nginx::trials(),
        real_http::trials(),
        stall::trials(),
        itself::trials(),
        names::trials(),
        observe::trials(),
    ];
    let first = libtest_mimic::run(&arguments, waiting.into_iter().flatten().collect());
    // They measure, or fill the machine: one at a time, and nothing beside them.
    arguments.test_threads = Some(1);
    let measuring = [
        limits::trials(),
        syscalls::trials(),
        examinations::trials(),
        session::trials(),
        scale::trials(),
    ];
    let second = libtest_mimic::run(&arguments, measuring.into_iter().flatten().collect());
    first.exit_if_failed();
    second.exit();
}
