//! Three hosts in network namespaces, made for one test and gone with it: client 198.51.100.2,
//! router, server 203.0.113.2. The test itself is the client.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::server::Server;

/// Where the server is, and its further addresses.
pub const SERVER: &str = "203.0.113.2";
pub const MORE_SERVERS: [&str; 3] = ["203.0.113.3", "203.0.113.4", "203.0.113.5"];

/// The test in namespaces of its own: `$0` is this test, `$1` and `$2` say which part of it.
const ENTER: &str = r#"
mount -t tmpfs none /run
mkdir /run/netns
exec "$0" --child "$1" "$2"
"#;

const HOSTS: &str = r#"
ip netns add router
ip netns add server
ip link add c0 type veth peer name rc netns router
ip -n router link add rs type veth peer name s0 netns server
ip addr add 198.51.100.2/24 dev c0
ip link set c0 up
ip link set lo up
ip route add default via 198.51.100.1
ip -n router -batch - <<COMMANDS
addr add 198.51.100.1/24 dev rc
addr add 203.0.113.1/24 dev rs
link set rc up
link set rs up
COMMANDS
ip -n server -batch - <<COMMANDS
addr add 203.0.113.2/24 dev s0
addr add 203.0.113.3/24 dev s0
addr add 203.0.113.4/24 dev s0
addr add 203.0.113.5/24 dev s0
link set s0 up
link set lo up
route add default via 203.0.113.1
COMMANDS
ip netns exec router sh -ec '
  echo 1 > /proc/sys/net/ipv4/ip_forward
  echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
  nft -f -
' <<RULES
table ip kb {
  chain forward {
    type filter hook forward priority 0; policy accept;
  }
}
RULES
"#;

/// Retransmissions after 5 ms in place of 200, where the kernel can, and acknowledgements at once:
/// what takes seconds otherwise.
const QUICK: &str = r#"
for host in router server; do
  ip netns exec $host sh -c 'echo 5000 > /proc/sys/net/ipv4/tcp_rto_min_us' 2>/dev/null || true
done
echo 5000 > /proc/sys/net/ipv4/tcp_rto_min_us 2>/dev/null || true
ip -n server route change default via 203.0.113.1 quickack 1
"#;

/// A second path between router and server; which one a connection takes, its ports decide. Within
/// one machine a packet takes the hash of its socket along, which changes when it is sent again.
const TWO_PATHS: &str = r#"
echo 0 > /proc/sys/net/core/txrehash 2>/dev/null || true
ip -n router link add rs2 type veth peer name s1 netns server
ip -n router addr add 203.0.114.1/24 dev rs2
ip -n router link set rs2 up
ip -n server addr add 203.0.114.2/24 dev s1
ip -n server link set s1 up
ip netns exec router sh -c 'echo 1 > /proc/sys/net/ipv4/fib_multipath_hash_policy'
ip -n router route add 203.0.113.2/32 nexthop via 203.0.113.2 dev rs nexthop via 203.0.114.2 dev rs2
"#;

/// A router that forgets flows after `$1` seconds, and lets no other ones pass.
const FORGETS: &str = r#"
ip netns exec router sh -ec '
  nft -f -
  echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose
  echo '"$1"' > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established
' <<RULES
table ip kb {
  chain forward {
    ct state established,related accept
    tcp dport 7000-7999 ct state new tcp flags & (fin|syn|rst|ack) == syn accept
    drop
  }
}
RULES
"#;

/// This test again, as a case within namespaces of its own.
pub fn enter(case: &str) -> Command {
    enter_as("case", case)
}

/// The same for a part of another sort.
pub fn enter_as(part: &str, name: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec", ENTER]);
    command.arg(std::env::current_exe().unwrap()).args([part, name]).stdin(Stdio::null());
    command
}

/// Runs a script here, on the client.
pub fn client(script: &str) {
    run(Command::new("sh").args(["-ec", script]), "");
}

pub fn on(host: &str, program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host, program]).args(arguments);
    String::from_utf8(run(&mut command, input).stdout).unwrap()
}

/// What a script on a host says.
pub fn ask(host: &str, script: &str) -> String {
    on(host, "sh", &["-ec", script], "")
}

fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{input}\n{said}");
    output
}

/// The hosts, and what answers on the server.
pub struct Lab {
    pub server: Server,
}

impl Lab {
    /// With a kernel that sends again soon.
    pub fn quick() -> Lab {
        client(&format!("{HOSTS}{QUICK}"));
        Lab { server: Server::start() }
    }

    /// With kernels as they come.
    pub fn plain() -> Lab {
        client(HOSTS);
        Lab { server: Server::start() }
    }

    pub fn with_two_paths() -> Lab {
        client(&format!("{HOSTS}{QUICK}{TWO_PATHS}"));
        Lab { server: Server::start() }
    }

    pub fn that_forgets_after(seconds: u32) -> Lab {
        let script = format!("{HOSTS}{FORGETS}");
        run(Command::new("sh").args(["-ec", &script, "sh", &seconds.to_string()]), "");
        Lab { server: Server::start() }
    }

    /// From now on the router does this with what passes it, and nothing else.
    pub fn rule(&self, rules: &str) {
        let text = format!(
            "flush chain ip kb forward\ntable ip kb {{\nchain forward {{\n{rules}\n}}\n}}\n"
        );
        on("router", "nft", &["-f", "-"], &text);
    }

    /// As at first.
    pub fn renew(&mut self) {
        self.server.kill();
        self.heal();
        self.server = Server::start();
    }

    pub fn heal(&self) {
        self.rule("");
    }

    /// The connections that stand now are dropped, and no other ones.
    pub fn drop_flows(&self) {
        let ports = own_ports();
        self.rule(&format!("tcp sport {{ {ports} }} drop\ntcp dport {{ {ports} }} drop"));
    }
}

/// The own ports of all connections to the server.
pub fn own_ports() -> String {
    let table = |family| std::fs::read_to_string(format!("/proc/self/net/{family}"));
    // Each begins with a line that names the columns.
    let table = table("tcp").unwrap() + &table("tcp6").unwrap_or_default();
    let mut ports = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16);
        if words.get(3) == Some(&"01") {
            ports.push(port(words[1]).unwrap().to_string());
        }
    }
    ports.join(", ")
}
