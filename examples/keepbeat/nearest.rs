//! "Did you mean": the known word that a mistyped one is nearest to.

/// ` (did you mean `...`?)`, or nothing if no word of the list is near.
pub fn hint(typed: &str, known: &[&str]) -> String {
    let near = known.iter().map(|word| (distance(typed, word), word)).min();
    match near {
        // Two slips, and never so many that every short word is near.
        Some((slips, word)) if slips <= 2 && slips * 2 < word.len() => {
            format!(" (did you mean `{word}`?)")
        }
        _ => String::new(),
    }
}

/// Levenshtein's: letters to add, drop or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
