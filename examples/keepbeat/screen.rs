//! What standard output can show: how wide it is, which letters it has, whether it has colours.

use std::io::IsTerminal;

use super::terminal;

/// How text is shown.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub colors: bool,
    /// Plain ASCII alone.
    pub ascii: bool,
    pub width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Width {
    /// A pipe or a file: a line is as long as it is.
    Unlimited,
    /// Measured before each line, because a window can change.
    Terminal,
    /// This number of columns.
    Fixed(usize),
}

/// Narrower lines would not be readable.
const NARROWEST: usize = 40;

impl Screen {
    /// Standard output, by the environment and the terminal. `colors` is what the user asked for.
    pub fn new(colors: Option<bool>) -> Screen {
        let is_terminal = std::io::stdout().is_terminal();
        let columns = variable("COLUMNS").and_then(|text| text.parse().ok()).filter(|n| *n > 0);
        let width = match columns {
            _ if !is_terminal => Width::Unlimited,
            Some(columns) => Width::Fixed(columns),
            None => Width::Terminal,
        };
        let colors = colors.unwrap_or_else(|| has_colors(is_terminal));
        Screen { colors, ascii: is_ascii(variable), width }
    }

    /// How many columns a line may have.
    pub fn columns(&self) -> Option<usize> {
        let columns = match self.width {
            Width::Unlimited => None,
            Width::Fixed(columns) => Some(columns),
            Width::Terminal => terminal::columns(),
        };
        columns.map(|columns| columns.max(NARROWEST))
    }

    /// The text in the letters that can be shown.
    pub fn letters(&self, text: &str) -> String {
        if !self.ascii || text.is_ascii() {
            return text.to_owned();
        }
        let mut plain = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                c if c.is_ascii() => plain.push(c),
                'µ' | 'μ' => plain.push('u'),
                '…' => plain.push_str("..."),
                c => plain.extend(c.escape_unicode()),
            }
        }
        plain
    }
}

/// The value of a variable that is not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The variables override the terminal.
fn has_colors(is_terminal: bool) -> bool {
    if variable("NO_COLOR").is_some() {
        return false;
    }
    if variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    is_terminal && variable("TERM").as_deref() != Some("dumb")
}

/// Whether the locale or the terminal has only ASCII letters. Without a locale the answer is no,
/// because most terminals show UTF-8 all the same.
pub fn is_ascii(variable: impl Fn(&str) -> Option<String>) -> bool {
    if variable("TERM").as_deref() == Some("dumb") {
        return true;
    }
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    locale.is_some_and(|locale| {
        let locale = locale.to_lowercase();
        !locale.contains("utf-8") && !locale.contains("utf8")
    })
}
