//! Where one whole value of RESP2 or RESP3 ends, found however small the pieces are in which it
//! comes: what was read is never read again.

use std::ops::Range;

use memchr::memmem;

use super::super::line::number;

/// The longest line that says a length: a type, 20 digits, and some room.
const LONGEST_HEAD: usize = 24;

/// The shortest value: a type and a line end.
const SHORTEST: u64 = 3;

/// The value that has begun. Nested ones need no stack: a value that holds others only adds to
/// those that are missing, so depth costs nothing.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// All before this is read.
    at: usize,
    /// Values that have not been read whole, the next one included.
    missing: u64,
    /// A string begins at `at`, so long with its line end.
    string: Option<u64>,
    /// No line end begins before this.
    searched: usize,
    /// Where the value begins: behind its attributes, if it has some.
    start: usize,
    /// So far there were only attributes.
    in_front: bool,
}

impl Default for Value {
    fn default() -> Value {
        Value { at: 0, missing: 1, string: None, searched: 0, start: 0, in_front: true }
    }
}

impl Value {
    /// The value at the front, from behind its attributes to its end, once it is whole. Asked
    /// again with the same bytes in front, and more.
    pub(super) fn end(
        &mut self,
        bytes: &[u8],
        limit: usize,
    ) -> Result<Option<Range<usize>>, String> {
        while self.missing > 0 {
            let read = match self.string {
                Some(len) => self.string(bytes, len)?,
                None => self.line(bytes, limit)?,
            };
            if !read {
                return Ok(None);
            }
            self.fits(limit)?;
        }
        let found = self.start..self.at;
        *self = Value::default();
        Ok(Some(found))
    }

    /// Refuses what will be too long by what was announced, before it has come.
    fn fits(&self, limit: usize) -> Result<(), String> {
        let behind = self.missing.saturating_sub(self.string.is_some().into());
        let least = behind.saturating_mul(SHORTEST);
        let least = least.saturating_add(self.string.unwrap_or(0)).saturating_add(self.at as u64);
        if least > limit as u64 { Err(too_long(least, limit)) } else { Ok(()) }
    }

    /// The rest of a string whose length is known. False if it has not come whole.
    fn string(&mut self, bytes: &[u8], len: u64) -> Result<bool, String> {
        let len = usize::try_from(len).expect("it is within the limit");
        let Some(string) = bytes.get(self.at..self.at + len) else { return Ok(false) };
        if !string.ends_with(b"\r\n") {
            return Err(format!("no line end at byte {}, behind a string", self.at + len - 2));
        }
        (self.at, self.string) = (self.at + len, None);
        self.missing -= 1;
        Ok(true)
    }

    /// A value of one line, or the line that begins one. False if it has not come whole.
    fn line(&mut self, bytes: &[u8], limit: usize) -> Result<bool, String> {
        let window = &bytes[..bytes.len().min(limit)];
        let Some(kind) = window.get(self.at) else { return Ok(false) };
        if !b"+-:_#,($=!*~>%|".contains(kind) {
            return Err(format!("no Redis reply at byte {}", self.at));
        }
        let is_head = b"$=!*~>%|".contains(kind);
        let from = self.searched.max(self.at);
        let Some(found) = memmem::find(&window[from..], b"\r\n") else {
            // The last byte may be the first half of the end.
            self.searched = window.len() - 1;
            if is_head && window.len() - self.at > LONGEST_HEAD + 1 {
                return Err(no_length(self.at));
            }
            let is_full = window.len() == limit;
            return if is_full { Err(too_long(limit as u64 + 1, limit)) } else { Ok(false) };
        };
        let end = from + found;
        let text = &window[self.at + 1..end];
        if self.missing == 1 && self.in_front {
            (self.start, self.in_front) = (self.at, *kind == b'|');
        }
        if is_head {
            self.begin(*kind, text)?;
        } else {
            self.missing -= 1;
        }
        self.at = end + 2;
        Ok(true)
    }

    /// The first line of a value that has others or a string behind it.
    fn begin(&mut self, kind: u8, text: &[u8]) -> Result<(), String> {
        let is_null = matches!(kind, b'$' | b'*') && text == b"-1";
        let fine = text.len() < LONGEST_HEAD;
        let Some(len) = number(text).filter(|_| fine).or(is_null.then_some(0)) else {
            return Err(no_length(self.at));
        };
        match kind {
            _ if is_null => self.missing -= 1,
            b'$' | b'=' | b'!' => self.string = Some(len.saturating_add(2)),
            b'%' => self.missing = (self.missing - 1).saturating_add(len.saturating_mul(2)),
            // No value itself: the one that it belongs to comes behind it.
            b'|' => self.missing = self.missing.saturating_add(len.saturating_mul(2)),
            _ => self.missing = (self.missing - 1).saturating_add(len),
        }
        Ok(())
    }
}

fn no_length(at: usize) -> String {
    format!("no length at byte {at}")
}

fn too_long(least: u64, limit: usize) -> String {
    format!(
        "a reply of at least {least} bytes, over the limit of {limit}: if it is Redis, raise \
         Redis::limit"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [&[u8]; 26] = [
        b"+OK\r\n",
        b"-ERR what\r\n",
        b":-12\r\n",
        b"$5\r\nhello\r\n",
        b"$0\r\n\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n:1\r\n",
        b"*2\r\n*2\r\n:1\r\n*1\r\n$-1\r\n*1\r\n*0\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",3.14\r\n",
        b",-inf\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b"!21\r\nSYNTAX invalid syntax\r\n",
        b"=15\r\ntxt:Some string\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
        b"~2\r\n+a\r\n#f\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        b"|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n",
        b"|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n|0\r\n*1\r\n|1\r\n+c\r\n_\r\n:3\r\n",
        b"%0\r\n",
        b"~0\r\n",
        b"+\r\n",
    ];

    #[test]
    fn every_type_ends_where_it_should_in_pieces_and_with_more_behind_it() {
        for whole in WHOLE {
            let more = [whole, b"+more\r\n"].concat();
            let found = Value::default().end(&more, 1 << 20).expect("valid").expect("whole");
            assert_eq!(found.end, whole.len(), "{}", whole.escape_ascii());
            let mut value = Value::default();
            for cut in 0..whole.len() {
                assert_eq!(value.end(&whole[..cut], 1 << 20), Ok(None), "{}", whole.escape_ascii());
            }
            assert_eq!(value.end(whole, whole.len()), Ok(Some(found)));
            let tight = Value::default().end(whole, whole.len() - 1);
            assert!(tight.is_err(), "{} over the limit", whole.escape_ascii());
        }
    }

    #[test]
    fn a_value_begins_behind_its_attributes() {
        let start = |bytes| Value::default().end(bytes, 1 << 20).expect("valid").map(|v| v.start);
        assert_eq!(start(b"|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n"), Some(17));
        assert_eq!(start(b"|1\r\n+a\r\n:1\r\n|0\r\n+x\r\n"), Some(16));
        assert_eq!(start(b"*1\r\n|1\r\n+a\r\n:1\r\n+x\r\n"), Some(0));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_by_their_line_alone() {
        for head in [
            "$-2",
            "$+1",
            "$",
            "$x",
            "*-2",
            "%-1",
            "=-1",
            "~-1",
            "$1048577",
            "*400000",
            "%200000",
            "|200000",
            "$18446744073709551615",
            "*18446744073709551615",
            "%18446744073709551615",
            "|18446744073709551615",
            "*99999999999999999999999",
            "$?",
            "*?",
        ] {
            let line = format!("{head}\r\n");
            assert!(Value::default().end(line.as_bytes(), 1 << 20).is_err(), "{head}");
        }
        assert!(Value::default().end(b"*1\r\n*1\r\n$1048576\r\n", 1 << 20).is_err());
        assert!(Value::default().end(&[b'*', b'0'].repeat(20), 1 << 20).is_err());
        assert!(Value::default().end(b"HTTP/1.1 400", 1 << 20).is_err());
        assert!(Value::default().end(b"$1\r\nxyz\r\n", 1 << 20).is_err(), "longer than it said");
    }

    #[test]
    fn depth_costs_no_stack() {
        let mut deep = b"*1\r\n".repeat(100_000);
        deep.extend_from_slice(b":1\r\n");
        let found = Value::default().end(&deep, 1 << 20);
        assert_eq!(found, Ok(Some(0..deep.len())));
    }
}
