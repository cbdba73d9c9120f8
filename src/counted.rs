//! A number with its noun: `1 beat`, `3 beats`.

/// The number with the noun that fits it.
pub(crate) fn counted(n: u64, one: &str, more: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {more}") }
}
