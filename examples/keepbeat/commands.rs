//! The first word of a command line: a command, a target, or a typing error.

use super::nearest;
use super::shown::typed;

pub const DEMO: &str = "demo";
pub const FIREWALL: &str = "demo-firewall";
pub const EXPLAIN: &str = "explain";
pub const HELP: &str = "help";
pub const VERSION: &str = "version";

pub const ALL: [&str; 5] = [DEMO, FIREWALL, EXPLAIN, HELP, VERSION];

/// The parts of `demo-firewall`, which the demo gives to its own processes.
pub const CLIENT: &str = "client";
pub const SERVER: &str = "server";

/// The command that this word names.
pub fn of(word: &str) -> Option<&'static str> {
    ALL.into_iter().find(|command| *command == word)
}

/// What is wrong with a word that is not a target at all.
pub fn fault(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some(
            "a target is empty: if it came from a shell variable, that variable is not set"
                .to_owned(),
        );
    }
    if text.contains([':', '/', '@', '[', '=', '.']) {
        return None;
    }
    let near = nearest::find(&text.to_lowercase(), &ALL)?;
    Some(format!("`{}` is neither a target nor a command: did you mean `{near}`?", typed(text)))
}
