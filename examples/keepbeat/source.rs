//! The text of a configuration file, and its lines as errors show them: with carets below the
//! fault, and without passwords.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::{shown, wrap};

/// Large enough for ten thousand targets with all settings, and reading `/dev/zero` ends.
const LONGEST: u64 = 4 * 1024 * 1024;

pub struct Source {
    path: PathBuf,
    pub text: String,
}

/// Something wrong at a place in the file.
pub struct Fault {
    pub span: Range<usize>,
    pub what: String,
}

impl Source {
    /// # Errors
    ///
    /// A file that cannot be read, with the reason and the remedy.
    pub fn read(path: &Path) -> Result<Source, String> {
        let shown = shown::file(path);
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)).map_err(
            |error| {
                format!("cannot read {shown}: {error}; --print-config writes a file to begin with")
            },
        )?;
        if bytes.len() as u64 > LONGEST {
            return Err(format!("{shown} is longer than 4 MiB: is it the right file?"));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
        Ok(Source { path: path.to_owned(), text })
    }

    /// Relative files are looked for beside this one.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The name of the file.
    pub fn name(&self) -> String {
        shown::file(&self.path)
    }

    /// The fault with its file, line and column, the line itself, and a caret.
    pub fn show(&self, fault: &Fault) -> String {
        let at = self.boundary(fault.span.start);
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |len| at + len);
        let line = self.text[start..end].trim_end_matches('\r');
        let at = (at - start).min(line.len());
        let until = self.boundary(fault.span.end).saturating_sub(start).clamp(at, line.len());
        let number = self.text[..start].matches('\n').count() + 1;
        let column = line[..at].chars().count() + 1;
        let masked = Masked::new(line);
        let (from, to) = (masked.place(at), masked.place(until));
        // Its tabs stay; a `\t` that was typed is two letters.
        let part =
            |part: &str| part.split('\t').map(shown::harmless).collect::<Vec<_>>().join("\t");
        let parts = [&masked.text[..from], &masked.text[from..to], &masked.text[to..]].map(part);
        // A wide letter has as many blanks below it as columns, and a tab has a tab.
        let blank = |c: char| {
            if c == '\t' {
                "\t".to_owned()
            } else {
                " ".repeat(wrap::width(c.encode_utf8(&mut [0; 4])))
            }
        };
        let blanks: String = parts[0].chars().map(blank).collect();
        let carets = "^".repeat(wrap::width(&parts[1]).max(1));
        let margin = " ".repeat(number.to_string().len());
        format!(
            "{}:{number}:{column}: {}\n {number} | {}\n {margin} | {blanks}{carets}",
            self.name(),
            shown::harmless(&fault.what),
            parts.concat()
        )
    }

    /// The next place at or before `at` where a character begins.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// A line in which `***` replaces what may be a secret.
struct Masked {
    text: String,
    hidden: Range<usize>,
}

const STARS: &str = "***";

impl Masked {
    fn new(line: &str) -> Masked {
        let hidden = secret(line).unwrap_or(0..0);
        let mut text = line.to_owned();
        if !hidden.is_empty() {
            text.replace_range(hidden.clone(), STARS);
        }
        Masked { text, hidden }
    }

    /// The new place of a place in the line.
    fn place(&self, at: usize) -> usize {
        if self.hidden.is_empty() || at <= self.hidden.start {
            at
        } else if at < self.hidden.end {
            self.hidden.start
        } else {
            at - self.hidden.len() + STARS.len()
        }
    }
}

/// What must not be shown: the value of a key that sounds like a secret; the user and the password
/// of a URL, also if it is cut off before its `@`; and its query.
fn secret(line: &str) -> Option<Range<usize>> {
    let all = [secret_value(line), secret_login(line), secret_query(line)];
    all.into_iter().flatten().reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
}

fn secret_query(line: &str) -> Option<Range<usize>> {
    let url = line.find("://")?;
    let start = url + line[url..].find('?')? + 1;
    let len = line[start..].find(['"', '\'']).unwrap_or(line.len() - start);
    Some(start..start + len)
}

fn secret_value(line: &str) -> Option<Range<usize>> {
    let sounds_secret = |key: &str| {
        let key = key.to_lowercase();
        key != "password_file"
            && ["pass", "secret", "token", "auth"].iter().any(|s| key.contains(s))
    };
    let equals = line.match_indices('=').map(|(at, _)| at).find(|&at| {
        let before = line[..at].trim_end_matches([' ', '\t', '"', '\'']);
        let is_key = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        sounds_secret(before.rsplit(|c| !is_key(c)).next().unwrap_or(""))
    })?;
    Some(equals + 1..line.len())
}

fn secret_login(line: &str) -> Option<Range<usize>> {
    if let Some(at) = line.rfind('@') {
        let before = &line[..at];
        let url = before.find("://").map(|colon| colon + 3);
        let word = || before.find(['"', '\'', '=']).map(|quote| quote + 1);
        return Some(url.or_else(word).unwrap_or(0)..at);
    }
    let start = line.find("://")? + 3;
    let closed = line[start..].contains(['"', '\'']);
    (!closed).then_some(start..line.len())
}
