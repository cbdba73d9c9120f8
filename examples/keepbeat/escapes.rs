//! Bytes written as text: `\r \n \t \0 \\ \xNN` are escapes, everything else is UTF-8.

/// The bytes that `text` stands for.
///
/// # Errors
///
/// Names the escape that is not one of the list.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    keepbeat::protocol::unescaped(text).map_err(|error| error.to_string())
}
