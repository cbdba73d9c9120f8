//! What the queues of an interface have thrown away, as the kernel counts it (netlink). Nothing is
//! sent to anybody.

/// Packets that the queue of the interface with this number has thrown away so far. None where that
/// cannot be asked.
#[cfg(target_os = "linux")]
pub(crate) fn queue_drops(index: u32) -> Option<u64> {
    linux::ask(index)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn queue_drops(_index: u32) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{Read, Write};
    use std::time::Duration;

    use socket2::{Domain, Protocol, Socket, Type};

    /// Of `linux/rtnetlink.h`, `linux/pkt_sched.h` and `linux/gen_stats.h`.
    const RTM_NEWQDISC: u16 = 36;
    const RTM_GETQDISC: u16 = 38;
    const TCA_STATS2: u16 = 7;
    const TCA_STATS_QUEUE: u16 = 3;
    /// The parent of the queue that all packets of the interface pass.
    const ROOT: u32 = u32::MAX;

    /// The lengths of the heads of a message, of what it says of a queue, and of an attribute.
    const HEAD: usize = 16;
    const QUEUE: usize = 20;
    const ATTRIBUTE: usize = 4;

    /// The kernel answers at once.
    const PATIENCE: Duration = Duration::from_millis(100);

    pub(super) fn ask(index: u32) -> Option<u64> {
        let kind = Type::RAW.cloexec();
        let domain = Domain::from(libc::AF_NETLINK);
        let socket = Socket::new(domain, kind, Some(Protocol::from(libc::NETLINK_ROUTE))).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        (&socket).write_all(&question(index)).ok()?;
        let mut room = [0; 16 * 1024];
        let mut drops = None;
        loop {
            let len = (&socket).read(&mut room).ok()?;
            let (found, is_over) = read(&room[..len], index);
            drops = drops.or(found);
            if is_over || len == 0 {
                return drops;
            }
        }
    }

    fn question(index: u32) -> [u8; HEAD + QUEUE] {
        let mut bytes = [0; HEAD + QUEUE];
        bytes[..4].copy_from_slice(&((HEAD + QUEUE) as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&RTM_GETQDISC.to_ne_bytes());
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[HEAD + 4..HEAD + 8].copy_from_slice(&index.to_ne_bytes());
        bytes
    }

    /// The drops among these messages, and whether they are the last.
    pub(super) fn read(mut bytes: &[u8], index: u32) -> (Option<u64>, bool) {
        let mut drops = None;
        while let (Some(len), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
            let len = len as usize;
            let Some(message) = bytes.get(HEAD..len) else { return (drops, true) };
            match i32::from(kind) {
                libc::NLMSG_DONE | libc::NLMSG_ERROR => return (drops, true),
                _ if kind == RTM_NEWQDISC => drops = drops.or(of_queue(message, index)),
                _ => {}
            }
            bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        (drops, false)
    }

    fn of_queue(message: &[u8], index: u32) -> Option<u64> {
        let is_it = u32_at(message, 4)? == index && u32_at(message, 12)? == ROOT;
        let attributes = message.get(QUEUE..).filter(|_| is_it)?;
        let counts = attribute(attribute(attributes, TCA_STATS2)?, TCA_STATS_QUEUE)?;
        u32_at(counts, 8).map(u64::from)
    }

    /// What stands under this number.
    fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
        loop {
            let (len, number) = (u16_at(bytes, 0)? as usize, u16_at(bytes, 2)?);
            let value = bytes.get(ATTRIBUTE..len)?;
            // The highest bit says that there are attributes in it.
            if number & 0x7fff == wanted {
                return Some(value);
            }
            bytes = bytes.get(len.next_multiple_of(4)..)?;
        }
    }

    fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
    }

    fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_answers_for_its_loopback_and_not_for_what_is_none() {
        // The loopback has no queue, as a rule; what counts is that the question is understood.
        assert!(queue_drops(1).is_none_or(|drops| drops < u64::MAX));
        assert_eq!(queue_drops(u32::MAX >> 1), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn drops_stand_in_the_statistics_of_the_root_and_broken_messages_are_none() {
        let mut message = vec![0; 20];
        message[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        message[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        let attribute = |number: u16, value: &[u8]| {
            let len = (4 + value.len()) as u16;
            [&len.to_ne_bytes()[..], &number.to_ne_bytes(), value].concat()
        };
        let counts: Vec<u8> = [1_u32, 2, 33, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        message.extend(attribute(1, b"tbf\0"));
        message.extend(attribute(7, &attribute(3, &counts)));
        let mut whole = vec![0; 16];
        whole[..4].copy_from_slice(&((16 + message.len()) as u32).to_ne_bytes());
        whole[4..6].copy_from_slice(&36_u16.to_ne_bytes());
        whole.extend(&message);
        assert_eq!(linux::read(&whole, 7), (Some(33), false));
        assert_eq!(linux::read(&whole, 8), (None, false), "another interface");
        for len in 0..whole.len() {
            assert_eq!(linux::read(&whole[..len], 7).0, None, "cut at {len}");
        }
    }
}
