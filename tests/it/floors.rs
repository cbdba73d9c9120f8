//! ARCHITECTURE.md has a table of the floors of the house and a list of the circles that are
//! allowed: imports go down, or stay on their floor, and go round in no other circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::imports::{self, Import};

fn architecture() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md")).unwrap()
}

/// The lines between the heading and the next.
fn section<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| !line.trim_end().ends_with(heading));
    assert!(lines.next().is_some(), "ARCHITECTURE.md has no heading {heading:?}");
    lines.take_while(|line| !line.starts_with('#')).collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Path prefixes below src, each with the number of its floor, the lowest first.
fn floors() -> Vec<(String, usize)> {
    let text = architecture();
    let rows: Vec<_> = section(&text, "Floors")
        .into_iter()
        .filter_map(|row| row.strip_prefix("| ")?.split(" | ").nth(1))
        .map(quoted)
        .filter(|names| !names.is_empty())
        .collect();
    assert!(rows.len() > 4, "only {} floors", rows.len());
    // The table is read from the top of the house down.
    let floors = rows.into_iter().rev().enumerate();
    floors.flat_map(|(n, names)| names.into_iter().map(move |name| (name, n))).collect()
}

/// The floor whose prefix fits best.
fn floor_of(floors: &[(String, usize)], path: &str) -> Option<usize> {
    let inner = path.trim_start_matches("src/");
    let is_in = |name: &str| match name.strip_suffix('/') {
        Some(folder) => inner.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        None => inner == name,
    };
    let fits = floors.iter().filter(|(name, _)| is_in(name));
    fits.max_by_key(|(name, _)| name.len()).map(|(_, floor)| *floor)
}

#[test]
fn imports_go_down_only() {
    let floors = floors();
    let homeless: Vec<_> =
        imports::paths().into_iter().filter(|path| floor_of(&floors, path).is_none()).collect();
    assert!(homeless.is_empty(), "on no floor of ARCHITECTURE.md's table: {homeless:?}");
    let stale = floors.iter().filter(|(name, _)| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/").to_owned() + name;
        !fs::exists(path).unwrap()
    });
    let stale: Vec<_> = stale.collect();
    assert!(stale.is_empty(), "ARCHITECTURE.md has floors for what is not there: {stale:?}");
    let is_up = |import: &&Import| floor_of(&floors, &import.to) > floor_of(&floors, &import.from);
    let imports = imports::all();
    let ups: Vec<_> = imports
        .iter()
        .filter(is_up)
        .map(|Import { line, from, to }| {
            format!("{from}:{line} imports {to}, a floor above it: move what it needs down")
        })
        .collect();
    assert!(ups.is_empty(), "{}", ups.join("\n"));
}

#[test]
fn files_go_round_in_no_circle_but_those_with_a_reason() {
    let text = architecture();
    let mut listed: BTreeMap<BTreeSet<String>, bool> = BTreeMap::new();
    for line in section(&text, "Circles") {
        if let Some((names, reason)) = line.strip_prefix("* ").and_then(|l| l.split_once(": ")) {
            assert!(reason.len() > 10, "{line}: why?");
            let names = quoted(names).into_iter().map(|name| format!("src/{name}"));
            listed.insert(names.collect(), false);
        }
    }
    let imports = imports::all();
    let mut breaches = Vec::new();
    for circle in imports::circles(&imports) {
        if let Some(seen) = listed.get_mut(&circle) {
            *seen = true;
            continue;
        }
        let is_inside = |i: &&Import| circle.contains(&i.from) && circle.contains(&i.to);
        let lines = imports.iter().filter(is_inside);
        let lines: Vec<_> =
            lines.map(|i| format!("  {}:{} imports {}", i.from, i.line, i.to)).collect();
        breaches.push(format!("a circle of {}:\n{}", circle.len(), lines.join("\n")));
    }
    let gone = listed.iter().filter(|(_, seen)| !**seen);
    breaches.extend(gone.map(|(circle, _)| format!("listed, and no circle: {circle:?}")));
    assert!(
        breaches.is_empty(),
        "untie a circle by moving what both need into a file below, or list it under \
         \"Circles\" with its reason\n{}",
        breaches.join("\n")
    );
}
