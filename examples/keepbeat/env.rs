//! Variables that look like settings and are none: a slip of the finger must not pass unseen.

use super::nearest;
use super::settings::{KEYS, variable};
use super::shown::typed;

const PREFIX: &str = "KEEPBEAT_";

/// What is wrong with the names of variables, and what is only worth a word.
pub struct Unknown {
    pub faults: Vec<String>,
    pub warnings: Vec<String>,
}

/// The variables of this process that nobody reads.
pub fn unknown() -> Unknown {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(PREFIX)).collect();
    names.sort();
    among(names)
}

fn among(names: Vec<String>) -> Unknown {
    let known: Vec<String> = KEYS.into_iter().map(variable).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut unknown = Unknown { faults: Vec::new(), warnings: Vec::new() };
    for name in names.into_iter().filter(|name| !known.contains(&name.as_str())) {
        let (own, shown) = (&name[PREFIX.len()..], typed(&name));
        let keys: Vec<String> = KEYS.into_iter().map(str::to_uppercase).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if let Some(near) = nearest::find(&own.to_uppercase(), &keys) {
            let what =
                format!("{shown} is not a variable of keepbeat: did you mean {PREFIX}{near}?");
            unknown.faults.push(what);
        } else if !is_of_kubernetes(own) {
            let what =
                "is not a variable of keepbeat and has no effect; --help lists those that do";
            unknown.warnings.push(format!("{shown} {what}"));
        }
    }
    unknown
}

/// A cluster sets such ones for each of its services, and one may be called keepbeat:
/// `KEEPBEAT_SERVICE_HOST`, `KEEPBEAT_PORT_80_TCP_ADDR`.
fn is_of_kubernetes(name: &str) -> bool {
    let mut words = name.split('_');
    words.any(|word| word == "SERVICE" || word == "PORT")
}
