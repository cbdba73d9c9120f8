//! The machine's limits, asked before a thread is started: so a link is refused with numbers and a
//! remedy, and something is left to the rest of the process.

use std::fs;

use crate::error::Error;
use crate::sys;

/// Left to the rest of the process.
const SPARE_FILES: u64 = 16;
const SPARE_THREADS: u64 = 64;
const SPARE_MAPPINGS: u64 = 512;

/// A stack and its guard page.
const MAPPINGS_A_THREAD: u64 = 2;

/// The most of anything that is given out on one look at the limits. A look reads files in /proc,
/// some of them long: with 10,000 links it takes 20 ms.
const MOST_ON_ONE_LOOK: u64 = 4096;

/// What one link, or one client of a responder, takes in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) files: u64,
    pub(crate) threads: u64,
}

impl Needs {
    /// A socket.
    pub(crate) const WATCH: Needs = Needs { files: 1, threads: 1 };
    /// A socket and a bell.
    pub(crate) const CONNECT: Needs = Needs { files: 2, threads: 1 };
    /// A bell: the socket is there already.
    pub(crate) const ADOPT: Needs = Needs { files: 1, threads: 1 };
    /// An epoll and its bell.
    pub(crate) const OBSERVE: Needs = Needs { files: 2, threads: 1 };
    /// No descriptor, and a second thread for `send`.
    pub(crate) const FOLLOW: Needs = Needs { files: 0, threads: 2 };
    /// Its socket has been accepted already.
    pub(crate) const CLIENT: Needs = Needs { files: 0, threads: 1 };
}

/// How much room there is. Looks again before it believes that there is none, and from time to
/// time, because the rest of the process uses the same room.
#[derive(Debug, Default)]
pub(crate) struct Room {
    left: Option<Needs>,
}

impl Room {
    /// Room for one more. `promised` sockets are not open at this moment, and links that run will
    /// want them.
    pub(crate) fn take(&mut self, needs: Needs, promised: u64) -> Result<(), Error> {
        let left = match self.left.and_then(|left| left.less(needs)) {
            Some(left) => left,
            None => {
                let left = look(needs, promised)?;
                left.less(needs).expect("a look finds no less than what is needed")
            }
        };
        self.left = Some(left);
        Ok(())
    }
}

impl Needs {
    fn less(self, needs: Needs) -> Option<Needs> {
        let files = self.files.checked_sub(needs.files)?;
        Some(Needs { files, threads: self.threads.checked_sub(needs.threads)? })
    }
}

/// What there is of a resource for links.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Files,
    Threads,
    Mappings,
}

/// A resource: how much there is, how much is used, and what to do about it.
struct Resource {
    of: Of,
    name: &'static str,
    most: u64,
    used: u64,
    spare: u64,
    remedy: &'static str,
}

/// How much may be taken before the next look: a quarter of the room, at least what is needed now.
fn look(needs: Needs, promised: u64) -> Result<Needs, Error> {
    let mut room = Needs { files: u64::MAX, threads: u64::MAX };
    for resource in resources(promised) {
        let Resource { of, name, most, used, spare, remedy } = resource;
        // A small limit is not spent on reserves.
        let spare = spare.min(most / 8);
        let left = most.saturating_sub(used).saturating_sub(spare);
        let (left, wanted, room) = match of {
            Of::Files => (left, needs.files, &mut room.files),
            Of::Threads => (left, needs.threads, &mut room.threads),
            Of::Mappings => (left / MAPPINGS_A_THREAD, needs.threads, &mut room.threads),
        };
        if left < wanted {
            return Err(Error::limit(format!(
                "no room for another link: {used} of {most} {name} are in use or promised to \
                 links, and {spare} are left to the rest of the process; {remedy}"
            )));
        }
        *room = (*room).min((left / 4).clamp(wanted, MOST_ON_ONE_LOOK));
    }
    Ok(room)
}

/// Those that can be found out on this machine.
fn resources(promised: u64) -> Vec<Resource> {
    let mut found = Vec::new();
    if let (Some(most), Some(open)) = (sys::soft_limit(sys::Limit::Files), open_files()) {
        found.push(Resource {
            of: Of::Files,
            name: "file descriptors",
            most,
            used: open + promised,
            spare: SPARE_FILES,
            remedy: "raise the limit with `ulimit -n`, or LimitNOFILE= of the service",
        });
    }
    let threads = |name, most: Option<u64>, used: Option<u64>, remedy| {
        let (most, used, spare) = (most?, used?, SPARE_THREADS);
        Some(Resource { of: Of::Threads, name, most, used, spare, remedy })
    };
    let machine = number("/proc/sys/kernel/threads-max").min(number("/proc/sys/kernel/pid_max"));
    found.extend(threads(
        "threads of this machine",
        machine,
        threads_of_machine(),
        "raise the sysctls `kernel.pid_max` and `kernel.threads-max`",
    ));
    if !sys::is_root() {
        found.extend(threads(
            "threads of this user (counting this process only)",
            sys::soft_limit(sys::Limit::Threads),
            own_threads(),
            "raise the limit with `ulimit -u`, or LimitNPROC= of the service",
        ));
    }
    let group = cgroup();
    found.extend(threads(
        "threads of this control group",
        group.as_deref().and_then(|dir| number(&format!("{dir}/pids.max"))),
        group.as_deref().and_then(|dir| number(&format!("{dir}/pids.current"))),
        "raise `pids.max`, or TasksMax= of the service",
    ));
    if let (Some(most), Some(used)) = (number("/proc/sys/vm/max_map_count"), mappings()) {
        found.push(Resource {
            of: Of::Mappings,
            name: "memory mappings",
            most,
            used,
            spare: SPARE_MAPPINGS,
            remedy: "raise the sysctl `vm.max_map_count`, or spread the links over processes",
        });
    }
    found
}

/// A file that holds one number; none if it says `max`, or is not there.
fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn open_files() -> Option<u64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

fn mappings() -> Option<u64> {
    let maps = fs::read("/proc/self/maps").ok()?;
    Some(memchr::memchr_iter(b'\n', &maps).count() as u64)
}

/// The second half of the fourth word: `0.00 0.01 0.05 1/523 9876`.
fn threads_of_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

fn own_threads() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// The directory of this process's control group (version 2).
fn cgroup() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(format!("/sys/fs/cgroup{}", path.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_tells_its_limits() {
        let names: Vec<_> = resources(0).iter().map(|resource| resource.name).collect();
        assert!(names.contains(&"threads of this machine"), "{names:?}");
        assert!(names.contains(&"memory mappings"), "{names:?}");
        assert!(open_files().unwrap() >= 3 && own_threads().unwrap() >= 1);
    }

    #[test]
    fn each_kind_takes_its_own_share() {
        let mut room = Room { left: Some(Needs { files: 4, threads: 4 }) };
        let left = |room: &Room| room.left.map(|left| (left.files, left.threads));
        room.take(Needs::OBSERVE, 0).unwrap();
        assert_eq!(left(&room), Some((2, 3)));
        room.take(Needs::FOLLOW, 0).unwrap();
        assert_eq!(left(&room), Some((2, 1)));
        room.take(Needs::FOLLOW, 0).unwrap();
        assert!(left(&room).is_some_and(|(_, threads)| threads > 1), "it has looked again");
    }

    #[test]
    fn promised_links_count_and_the_refusal_has_numbers_and_a_remedy() {
        assert!(Room::default().take(Needs::WATCH, 0).is_ok());
        if sys::soft_limit(sys::Limit::Files).is_some() {
            let error = Room::default().take(Needs::WATCH, 1 << 40).unwrap_err();
            assert!(error.is_limit());
            assert!(error.to_string().contains("ulimit -n"), "{error}");
            // Who needs no descriptor is not refused for want of them.
            assert!(Room::default().take(Needs::FOLLOW, 1 << 40).is_ok());
        }
    }
}
