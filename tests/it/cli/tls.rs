//! The certificate of a target: its days in the lines, and the warning before it expires.

use std::time::{Duration, SystemTime};

use super::json::{check_keys, objects, of};
use super::process::{Done, Running, Scratch, keepbeat, run};
use crate::tls_link::{Authority, answer_lines};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn the_days_of_a_certificate_are_told_and_few_of_them_are_a_warning() {
    let until = SystemTime::now() + 10 * DAY + DAY / 2;
    let authority = Authority::new(|params| params.not_after = until.into());
    let peer = authority.serve(|stream, _| answer_lines(stream));
    let (ca, target) = (Scratch::new(&authority.ca_pem), format!("tls+line://{}", peer.address));
    let json = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = keepbeat(&["--once", "--json", "--ca", ca.path(), &target]);
        command.args(flags).envs(env.iter().copied());
        let Done { code, out, err } = Running::new(command).done();
        assert_eq!(code, Some(0), "{out}{err}");
        let all = objects(&out);
        all.iter().for_each(check_keys);
        for event in ["connect", "summary"] {
            assert_eq!(of(&all, event)[0]["certificate_days"], 10, "{out}");
        }
        let warned = of(&all, "diagnosis");
        let warned = warned.iter().filter(|it| it["cause"] == "certificate-expiring").count();
        (warned, out)
    };
    let (warned, out) = json(&[], &[]);
    assert_eq!(warned, 1, "{out}");
    assert!(out.contains("\"certificate_days\":10"), "{out}");
    assert_eq!(json(&["--certificate-days", "11"], &[]).0, 1);
    assert_eq!(json(&["--certificate-days", "10"], &[]).0, 0);
    assert_eq!(json(&["--certificate-days", "0"], &[]).0, 0);
    assert_eq!(json(&["--insecure"], &[]).0, 0);
    assert_eq!(json(&[], &[("KEEPBEAT_CERTIFICATE_DAYS", "5")]).0, 0);

    let Done { code, out, .. } = run(&["--once", "--ca", ca.path(), &target]);
    assert_eq!(code, Some(0), "a warning is no failure:\n{out}");
    let line =
        out.lines().find(|line| line.contains("◌ warning")).unwrap_or_else(|| panic!("{out}"));
    let words = format!("the certificate of {} expires in 10 days, on ", peer.address);
    assert!(line.contains("certificate-expiring") && line.contains(&words), "{out}");
    assert!(out.contains("↳ remedy    renew the certificate of 127.0.0.1:"), "{out}");
}

#[test]
fn the_remedy_of_tls_names_the_one_word_that_applies() {
    let authority = Authority::new(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let peer = authority.serve(|stream, _| answer_lines(stream));
    let ca = Scratch::new(&authority.ca_pem);
    let target = format!("tls+line://{}", peer.address);
    let Done { code, out, .. } = run(&["--once", "--ca", ca.path(), &target]);
    assert_eq!(code, Some(1));
    assert!(out.contains("expired: the certificate of 127.0.0.1:"), "{out}");
    assert!(out.contains(" days ago, on 2020-02-01"), "{out}");
    let remedy = out.lines().find(|line| line.contains("↳ remedy")).unwrap();
    assert!(remedy.contains("renew the certificate"), "{out}");
    for other in ["wrong-name", "untrusted", "plaintext", "--insecure"] {
        assert!(!out.contains(other), "{other}:\n{out}");
    }
}
