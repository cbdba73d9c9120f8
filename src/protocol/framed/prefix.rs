//! The length before a frame's data: how it is written, and read as soon as it is there.

/// How the length stands before the data of a frame. It counts the data alone, not itself.
///
/// | | bytes | longest data |
/// |---|---|---|
/// | `U8` | 1 | 255 bytes |
/// | `U16Be`, `U16Le` | 2, most or least significant first | 65,535 bytes |
/// | `U32Be`, `U32Le` | 4, most or least significant first | 4,294,967,295 bytes |
/// | `Varint` | 1 to 5, as in Protocol Buffers | 4,294,967,295 bytes |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Prefix {
    /// One byte.
    U8,
    /// Two bytes, the most significant first: "network order".
    U16Be,
    /// Two bytes, the least significant first.
    U16Le,
    /// Four bytes, the most significant first: "network order".
    U32Be,
    /// Four bytes, the least significant first.
    U32Le,
    /// Seven bits a byte, the least significant first, the eighth bit says that more follow
    /// (unsigned LEB128). A length in more bytes than it needs is refused, and so is one of more
    /// than 32 bits.
    Varint,
}

/// Why these bytes are no length.
const OVERLONG: &str = "a varint length in more bytes than it needs";
const OVERFLOW: &str = "a varint length of more than 32 bits";

impl Prefix {
    /// The longest data that it can announce.
    pub(super) fn most(self) -> usize {
        let most = match self {
            Prefix::U8 => u8::MAX.into(),
            Prefix::U16Be | Prefix::U16Le => u16::MAX.into(),
            Prefix::U32Be | Prefix::U32Le | Prefix::Varint => u32::MAX,
        };
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// The most bytes that it takes itself.
    pub(super) fn width(self) -> usize {
        match self {
            Prefix::U8 => 1,
            Prefix::U16Be | Prefix::U16Le => 2,
            Prefix::U32Be | Prefix::U32Le => 4,
            Prefix::Varint => 5,
        }
    }

    /// Appends a length of at most [`most`](Prefix::most).
    pub(super) fn put(self, len: usize, out: &mut Vec<u8>) {
        let four = u32::try_from(len).expect("longer data was refused").to_be_bytes();
        match self {
            Prefix::U8 => out.push(four[3]),
            Prefix::U16Be => out.extend_from_slice(&four[2..]),
            Prefix::U16Le => out.extend_from_slice(&[four[3], four[2]]),
            Prefix::U32Be => out.extend_from_slice(&four),
            Prefix::U32Le => out.extend(four.iter().rev()),
            Prefix::Varint => {
                let mut rest = len;
                while rest >= 0x80 {
                    out.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
        }
    }

    /// How long the prefix at the front is, and what it says; none while it is not whole.
    pub(super) fn read(self, bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
        if self == Prefix::Varint {
            return varint(bytes);
        }
        let width = self.width();
        let Some(number) = bytes.get(..width) else { return Ok(None) };
        let add = |len: u32, byte: &u8| len << 8 | u32::from(*byte);
        let len = match self {
            Prefix::U16Le | Prefix::U32Le => number.iter().rev().fold(0, add),
            _ => number.iter().fold(0, add),
        };
        Ok(Some((width, usize::try_from(len).unwrap_or(usize::MAX))))
    }
}

fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut len = 0_u64;
    for (n, byte) in bytes.iter().take(5).enumerate() {
        len |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 != 0 {
            continue;
        }
        if *byte == 0 && n > 0 {
            return Err(OVERLONG);
        }
        let len = u32::try_from(len).map_err(|_| OVERFLOW)?;
        return Ok(Some((n + 1, usize::try_from(len).unwrap_or(usize::MAX))));
    }
    if bytes.len() < 5 { Ok(None) } else { Err(OVERFLOW) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Prefix; 6] =
        [Prefix::U8, Prefix::U16Be, Prefix::U16Le, Prefix::U32Be, Prefix::U32Le, Prefix::Varint];

    #[test]
    fn every_length_is_read_as_it_was_written_and_not_before_it_is_whole() {
        for prefix in ALL {
            for len in [0, 1, 127, 128, 255, 256, 16_383, 16_384, 65_535, 1 << 24, prefix.most()] {
                if len > prefix.most() {
                    continue;
                }
                let mut out = Vec::new();
                prefix.put(len, &mut out);
                assert!(out.len() <= prefix.width());
                for cut in 0..out.len() {
                    assert_eq!(prefix.read(&out[..cut]), Ok(None), "{prefix:?} {len}");
                }
                out.push(0xff);
                assert_eq!(prefix.read(&out), Ok(Some((out.len() - 1, len))), "{prefix:?}");
            }
        }
    }

    #[test]
    fn lengths_stand_in_the_order_that_their_names_say() {
        let put = |prefix: Prefix, len| {
            let mut out = Vec::new();
            prefix.put(len, &mut out);
            out
        };
        assert_eq!(put(Prefix::U8, 0xfe), [0xfe]);
        assert_eq!(put(Prefix::U16Be, 0x0102), [1, 2]);
        assert_eq!(put(Prefix::U16Le, 0x0102), [2, 1]);
        assert_eq!(put(Prefix::U32Be, 0x0102_0304), [1, 2, 3, 4]);
        assert_eq!(put(Prefix::U32Le, 0x0102_0304), [4, 3, 2, 1]);
        assert_eq!(put(Prefix::Varint, 300), [0xac, 0x02], "the example of Protocol Buffers");
    }

    #[test]
    fn varints_that_are_too_long_or_too_large_are_refused() {
        assert_eq!(Prefix::Varint.read(&[0x80, 0x00]), Err(OVERLONG));
        assert_eq!(Prefix::Varint.read(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(OVERFLOW));
        assert_eq!(Prefix::Varint.read(&[0x80; 5]), Err(OVERFLOW));
        assert_eq!(Prefix::Varint.read(&[0x80; 4]), Ok(None));
    }
}
