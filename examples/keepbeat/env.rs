//! Variables that look like settings and are none, so that a typing error is noticed.

use super::nearest;
use super::settings::{KEYS, variable};
use super::shown::typed;

const PREFIX: &str = "KEEPBEAT_";

/// Names of variables that are likely typing errors, and others that are only worth a warning.
pub struct Unknown {
    pub faults: Vec<String>,
    pub warnings: Vec<String>,
}

/// The variables of this process that keepbeat does not read.
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

/// Kubernetes sets variables for each service. For one called keepbeat they are
/// `KEEPBEAT_SERVICE_HOST`, `KEEPBEAT_PORT_80_TCP_ADDR` and others.
fn is_of_kubernetes(name: &str) -> bool {
    let mut words = name.split('_');
    words.any(|word| word == "SERVICE" || word == "PORT")
}
