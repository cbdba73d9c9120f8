//! "Did you mean": the known word that a mistyped one is nearest to.

/// ` (did you mean `...`?)`, or nothing if no known word is near.
pub fn hint(typed: &str, known: &[&str]) -> String {
    find(typed, known).map_or_else(String::new, |word| format!(" (did you mean `{word}`?)"))
}

/// The nearest known word, if one is near enough.
pub fn find<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|word| (distance(typed, word), *word)).min();
    // At most two errors, and fewer for short words.
    near.filter(|(slips, word)| *slips <= 2 && slips * 2 < word.len()).map(|(_, word)| word)
}

/// The number of typing errors between two words: letters to add, drop or replace, or two to swap
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let before = &rows[i - 1];
            let replaced = before[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(before[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
