//! Opening a connection: each address of the name within its share of the connect timeout, TLS
//! included, in a way that `stop` can end.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::cause::{Cause, Loss, cause_of};
use crate::diagnose::Attempt;
use crate::heartbeat::Heartbeat;
use crate::links::handle::Handle;
use crate::net::connection::Connection;
use crate::net::tls::Secure;
use crate::sys::{self, Icmp, Ready};
use crate::tcp_info::TcpInfo;

/// Addresses of one name that are tried. More would leave each a share too short to answer in.
const MOST_ADDRESSES: usize = 16;

/// How long a quiet peer may be left between two retransmissions after an outage.
const LONGEST_RTO: Duration = Duration::from_secs(1);

/// Opens a connection to the first address that answers, within the connect timeout.
pub(crate) fn connect(
    handle: &Handle,
    addresses: &[SocketAddr],
    secure: Option<&Secure>,
    heartbeat: &Heartbeat,
    carries_data: bool,
) -> Result<Connection, Loss> {
    let deadline = Instant::now() + heartbeat.connect_timeout;
    let addresses = &addresses[..addresses.len().min(MOST_ADDRESSES)];
    let mut failed: Option<Loss> = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - tried) as u32;
        let result = open(handle, *address, share, secure, heartbeat, carries_data);
        // In a handshake the peer may have ended it before we did.
        if handle.gives_up_dialing() && (result.is_ok() || handle.is_shut_by_us()) {
            if result.is_ok() {
                handle.set_socket(None);
            }
            return Err(Cause::Stopped.into());
        }
        match result {
            Ok(connection) => return Ok(connection),
            Err(loss) => failed = Some(both(failed, loss)),
        }
    }
    Err(failed.unwrap_or_else(|| Loss::new(Cause::NameNotResolved, "the name has no address")))
}

/// What the addresses of a name came to so far, and the next one.
#[cold]
fn both(all: Option<Loss>, loss: Loss) -> Loss {
    let Some(all) = all else { return loss };
    // Where somebody answered, that is the news; its detail keeps its word in front.
    let cause = if all.cause == Cause::TlsFailed { all.cause } else { loss.cause };
    let tls_is_last = cause == Cause::TlsFailed && all.cause != Cause::TlsFailed;
    let (first, then) =
        if tls_is_last { (loss.detail, all.detail) } else { (all.detail, loss.detail) };
    Loss::new(cause, format!("{first}; {then}"))
}

fn open(
    handle: &Handle,
    address: SocketAddr,
    share: Duration,
    secure: Option<&Secure>,
    heartbeat: &Heartbeat,
    carries_data: bool,
) -> Result<Connection, Loss> {
    let deadline = Instant::now() + share;
    let failed = |error: io::Error| connect_loss(&error, address);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(failed)?;
    let socket = Arc::new(socket);
    *handle.attempt() = Attempt { address: Some(address), ..Attempt::default() };
    handle.set_socket(Some(Arc::clone(&socket)));
    // So that a router's word tells who says it, and whether it is a rule; it works without it.
    let listens = sys::listen_to_icmp(&*socket, address.is_ipv6(), true).is_ok();
    handle.set_stood(false);
    let result = establish(handle, &socket, address, share).and_then(|()| {
        handle.set_stood(true);
        // On a live connection it would turn a passing trouble into the end.
        if listens {
            sys::listen_to_icmp(&*socket, address.is_ipv6(), false).map_err(failed)?;
        }
        set_options(&socket, heartbeat, carries_data).map_err(failed)?;
        let connection = Connection::new(Arc::clone(&socket), address, heartbeat.write_timeout)
            .map_err(failed)?;
        match secure {
            Some(secure) => connection.secured(secure, deadline),
            None => Ok(connection),
        }
    });
    result.map_err(|loss| why_it_failed(handle, &socket, address, loss))
}

/// Apart from what succeeds: its stack would stay with the link's thread for life.
#[cold]
#[inline(never)]
fn why_it_failed(handle: &Handle, socket: &Socket, address: SocketAddr, loss: Loss) -> Loss {
    handle.set_socket(None);
    let icmp = sys::take_icmp(socket);
    let has_stood = handle.has_stood();
    let info = TcpInfo::of(socket).ok().filter(|_| has_stood);
    let said = icmp.as_ref().map(|icmp| (icmp.kind, icmp.code));
    *handle.attempt() = Attempt { address: Some(address), icmp: said, has_stood, info };
    icmp.map_or(loss, |icmp| icmp_loss(icmp, address))
}

/// What a router or firewall said of the attempt.
fn icmp_loss(icmp: Icmp, address: SocketAddr) -> Loss {
    let cause = if icmp.is_prohibition() { Cause::Prohibited } else { Cause::Unreachable };
    let from = match icmp.from {
        Some(from) if is_own(from) => "this machine".to_owned(),
        Some(from) => from.to_string(),
        None => "a router".to_owned(),
    };
    Loss::new(cause, format!("{from} says of {address}: {}", icmp.words()))
}

/// Whether it is one of this machine's. A router on the same link may speak by an address that is
/// of that link alone, which nobody can bind to without naming it: that is not ours.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// A connect that `stop` can end: it shuts the socket down, which wakes the poll.
#[inline(never)]
fn establish(
    handle: &Handle,
    socket: &Socket,
    address: SocketAddr,
    share: Duration,
) -> Result<(), Loss> {
    let failed = |error: io::Error| connect_loss(&error, address);
    let deadline = Instant::now() + share;
    socket.set_nonblocking(true).map_err(failed)?;
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            wait_connected(handle, socket, deadline).map_err(failed)?.then_some(()).ok_or_else(
                || {
                    let detail = format!("{address} did not answer within {share:.1?}");
                    Loss::new(Cause::ConnectTimeout, detail)
                },
            )?;
        }
        Err(error) if sys::is_no_route(&error) => {
            let detail = format!("no route to {address}: {error}");
            return Err(Loss::new(Cause::NoLocalRoute, detail));
        }
        Err(error) => return Err(failed(error)),
    }
    socket.set_nonblocking(false).map_err(failed)?;
    let itself = socket.local_addr().ok().and_then(|a| a.as_socket()) == Some(address);
    if itself {
        let detail = format!("nobody listens on {address}: the socket had connected to itself");
        return Err(Loss::new(Cause::Refused, detail));
    }
    Ok(())
}

/// Whether the connection came to stand in time.
fn wait_connected(handle: &Handle, socket: &Socket, deadline: Instant) -> io::Result<bool> {
    loop {
        // After the connect has begun: a stop before it would have found nothing to shut down.
        if handle.gives_up_dialing() {
            return Ok(false);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match sys::wait_writable(socket, left) {
            Ok(Ready::Yes) => break,
            Ok(Ready::TimedOut) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    socket.take_error()?.map_or(Ok(true), Err)
}

/// After the connect: both limits of the kernel would cut that short.
pub(crate) fn set_options(
    socket: &Socket,
    heartbeat: &Heartbeat,
    carries_data: bool,
) -> io::Result<()> {
    // The kernel's keepalive is all there is for a protocol without beats.
    let (idle, interval) = heartbeat.kernel_keepalive();
    let keepalive =
        TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(heartbeat.fall);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(heartbeat.kernel_patience(carries_data))?;
    // Older kernels do not know it, and do without.
    let _ = sys::set_longest_rto(socket, LONGEST_RTO);
    Ok(())
}

fn connect_loss(error: &io::Error, address: SocketAddr) -> Loss {
    let cause = match error.raw_os_error() {
        Some(libc::ETIMEDOUT) => Cause::ConnectTimeout,
        _ => cause_of(error).unwrap_or(Cause::LocalResources),
    };
    Loss::new(cause, format!("{address}: {error}"))
}
