//! The answer to `--help`: every flag, every variable, every scheme, in lines of 80 columns.

use crate::{schemes, settings, wrap};

/// The usual width of a terminal.
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

/// `  name   text`; the text continues below itself.
fn entry(name: &str, wide: usize, text: &str) -> String {
    let lines = wrap::wrapped(text, WIDTH - 2 - wide);
    let gap = format!("\n{}", " ".repeat(2 + wide));
    format!("  {name:<wide$}{}\n", lines.join(&gap))
}

const HEAD: &str = "\
Keeps a connection open to each target, sends a beat at each interval, and says
when a connection has died, and why.

usage: keepbeat [FLAGS] [NAME=]TARGET...
       keepbeat --config FILE [FLAGS] [[NAME=]TARGET...]
       keepbeat demo             a peer of its own shows the faults; the same as
                                 keepbeat without arguments
       keepbeat demo-firewall    a firewall that forgets idle connections
       keepbeat explain FILE     explains a file of --record or --json (- is
                                 standard input)
       keepbeat explain CAUSE    what a cause means, how to confirm it, what to
                                 change
";

const FLAGS: &str = "\
The heartbeat:
  --interval 30s          the time from one beat to the next
  --timeout 5s            the longest wait for the ack of one beat
  --fall 3                misses in a row until a target is down
  --rise 1                acks in a row until a target is up
  --jitter 0.05           how far an interval may deviate, as a fraction of it
  --patience fixed        fixed: the timeout above; rtt: a timeout that follows
                          the measured round-trip time, never longer than that

The connection:
  --connect-timeout 10s   the longest attempt to connect, TLS included; default
                          twice the timeout, at least 3s and at most 10s
  --write-timeout 10s     the longest time to write one beat
  --user-timeout TIME     how long the kernel retransmits a beat before it gives
                          up the connection; default longer than a verdict takes
  --backoff 500ms         the pause before a lost connection is opened again is
                          random and at most this; doubles with each attempt
  --backoff-cap 60s       the most to which it doubles

What a beat is:
  --send BYTES            tcp: what is sent; \\r \\n \\t \\0 \\\\ \\xNN are escapes
  --expect BYTES          tcp: the bytes with which the reply begins
  --expect TEXT           http: text that the body must have; the method is then
                          GET
  --steps FILE            tcp: a conversation of several steps, from a file
  --method HEAD           http: the method
  --status 200-399        http: the expected statuses, a range or a single one
  --password-file FILE    redis, http: the password of the user in the URL, or
                          of redis without a user. Whoever can list processes
                          sees a password in the URL
                          (redis://USER:PASSWORD@host).

TLS:
  --ca FILE               the authorities to trust instead of the public ones,
                          in PEM
  --certificate-days 21   warn of a certificate that expires sooner; 0: never
  --insecure              accept any certificate: whoever is on the path can
                          then read and change what is sent

The diagnosis uses what the kernel knows, and side connections to a silent
target:
  --no-side-connections   open no connection but the watched one
  --closed-port           also try a port on which nobody listens: tells a
                          filtered port from a dead host, and looks like a scan
  --probe-payload         tcp with --send: allow other bytes on side connections
  --no-diagnosis          measure nothing; report only what is certain
  --record FILE           append the last beats and all evidence of each
                          diagnosis, for `explain`
  --record-limit 64MiB    at this size FILE becomes FILE.1, and a new one begins

How long:
  --once                  until the first ack or the first failure of each
                          target
  --count N               N rounds for each target; a round is a beat that was
                          acked or missed, or an attempt that failed
  --for 30s               this long

What is shown, on standard output:
  -q, --quiet             only trouble and its end; with --json no line for a
                          beat or a connection
  -v, --verbose           every beat, miss and connection, and every one of many
                          targets that fare alike
  --json                  one JSON object a line for each event
  --alive 10m             a sign of life after this long without a line, then
                          ever less often; the default on a terminal, elsewhere
                          there is none; 0s: never
  --color auto            auto, always or never; NO_COLOR and CLICOLOR_FORCE are
                          heeded. COLUMNS overrides the width of the terminal.
                          Output is plain ASCII if LC_ALL, LC_CTYPE or LANG name
                          no UTF-8, or TERM is dumb.

and on standard error:
  --log-level LEVEL       off, error, warn, info, debug or trace, whatever -q
                          and -v say; RUST_LOG can say more

A file:
  --config FILE           read targets and settings from a file, in TOML
  --check-config          check the file, and start nothing
  --print-config          print a sample file

  -h, --help              this text
  -V, --version           the version
";

const TAIL: &str = "
A flag overrides its variable, a variable the file, the file the default.
Durations have a unit: 1500ms, 15s, 2m. A setting that is true or false has two
flags, for example --closed-port and --no-closed-port; in the file and the
environment it is closed_port = true or false.

Exit code: 0 if every target was up or suspect at the end, also after a signal;
1 if one was not; 2 if nothing was started, because the command line, the
environment or the file is wrong.
";
