//! The laws of the house, each with its remedy.

use std::fs;
use std::path::{Path, PathBuf};

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The code before the unit tests of the file.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap()
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "examples"].map(|f| root.join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(found.len() > 30, "only {} files seen", found.len());
    found
}

/// Every breach at once, so that one run tells all.
fn hold(law: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{law}\n{}", breaches.join("\n"));
}

fn lines_with(source: &Source, words: &[&str]) -> Vec<String> {
    let code = source.code().lines().enumerate();
    code.filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(n, line)| format!("{}:{}: {}", source.path, n + 1, line.trim()))
        .collect()
}

#[test]
fn the_pulse_is_pure() {
    let impure = [
        "Instant::now",
        "SystemTime",
        "std::net",
        "std::thread",
        "crossbeam",
        "log::",
        "std::env",
        "std::fs",
        "static ",
        "Mutex",
    ];
    let pulse = sources().into_iter().filter(|source| source.is_in("src/pulse"));
    hold(
        "src/pulse decides and never acts: pass time and randomness in, let src/links act",
        pulse.flat_map(|source| lines_with(&source, &impure)).collect(),
    );
}

#[test]
fn a_diagnosis_is_decided_without_clocks_and_sockets() {
    let impure = [
        "Instant::now",
        ".elapsed()",
        "SystemTime",
        "std::thread",
        "std::sync::Mutex",
        "crossbeam",
        "log::",
        "std::env",
        "std::fs",
        "socket2",
        "crate::sys",
        "crate::net",
        "crate::links",
        "crate::links::seat",
        "crate::session",
    ];
    let diagnose = sources().into_iter().filter(|source| source.is_in("src/diagnose"));
    hold(
        "src/diagnose decides: pass times and facts in, let src/links/inquiry look, ask and tell",
        diagnose.flat_map(|source| lines_with(&source, &impure)).collect(),
    );
}

#[test]
fn unsafe_stands_in_sys_alone_each_time_with_its_reason() {
    let all = sources();
    // The C library is a crate of its own, and its border is nothing else.
    let rooms = ["src/sys/", "src/capi/"];
    let is_allowed = |source: &Source| rooms.iter().any(|room| source.is_in(room));
    let elsewhere = all.iter().filter(|source| source.is_in("src") && !is_allowed(source));
    hold(
        "unsafe belongs into src/sys/, behind a safe function",
        elsewhere.flat_map(|source| lines_with(source, &["unsafe "])).collect(),
    );
    let sys: Vec<_> = all.iter().filter(|source| is_allowed(source)).collect();
    assert!(sys.len() > 3, "only {} files of sys seen", sys.len());
    let mut breaches = Vec::new();
    for source in sys {
        let lines: Vec<_> = source.text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let before = lines[n.saturating_sub(4)..n].join("");
            if line.contains("unsafe {") && !before.contains("// SAFETY:") {
                breaches.push(format!("{}:{}", source.path, n + 1));
            }
        }
    }
    hold("say why it is sound: // SAFETY:", breaches);
}

#[test]
fn no_unwrap_outside_tests() {
    let product = sources().into_iter().filter(|s| s.is_in("src") || s.is_in("examples"));
    hold(
        "return the error, or `expect` with the invariant that holds",
        product.flat_map(|source| lines_with(&source, &[".unwrap()"])).collect(),
    );
}

#[test]
fn sockets_are_never_written_with_writev() {
    let product = sources().into_iter().filter(|s| s.is_in("src"));
    hold(
        "writev raises SIGPIPE in a host that has not ignored it: send with MSG_NOSIGNAL",
        product.flat_map(|source| lines_with(&source, &["write_vectored", "IoSlice"])).collect(),
    );
}

#[test]
fn every_file_says_its_idea_and_holds_one() {
    let mut breaches = Vec::new();
    for source in sources() {
        let head = source.text.lines().take_while(|line| line.starts_with("//!")).count();
        if head == 0 {
            breaches.push(format!("{}: open it with a `//!` that says its idea", source.path));
        }
        let lines = source.code().lines().count();
        if lines > 500 {
            breaches.push(format!("{}: {lines} lines: split it by ideas", source.path));
        }
        for (n, line) in source.text.lines().enumerate() {
            if line.chars().count() > 100 && !line.contains("](") && !line.contains("http") {
                breaches.push(format!("{}:{}: over 100 columns", source.path, n + 1));
            }
        }
    }
    hold("files are small and lines short", breaches);
}

#[test]
fn functions_are_short() {
    let mut breaches = Vec::new();
    for source in sources() {
        let lines: Vec<_> = source.text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let text = line.trim_start();
            let is_fn = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "]
                .iter()
                .any(|word| text.starts_with(word));
            let indent = line.len() - text.len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[n..].iter().position(|line| **line == end).unwrap_or(0);
            if is_fn && !text.ends_with(';') && length > 70 {
                breaches.push(format!("{}:{}: {length} lines", source.path, n + 1));
            }
        }
    }
    hold("a function over 70 lines does more than one thing: take one out", breaches);
}

/// Structs of more fields than twenty, with as many as they may have. What is one value to its
/// user, or mirrors a struct of the kernel or of C, is not made simpler by being cut in pieces.
const MANY_FIELDS: &[(&str, usize, &str)] = &[
    ("TcpInfo", 29, "the kernel's struct, field by field"),
    ("Told", 21, "a struct of the C ABI"),
    ("Status", 23, "one value to its user"),
    ("SessionBuilder", 22, "one setting each"),
    ("Settings", 24, "one key of the file each"),
    ("Pulse", 27, "one state machine; what lives as long as a phase stands in it"),
    ("Case", 22, "what is known of a link; what lives shorter stands in structs of its own"),
];

#[test]
fn structs_have_few_fields_and_functions_few_parameters() {
    let mut breaches = Vec::new();
    let product = sources().into_iter().filter(|s| s.is_in("src") || s.is_in("examples"));
    for source in product {
        let lines: Vec<_> = source.code().lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            let place = format!("{}:{}", source.path, n + 1);
            let (end, inner) = (format!("{}}}", " ".repeat(indent)), " ".repeat(indent + 4));
            let name = text.split("struct ").nth(1).filter(|_| text.ends_with('{'));
            if let Some(name) = name.filter(|_| !text.starts_with("//")) {
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
                let body = lines[n + 1..].iter().take_while(|line| **line != end);
                let is_field = |line: &&&str| {
                    let field = line.strip_prefix(&inner).unwrap_or(" ");
                    let word = field.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
                    word.starts_with(|c: char| c.is_alphabetic()) && word.contains(": ")
                };
                let fields = body.filter(is_field).count();
                let most = MANY_FIELDS.iter().find(|(many, ..)| *many == name);
                if fields > most.map_or(20, |(_, most, _)| *most) {
                    breaches.push(format!("{place}: {name} has {fields} fields"));
                }
            }
            let is_ours =
                text.contains("fn ") && !text.starts_with("//") && !text.contains("fn kb_");
            if let Some((_, rest)) = text.split_once('(').filter(|_| is_ours && text.ends_with('('))
            {
                // One parameter a line: what is short enough for one line is few.
                let body = lines[n + 1..].iter().take_while(|line| !line.trim().starts_with(')'));
                let parameters = body.filter(|line| line.starts_with(&inner)).count();
                if rest.is_empty() && parameters > 6 {
                    breaches.push(format!("{place}: {parameters} parameters"));
                }
            }
        }
    }
    hold("give what belongs together a struct of its own, by how long it lives", breaches);
}

#[test]
fn the_table_of_causes_has_each_cause_as_the_code_has_it() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, from_head) = readme.split_once("| word | meaning |").expect("the table of causes");
    let written: Vec<_> =
        from_head.lines().skip(2).take_while(|row| row.starts_with('|')).collect();
    let right: Vec<_> = keepbeat::Cause::ALL
        .iter()
        .map(|c| format!("| `{c}` | {} | {} | {} |", c.sentence(), c.confirm(), c.remedy()))
        .collect();
    let missing = right.iter().filter(|row| !written.contains(&row.as_str()));
    let stale = written.iter().filter(|row| !right.iter().any(|right| right == *row));
    let breaches = missing.map(|row| format!("missing: {row}"));
    let breaches = breaches.chain(stale.map(|row| format!("not in the code: {row}")));
    hold("README.md has the table of src/cause.rs, row for row", breaches.collect());
    assert_eq!(written, right, "in the same order, each once");
}
