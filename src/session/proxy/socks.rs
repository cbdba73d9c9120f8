//! SOCKS: version 4 with its extension 4a, and version 5 (RFC 1928) with a password (RFC 1929).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::tunnel::{failed, left};
use super::{Kind, Proxy};
use crate::session::pipe::Pipe;

/// Where the proxy is to connect to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal<'a> {
    Address(SocketAddr),
    /// The proxy looks it up.
    Name(&'a str, u16),
}

/// Asks for a connection. Reads not one byte more than the answer has.
///
/// # Errors
///
/// A [`Loss`] with what the proxy says, if it refuses; `WouldBlock` if the time is up.
pub(crate) fn through_socks(
    pipe: &mut dyn Pipe,
    proxy: &Proxy,
    goal: Goal,
    until: Instant,
) -> io::Result<()> {
    let mut talk = Talk { pipe, proxy, until };
    match proxy.kind {
        Kind::Socks4 | Kind::Socks4a => talk.four(goal),
        _ => talk.five(goal),
    }
}

struct Talk<'a> {
    pipe: &'a mut dyn Pipe,
    proxy: &'a Proxy,
    until: Instant,
}

impl Talk<'_> {
    fn failed(&self, what: &str) -> io::Error {
        failed(self.proxy, what)
    }

    fn refused(&self, what: &str, goal: Goal) -> io::Error {
        match goal {
            Goal::Address(address) => self.failed(&format!("{what} ({address})")),
            Goal::Name(name, port) => self.failed(&format!("{what} ({name}:{port})")),
        }
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let most = left(self.until)?;
        self.pipe.write_all(bytes, Some(most)).map_err(|unwritten| unwritten.error)
    }

    fn hear<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            let most = left(self.until)?;
            match self.pipe.read(&mut bytes[at..], Some(most)) {
                Ok(0) => return Err(self.failed("it closed the connection without an answer")),
                Ok(n) => at += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => return Err(self.failed(&error.to_string())),
            }
        }
        Ok(())
    }

    fn four(&mut self, goal: Goal) -> io::Result<()> {
        let (ip, port, name) = match goal {
            Goal::Address(SocketAddr::V4(address)) => (address.ip().octets(), address.port(), None),
            Goal::Address(SocketAddr::V6(_)) => {
                return Err(self.refused("SOCKS4 knows no IPv6 addresses: take `socks5`", goal));
            }
            Goal::Name(name, port) => ([0, 0, 0, 1], port, Some(name)),
        };
        let mut request = vec![4, 1];
        request.extend(port.to_be_bytes());
        request.extend(ip);
        let user = self.proxy.login.as_ref().map_or("", |(user, _)| user.as_str());
        request.extend(user.bytes().filter(|byte| *byte != 0));
        request.push(0);
        if let Some(name) = name {
            request.extend(name.bytes());
            request.push(0);
        }
        self.say(&request)?;
        match self.hear::<8>()? {
            [0, 90, ..] => Ok(()),
            [0, 91, ..] => Err(self.refused("it refused, or could not connect", goal)),
            [0, 92 | 93, ..] => Err(self.refused("it refused the user", goal)),
            _ => Err(self.failed("what it says is not SOCKS4")),
        }
    }

    fn five(&mut self, goal: Goal) -> io::Result<()> {
        let login = self.proxy.login.as_ref();
        self.say(if login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] })?;
        match (self.hear::<2>()?, login) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => self.log_in(user, password)?,
            ([5, 0xff], Some(_)) => {
                return Err(self.failed("it takes neither this user nor none"));
            }
            ([5, 0xff | 2], None) => {
                return Err(self.failed(
                    "it asks for a login: user and password belong into the URL of the proxy",
                ));
            }
            _ => return Err(self.failed("what it says is not SOCKS5")),
        }
        let mut request = vec![5, 1, 0];
        match goal {
            Goal::Address(address) => {
                match address.ip() {
                    IpAddr::V4(ip) => {
                        request.push(1);
                        request.extend(ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        request.push(4);
                        request.extend(ip.octets());
                    }
                }
                request.extend(address.port().to_be_bytes());
            }
            Goal::Name(name, port) => {
                let len = u8::try_from(name.len());
                let len = len.map_err(|_| self.failed("a name of more than 255 bytes"))?;
                request.extend([3, len]);
                request.extend(name.bytes());
                request.extend(port.to_be_bytes());
            }
        }
        self.say(&request)?;
        self.five_answer(goal)
    }

    fn log_in(&mut self, user: &str, password: &str) -> io::Result<()> {
        let mut request = vec![1];
        for word in [user, password] {
            // Both were measured when they were read.
            request.push(word.len() as u8);
            request.extend(word.bytes());
        }
        self.say(&request)?;
        match self.hear::<2>()? {
            [_, 0] => Ok(()),
            _ => Err(self.failed("it refused user and password")),
        }
    }

    fn five_answer(&mut self, goal: Goal) -> io::Result<()> {
        let [version, code, _, kind] = self.hear::<4>()?;
        if version != 5 {
            return Err(self.failed("what it says is not SOCKS5"));
        }
        if code != 0 {
            return Err(self.refused(meaning(code), goal));
        }
        // The address from which it connected, which nobody needs.
        let len = match kind {
            1 => 4,
            4 => 16,
            3 => usize::from(self.hear::<1>()?[0]),
            _ => return Err(self.failed("what it says is not SOCKS5")),
        };
        self.fill(&mut vec![0; len + 2])
    }
}

/// RFC 1928, section 6.
fn meaning(code: u8) -> &'static str {
    match code {
        1 => "it failed, and says no more",
        2 => "its rules forbid the connection",
        3 => "it has no route to that network",
        4 => "it does not reach that host, or does not know its name",
        5 => "the connection was refused there",
        6 => "the connection took too long",
        7 => "it does not know the command",
        8 => "it does not know this kind of address",
        _ => "it failed with a code that nobody knows",
    }
}
