//! `keepbeat demo-firewall`: a firewall that forgets idle connections. Three hosts (client,
//! firewall, server) are made of network namespaces, so nothing is visible outside.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keepbeat::{Cause, Diagnose, Event, EventKind, Exchange, Heartbeat, LinkId, Responder};
use keepbeat::{State, Target};

use crate::args::Args;
use crate::commands;
use crate::output::{self, Output};
use crate::plan::Watch;
use crate::record::Record;
use crate::script::{Script, Stop};

/// After so many seconds without a packet the firewall forgets a connection.
const MEMORY: u64 = 3;

const OFTEN: Duration = Duration::from_secs(1);
/// Longer than the firewall's memory, also with jitter.
const SELDOM: Duration = Duration::from_millis(3500);
const TIMEOUT: Duration = Duration::from_millis(800);

const SERVER: &str = "203.0.113.2:7000";

const SCRIPT: &str = include_str!("firewall.sh");

/// The tools of the demo, and their Debian packages.
const TOOLS: [(&str, &str); 4] =
    [("unshare", "util-linux"), ("mount", "mount"), ("ip", "iproute2"), ("nft", "nftables")];

/// Makes the network, and continues in it as the client. Returns only if that fails, with the
/// reason.
pub fn network() -> String {
    match made() {
        // On success the process is replaced.
        Ok(mut command) => cannot(&format!("it does not start: {}", command.exec())),
        Err(why) => cannot(&why),
    }
}

fn cannot(why: &str) -> String {
    format!("{} cannot run here: {why}", commands::FIREWALL)
}

/// The command that makes the network, after a trial that succeeded.
fn made() -> Result<Command, String> {
    if !cfg!(target_os = "linux") {
        return Err("it needs network namespaces, which only Linux has".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let is_there = |tool: &str| folders.iter().any(|folder| folder.join(tool).is_file());
    if let Some((tool, package)) = TOOLS.into_iter().find(|(tool, _)| !is_there(tool)) {
        return Err(format!("`{tool}` is missing; on Debian: apt-get install {package}"));
    }
    let path = std::env::join_paths(&folders).map_err(|error| error.to_string())?;
    let mut said = String::new();
    // Where user namespaces are forbidden, root can still do without.
    for spaces in [["--user", "--map-root-user"].as_slice(), &[]] {
        let command = |parts: &[OsString]| -> io::Result<Command> {
            let mut command = Command::new("unshare");
            command.env("PATH", &path).args(spaces);
            command.args(["--net", "--mount", "sh", "-ec", SCRIPT]);
            command.arg(std::env::current_exe()?).arg(MEMORY.to_string()).args(parts);
            Ok(command)
        };
        let tried = command(&[]).and_then(|mut command| command.stdin(Stdio::null()).output());
        let tried = tried.map_err(|error| error.to_string())?;
        if tried.status.success() {
            let own = std::env::args_os().skip(1).filter(|word| word != commands::FIREWALL);
            let words = [commands::FIREWALL.into(), commands::CLIENT.into()];
            let parts: Vec<OsString> = words.into_iter().chain(own).collect();
            return command(&parts).map_err(|error| error.to_string());
        }
        let last = String::from_utf8_lossy(&tried.stderr);
        let last = last.lines().last().unwrap_or("no reason given");
        said += if said.is_empty() { "" } else { "; as root: " };
        said += last;
    }
    Err(format!("it needs root or user namespaces, and connection tracking in the kernel ({said})"))
}

/// The server: answers until its standard input ends.
///
/// # Errors
///
/// It cannot listen.
pub fn serve() -> Result<bool, String> {
    let answer = || Exchange::answering("heartbeat", "heartbeat_ack");
    let responder = Responder::bind(SERVER, answer).map_err(|error| error.to_string())?;
    output::write("ready\n").map_err(|error| error.to_string())?;
    let _ = io::stdin().read(&mut [0]); // whatever comes is the end
    responder.stop();
    Ok(true)
}

/// The server's process. It ends with this value or with this process.
struct Server(Child);

impl Server {
    fn start() -> io::Result<Server> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "server"]).arg(std::env::current_exe()?);
        command.args([commands::FIREWALL, commands::SERVER]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C must end this process only.
        let mut server = Server(command.process_group(0).spawn()?);
        let ready = server.0.stdout.take().map(BufReader::new);
        match ready.and_then(|ready| ready.lines().next()) {
            Some(line) => line.map(|_| server),
            None => Err(io::Error::other("it ended at once")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The client: shows which connections live. True if all went as expected.
///
/// # Errors
///
/// An expected event did not come, or standard output failed.
pub fn play(args: &Args, record: Option<Record>) -> Result<bool, String> {
    let _server = Server::start().map_err(|error| format!("cannot start the server: {error}"))?;
    let mut script = Script::new(Output::new(args, record, &["advised".to_owned()]))?;
    let played = acts(&mut script);
    script.end(played)
}

fn acts(script: &mut Script) -> Result<(), Stop> {
    script.act(&format!(
        "three hosts of its own: a client, a server, and between them a firewall that forgets \
         connections after {MEMORY}s without traffic"
    ))?;
    script.act(&format!(
        "`often` beats every {OFTEN:?}, `seldom` every {SELDOM:?}, longer than the firewall \
         remembers"
    ))?;
    let often = watch(script, "often", OFTEN)?;
    let seldom = watch(script, "seldom", SELDOM)?;
    let of = |link: LinkId| move |event: &Event| event.link() == Some(link);
    let seldom_is = of(seldom);
    script.until("`seldom` to come up", |e| seldom_is(e) && is_state(e, State::Up))?;
    script.act("now wait until the firewall has forgotten `seldom`")?;
    // The diagnosis may come before Down, or after the reconnect.
    let (mut told, mut fell, mut back) = (None, false, false);
    script.until("`seldom` to be forgotten, and to come back", |e| {
        if seldom_is(e) {
            fell |= is_state(e, State::Down);
            back |= fell && is_state(e, State::Up);
            if is_forgotten(e) {
                told.get_or_insert_with(|| e.clone());
            }
        }
        back && told.is_some()
    })?;
    let told = told.expect("it was just seen");
    script.act("a fresh connection passes at once, so it is not the server; and once more")?;
    script.until("`seldom` to be forgotten again", |e| seldom_is(e) && is_state(e, State::Down))?;
    script.until("a fresh connection", |e| seldom_is(e) && is_state(e, State::Up))?;
    let often_enough = advised(&told)?;
    script.act(&format!("`advised` beats as the remedy says: every {often_enough:?}"))?;
    // `seldom` has shown its fault; the rest is about `advised`.
    let _ = script.coordinator.pause(seldom);
    let advised = watch(script, "advised", often_enough)?;
    let advised_is = of(advised);
    for _ in 0..4 {
        let acked = |e: &Event| matches!(e.kind(), EventKind::Beat { late: false, .. });
        script.until("an ack of `advised`", |e| advised_is(e) && acked(e))?;
    }
    for (name, link) in [("often", often), ("advised", advised)] {
        let missed = script.coordinator.status(link).map_or(u64::MAX, |status| status.missed);
        if missed > 0 {
            return Err(Stop::Missing(format!("every beat of `{name}`: {missed} were missed")));
        }
    }
    script.act("`often` and `advised` have lost no beat: beats in time keep a connection alive")
}

/// The interval that the remedy names.
fn advised(event: &Event) -> Result<Duration, Stop> {
    let advice = event.kind().diagnosis().map_or("", |diagnosis| diagnosis.advice());
    let interval = || {
        let (_, rest) = advice.split_once("beat more often, every ")?;
        let time = rest.split(|c: char| !c.is_alphanumeric() && c != '.').next()?;
        let seconds = match time.strip_suffix("ms") {
            Some(millis) => millis.parse::<f64>().ok()? / 1000.0,
            None => time.strip_suffix('s')?.parse().ok()?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    };
    interval().ok_or_else(|| Stop::Missing(format!("an interval in the remedy `{advice}`")))
}

fn watch(script: &mut Script, name: &str, interval: Duration) -> Result<LinkId, Stop> {
    let heartbeat = Heartbeat::every(interval)
        .timeout(TIMEOUT)
        .fall(2)
        .backoff(Duration::from_millis(250), Duration::from_millis(500))
        .diagnose(Diagnose::side_connections());
    let fault = |error: keepbeat::Error| Stop::Missing(format!("`{name}`: {error}"));
    let target = Target::new(SERVER).map_err(fault)?.named(name);
    let protocol = Exchange::new("heartbeat", "heartbeat_ack");
    let shown = Watch {
        target: target.clone(),
        heartbeat: heartbeat.clone(),
        protocol: Box::new(protocol.clone()),
        words: format!("a beat every {interval:?}, {TIMEOUT:?} for its ack, down after 2 misses"),
    };
    script.output.start(&[shown])?;
    script.coordinator.watch(target, heartbeat, protocol).map_err(fault)
}

fn is_state(event: &Event, state: State) -> bool {
    matches!(event.kind(), EventKind::State { to, .. } if *to == state)
}

fn is_forgotten(event: &Event) -> bool {
    event.kind().diagnosis().is_some_and(|told| told.cause() == Cause::FlowForgotten)
}
