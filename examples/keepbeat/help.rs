//! The answer to `--help`: every flag, every variable, every scheme, in lines of 80 columns.

use crate::{schemes, settings, wrap};

/// What a terminal shows as a rule.
const WIDTH: usize = 80;

/// The whole text.
pub fn help() -> String {
    let mut text = HEAD.to_owned();
    text += "\nTARGET is host:port, or a URL:\n";
    for (scheme, beat) in schemes::KNOWN {
        text += &entry(&format!("{scheme}://"), 13, beat);
    }
    let under_tls = schemes::UNDER_TLS.map(|scheme| format!("{scheme}://")).join(" ");
    text += &format!("  {under_tls}\n\n{FLAGS}");
    text += "\nThe environment has a variable for each setting of a target:\n";
    let variables = settings::KEYS.map(settings::variable).join(" ");
    for line in wrap::wrapped(&variables, WIDTH - 2) {
        text += &format!("  {line}\n");
    }
    text + TAIL
}

/// `  name   text`, which goes on below itself.
fn entry(name: &str, wide: usize, text: &str) -> String {
    let lines = wrap::wrapped(text, WIDTH - 2 - wide);
    let gap = format!("\n{}", " ".repeat(2 + wide));
    format!("  {name:<wide$}{}\n", lines.join(&gap))
}

const HEAD: &str = "\
Holds a connection open to each target, beats on it, and says when, and why, it
has died.

usage: keepbeat [FLAGS] [NAME=]TARGET...
       keepbeat --config FILE [FLAGS] [[NAME=]TARGET...]
       keepbeat demo             a peer of its own goes through every fault; the
                                 same without any word
       keepbeat demo-firewall    behind a firewall that forgets idle connections
       keepbeat explain FILE     what a file of --record or --json says (- is
                                 standard input)
       keepbeat explain CAUSE    what a cause means, how to confirm it, what to
                                 change
";

const FLAGS: &str = "\
The heartbeat:
  --interval 30s          from one beat to the next
  --timeout 5s            the longest wait for the ack of one beat
  --fall 3                misses in a row until a target is down
  --rise 1                acks in a row until it is up
  --jitter 0.05           how far an interval may deviate, as a part of it
  --patience fixed        fixed: the timeout is the one above; rtt: as measured,
                          and never more than that

The connection:
  --connect-timeout 10s   the longest attempt to connect, with TLS; unless told,
                          twice the timeout, but 3s at least and 10s at most
  --write-timeout 10s     the longest wait to write one beat
  --user-timeout TIME     how long the kernel sends a beat again before it gives
                          the connection up; unless told, longer than a verdict
                          takes
  --backoff 500ms         the pause before a lost connection is opened again; it
                          doubles with each attempt
  --backoff-cap 60s       and is never longer than this

What a beat is:
  --send BYTES            tcp: what is sent; \\r \\n \\t \\0 \\\\ \\xNN are escapes
  --expect BYTES          tcp: the bytes with which the reply begins
  --expect TEXT           http: a part that the body must have; it is a GET then
  --method HEAD           http: the method
  --status 200-399        http: the statuses to expect, or a single one
  --password-file FILE    redis, http: the password of the user in the URL, or
                          of redis without a user. A password in the URL
                          (redis://USER:PASSWORD@host) is seen by whoever can
                          list processes.

TLS:
  --ca FILE               the authorities to trust in place of the public ones,
                          in PEM
  --certificate-days 21   warn of a certificate that expires sooner; 0: never
  --insecure              accept any certificate: whoever is on the path can
                          then read and change what is sent

The diagnosis, by what the kernel knows and by side connections to a target that
is silent:
  --no-side-connections   no other connection than the one that is watched
  --closed-port           try a port nobody listens on, too: tells a filtered
                          port from a dead host, and looks like a scan
  --probe-payload         tcp with --send: other bytes than these may be sent on
                          side connections
  --no-diagnosis          the certain words alone
  --record FILE           append the last beats and all evidence of each
                          diagnosis, for `explain`
  --record-limit 64MiB    then FILE becomes FILE.1, and a new one is begun

How long:
  --once                  the first ack or the first failure of each target, and
                          the verdict
  --count N               N rounds per target: beats acked or missed, attempts
                          that failed
  --for 30s               this long

What is told, on standard output:
  -q, --quiet             trouble and its end alone; of --json no line for a
                          beat or a connection
  -v, --verbose           every beat, miss and connection, and each target of
                          many that fare alike
  --json                  one JSON object a line for each event
  --alive 10m             after so long without a line one that says that it
                          runs, then ever more seldom; on a terminal that is the
                          default, elsewhere there is none; 0s: never
  --color auto            auto, always or never; NO_COLOR and CLICOLOR_FORCE are
                          heeded. COLUMNS goes before the width of a terminal;
                          where LC_ALL, LC_CTYPE or LANG have no UTF-8, or TERM
                          is dumb, there is plain ASCII alone.

and on standard error:
  --log-level LEVEL       off, error, warn, info, debug or trace, whatever -q
                          and -v say; RUST_LOG says more

A file:
  --config FILE           targets and settings from a file, in TOML
  --check-config          say whether the file is right, and start nothing
  --print-config          a file to begin with

  -h, --help              this text
  -V, --version           the version
";

const TAIL: &str = "
A flag goes before its variable, that before the file, that before the default.
Durations have a unit: 1500ms, 15s, 2m. What is true or false has a flag for
both: --closed-port, --no-closed-port; in the file and the environment
closed_port = true or false.

Exit code: 0 if every target was up or suspect at the end, also after a signal;
1 if one was not; 2 if nothing was started: the command line, the environment or
the file is wrong.
";
