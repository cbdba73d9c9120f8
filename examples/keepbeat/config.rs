//! The configuration file: TOML with `[defaults]` and `[[target]]`. All faults are reported, not
//! only the first, and each with its place.

use std::ops::Range;
use std::path::Path;

use keepbeat::Target;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::settings::{self, Kind, Settings};
use crate::source::{Fault, Source};
use crate::{nearest, schemes, shown};

/// What `--print-config` prints.
pub const SAMPLE: &str = include_str!("sample.toml");

/// The content of a file.
pub struct Config {
    pub source: Source,
    pub defaults: Settings,
    /// The places of the defaults.
    pub places: Places,
    pub targets: Vec<Entry>,
    /// The faults found so far; the plan checks what the settings mean together.
    pub faults: Vec<Fault>,
}

/// One `[[target]]`.
pub struct Entry {
    pub name: Option<Spanned<String>>,
    pub target: Target,
    /// The place of its URL.
    pub span: Range<usize>,
    pub settings: Settings,
    /// The places of the settings.
    pub places: Places,
}

/// The places of settings, by their keys.
#[derive(Default)]
pub struct Places(Vec<(String, Range<usize>)>);

impl Places {
    pub fn all(&self) -> &[(String, Range<usize>)] {
        &self.0
    }

    /// The place of the first of these keys that is there.
    pub fn find(&self, keys: &[&str]) -> Option<Range<usize>> {
        let mut all = self.0.iter();
        all.find(|(key, _)| keys.contains(&key.as_str())).map(|(_, span)| span.clone())
    }
}

impl Config {
    /// Reads the file, and finds every fault in it.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Config, String> {
        let source = Source::read(path)?;
        let (document, errors) = DeTable::parse_recoverable(&source.text);
        let mut reader = Reader { source: &source, faults: Vec::new() };
        for error in errors {
            let span = error.span().unwrap_or(source.text.len()..source.text.len());
            reader.fault(span, format!("not valid TOML: {}", error.message().to_lowercase()));
        }
        // The parts recovered from broken TOML mislead, so only the faults of the TOML are
        // reported.
        let broken = !reader.faults.is_empty();
        let (defaults, places, targets) = reader.document(document.get_ref());
        let mut faults = reader.faults;
        let mut targets = targets;
        if broken {
            faults.retain(|fault| fault.what.starts_with("not valid TOML"));
            targets.clear();
        }
        Ok(Config { source, defaults, places, targets, faults })
    }
}

struct Reader<'a> {
    source: &'a Source,
    faults: Vec<Fault>,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, what: impl Into<String>) {
        self.faults.push(Fault { span, what: what.into() });
    }

    fn document(&mut self, document: &DeTable) -> (Settings, Places, Vec<Entry>) {
        let (mut defaults, mut places) = (Settings::default(), Places::default());
        let mut targets = Vec::new();
        for (key, value) in document {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("defaults", DeValue::Table(table)) => {
                    for (key, value) in table {
                        places.0.push((key.get_ref().as_ref().to_owned(), key.span()));
                        self.setting(&mut defaults, key, value, &settings::KEYS);
                    }
                    self.contradiction(&defaults, table);
                }
                ("defaults", _) => self.fault(value.span(), "expected a table: write [defaults]"),
                ("target", DeValue::Array(list)) => {
                    for value in list.iter() {
                        targets.extend(self.target(value));
                    }
                }
                ("target", _) => {
                    self.fault(key.span(), "each target is an entry of a list: write [[target]]");
                }
                (other, _) => {
                    let hint = nearest::hint(other, &["defaults", "target"]);
                    let known = "expected [defaults] or [[target]]";
                    self.fault(key.span(), format!("unknown key `{other}`{hint}: {known}"));
                }
            }
        }
        (defaults, places, targets)
    }

    fn target(&mut self, value: &Value) -> Option<Entry> {
        let DeValue::Table(table) = value.get_ref() else {
            self.fault(value.span(), "expected a table: write [[target]], and url below it");
            return None;
        };
        let keys = [&["name", "url"], settings::KEYS.as_slice()].concat();
        let (mut name, mut target) = (None, None);
        let (mut settings, mut places) = (Settings::default(), Places::default());
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => name = self.name(value),
                "url" => target = Some(self.url(value)),
                other => {
                    places.0.push((other.to_owned(), key.span()));
                    self.setting(&mut settings, key, value, &keys);
                }
            }
        }
        self.contradiction(&settings, table);
        let Some(target) = target else {
            self.fault(self.header(value.span()), "this target has no url: add url = 'host:port'");
            return None;
        };
        let (target, span) = target?;
        Some(Entry { name, target, span, settings, places })
    }

    /// Reports two settings of one table if one makes the other useless.
    fn contradiction(&mut self, settings: &Settings, table: &DeTable) {
        let Some((key, fault)) = settings.contradiction() else { return };
        if let Some((key, _)) = table.iter().find(|(known, _)| known.get_ref() == key) {
            self.fault(key.span(), fault);
        }
    }

    /// The first line of a table.
    fn header(&self, span: Range<usize>) -> Range<usize> {
        let text = &self.source.text[span.clone()];
        span.start..span.start + text.find('\n').unwrap_or(text.len())
    }

    /// Reports a number without a unit.
    fn unit(&mut self, value: &Value, number: String) -> Option<String> {
        let what = format!("`{number}` has no unit: write \"{number}s\", or \"{number}ms\"");
        self.fault(value.span(), what);
        None
    }

    fn text(&mut self, value: &Value, example: &str) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            let found = kind(value.get_ref());
            let what = format!("expected text in quotes, as in {example}; this is {found}");
            self.fault(value.span(), what);
        }
        text
    }

    fn name(&mut self, value: &Value) -> Option<Spanned<String>> {
        let text = self.text(value, "name = 'billing'")?;
        match name_fault(&text) {
            None => Some(Spanned::new(value.span(), text)),
            Some(fault) => {
                self.fault(value.span(), fault);
                None
            }
        }
    }

    fn url(&mut self, value: &Value) -> Option<(Target, Range<usize>)> {
        let text = self.text(value, "url = 'redis://10.0.0.5:6379'")?;
        match schemes::target(&text) {
            Ok(target) => Some((target, value.span())),
            Err(fault) => {
                self.fault(value.span(), fault);
                None
            }
        }
    }

    /// One of the keys that `[defaults]` and `[[target]]` share.
    fn setting(&mut self, into: &mut Settings, key: &Spanned<Text>, value: &Value, keys: &[&str]) {
        let name = key.get_ref().as_ref();
        if !settings::KEYS.contains(&name) {
            let hint = nearest::hint(name, keys);
            let what = format!("unknown key `{name}`{hint}: expected {}", keys.join(", "));
            return self.fault(key.span(), what);
        }
        let text = match (settings::kind(name), value.get_ref()) {
            (Kind::Count, DeValue::Integer(number)) => Some(plain(number)),
            (Kind::Count, other) => {
                let found = kind(other);
                let what = format!("expected a whole number, as in {name} = 3; this is {found}");
                self.fault(value.span(), what);
                None
            }
            (Kind::Fraction, DeValue::Integer(number)) => Some(plain(number)),
            (Kind::Fraction, DeValue::Float(number)) => Some(number.to_string()),
            (Kind::Time, DeValue::Integer(number)) => self.unit(value, plain(number)),
            (Kind::Time, DeValue::Float(number)) => self.unit(value, number.to_string()),
            (Kind::Switch, DeValue::Boolean(is)) => Some(is.to_string()),
            (Kind::Switch, other) => {
                let what = format!("expected true or false; this is {}", kind(other));
                self.fault(value.span(), what);
                None
            }
            (Kind::Text("status = '200-399'"), DeValue::Integer(number)) => Some(plain(number)),
            (Kind::Time, _) => self.text(value, &format!("{name} = '10s'")),
            (Kind::Fraction, _) => self.text(value, "jitter = 0.05"),
            (Kind::Text(example), _) => self.text(value, example),
        };
        let Some(text) = text else { return };
        if let Err(fault) = into.set(name, &text, Some(self.source.folder())) {
            self.fault(value.span(), fault);
        }
    }
}

type Text<'i> = toml::de::DeString<'i>;

/// The kind of a value, in words.
fn kind(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The number in digits, whatever base it was written in.
fn plain(number: &DeInteger) -> String {
    let value = i64::from_str_radix(number.as_str(), number.radix());
    value.map_or_else(|_| number.as_str().to_owned(), |value| value.to_string())
}

/// Why `name` cannot be the name of a target, if there is a reason.
pub fn name_fault(name: &str) -> Option<String> {
    if name.trim().is_empty() {
        return Some("the name is empty: write NAME=TARGET, or leave it out".to_owned());
    }
    let control = name.chars().any(shown::misleads);
    control.then(|| "a name must not have line ends or other control characters".to_owned())
}
