//! Who imports whom, read from the source: files of the crate, and each mention of another file in
//! them. A name that a module passes on (`pub use`) counts as the file that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// `a::b::c`, from the root of the crate.
type Module = Vec<String>;

/// One file imports another, first in this line.
pub struct Import {
    pub line: usize,
    pub from: String,
    pub to: String,
}

struct File {
    path: String,
    /// Paths as they are written, with their lines.
    mentions: Vec<(usize, Vec<String>)>,
    /// Names that it passes on, and whence.
    passed_on: BTreeMap<String, Vec<String>>,
}

/// The code of the crate without comments and unit tests, line by line.
fn code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// `a::{b, c::{d, e as f}}`: each path, and the name by which it goes here.
fn spread(tree: &str, before: &[String], into: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    let words = |text: &str| -> Vec<String> {
        text.split("::").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let Some((head, rest)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut whole = [before, &words(path)].concat();
        if whole.last().is_some_and(|last| last == "self") && whole.len() > 1 {
            whole.pop();
        }
        let name = if alias.is_empty() { whole.last().cloned() } else { Some(alias.trim().into()) };
        into.extend(name.map(|name| (whole, name)));
        return;
    };
    let before = [before, &words(head)].concat();
    let (mut depth, mut start) = (0, 0);
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    spread(&inner[start..at], &before, into);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn read(path: String, text: &str) -> File {
    let code = code(text);
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    let (mut mentions, mut passed_on) = (Vec::new(), BTreeMap::new());
    let mut rest = 0;
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    while let Some(found) = code[rest..].find("use ") {
        let at = rest + found;
        rest = at + 4;
        let line_start = code[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = code[line_start..at].trim();
        let Some(end) =
            code[at..].find(';').filter(|_| before.is_empty() || before.starts_with("pub"))
        else {
            continue;
        };
        let mut names = Vec::new();
        spread(&code[at + 4..at + end], &[], &mut names);
        for (whole, name) in names {
            if before.is_empty() {
                mentions.push((line_of(at), whole));
            } else {
                passed_on.insert(name, whole);
            }
        }
        rest = at + end;
    }
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            // A longer word, or a path that goes on from here, is met elsewhere.
            if code[..at].ends_with(|letter: char| is_word(letter) || letter == ':') {
                continue;
            }
            let path = code[at..].split(|letter: char| !is_word(letter) && letter != ':').next();
            let words = path.unwrap_or("").split("::").filter(|word| !word.is_empty());
            mentions.push((line_of(at), words.map(str::to_owned).collect()));
        }
    }
    File { path, mentions, passed_on }
}

fn files() -> BTreeMap<Module, File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("src/capi") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let words = path.trim_start_matches("src/").trim_end_matches(".rs");
                let mut module: Module = words.split('/').map(str::to_owned).collect();
                if module.last().is_some_and(|last| last == "mod" || last == "lib") {
                    module.pop();
                }
                found.insert(module, read(path, &text));
            }
        }
    }
    found
}

/// The path from the root, or none where it leaves the crate.
fn absolute(files: &BTreeMap<Module, File>, here: &Module, path: &[String]) -> Option<Module> {
    let ups = path.iter().take_while(|word| *word == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([here, &path[1..]].concat()),
        "super" => Some([here.get(..here.len().checked_sub(ups)?)?, &path[ups..]].concat()),
        first => {
            let child = [here.as_slice(), &[first.to_owned()]].concat();
            files.contains_key(&child).then(|| [here, path].concat())
        }
    }
}

/// The file that has what this path names.
fn home(
    files: &BTreeMap<Module, File>,
    here: &Module,
    path: &[String],
    hops: usize,
) -> Option<Module> {
    let whole = absolute(files, here, path)?;
    let depth = (0..=whole.len()).rev().find(|depth| files.contains_key(&whole[..*depth]))?;
    let (module, rest) = (whole[..depth].to_vec(), &whole[depth..]);
    if let Some(from) = rest.first().and_then(|name| files[&module].passed_on.get(name)) {
        let next = [from.as_slice(), &rest[1..]].concat();
        return if hops == 0 { None } else { home(files, &module, &next, hops - 1) };
    }
    // What lib.rs has itself is macros and the list of modules.
    (!module.is_empty()).then_some(module)
}

/// All imports within the crate, each once.
pub fn all() -> Vec<Import> {
    let files = files();
    assert!(files.len() > 100, "only {} files seen", files.len());
    let mut found = Vec::new();
    for (module, file) in &files {
        let mut seen = BTreeSet::new();
        for (line, path) in &file.mentions {
            let to = home(&files, module, path, 8).filter(|to| to != module);
            let Some(to) = to.filter(|_| !module.is_empty()) else { continue };
            if seen.insert(to.clone()) {
                let to = files[&to].path.clone();
                found.push(Import { line: *line, from: file.path.clone(), to });
            }
        }
    }
    found
}

/// The path of each file.
pub fn paths() -> Vec<String> {
    files().into_values().map(|file| file.path).collect()
}

/// Sets of files that import each other, in circles.
pub fn circles(imports: &[Import]) -> Vec<BTreeSet<String>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        reached.entry(&import.from).or_default().insert(&import.to);
    }
    // The files that can be reached from one, over any number of others.
    let all_from = |start: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(next) = open.pop() {
            for to in reached.get(next).into_iter().flatten() {
                if seen.insert(*to) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let from: BTreeMap<&str, BTreeSet<&str>> =
        reached.keys().map(|file| (*file, all_from(file))).collect();
    let circle = |file: &str| -> BTreeSet<String> {
        let back = |other: &&&str| from.get(**other).is_some_and(|far| far.contains(file));
        from[file].iter().filter(back).map(|other| (*other).to_owned()).collect()
    };
    let all: BTreeSet<BTreeSet<String>> = from.keys().map(|file| circle(file)).collect();
    all.into_iter().filter(|circle| circle.len() > 1).collect()
}
