//! Wraps text to a width: words stay whole, and letters count with their width.

use unicode_width::UnicodeWidthStr;

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, padded with blanks to this number of columns.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The same with the blanks in front.
pub fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The lines of a text, each at most `columns` wide. A wider word has a line of its own.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut taken = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (wide, line) = (width(word), lines.last_mut().expect("there is always one"));
        if line.is_empty() {
            line.push_str(word);
            taken = wide;
        } else if taken + 1 + wide <= columns {
            line.push(' ');
            line.push_str(word);
            taken += 1 + wide;
        } else {
            lines.push(word.to_owned());
            taken = wide;
        }
    }
    lines
}
