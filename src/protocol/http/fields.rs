//! What the readers of heads have in common, those of links and those of sessions: what is
//! tolerated, and how the values of fields that frame a body are read.

use httparse::ParserConfig;

use crate::protocol::line::number;

/// So many header fields of an answer have room without an allocation.
pub(crate) const USUAL_FIELDS: usize = 64;

/// What clients of the web let pass, since servers and scripts send it; or nothing of that.
pub(crate) fn parser(tolerant: bool) -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(tolerant)
        .allow_obsolete_multiline_headers_in_responses(tolerant)
        .allow_multiple_spaces_in_response_status_delimiters(tolerant)
        .allow_space_before_first_header_name(tolerant)
        .ignore_invalid_headers_in_responses(tolerant);
    config
}

/// What stands between commas, empty or not.
pub(crate) fn values(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// No coding at all: nothing, or a word of RFC 2616 for it.
pub(crate) fn is_identity(coding: &[u8]) -> bool {
    coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
}

/// What `Content-Length` says: once, or several times the same (RFC 9110, section 8.6).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Length(pub(crate) Option<u64>);

impl Length {
    /// One more field of it.
    ///
    /// # Errors
    ///
    /// What is wrong with it: no number, or another one than before.
    pub(crate) fn read(&mut self, value: &[u8]) -> Result<(), String> {
        values(value).try_for_each(|digits| self.read_one(digits))
    }

    fn read_one(&mut self, digits: &[u8]) -> Result<(), String> {
        let number = number(digits).ok_or("its Content-Length is no number")?;
        match self.0.replace(number).filter(|before| *before != number) {
            Some(before) => Err(format!("its Content-Length is both {before} and {number}")),
            None => Ok(()),
        }
    }
}
