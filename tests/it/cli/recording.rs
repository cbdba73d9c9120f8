//! A recording has a limit: the file is put aside when it has grown to it, between two lines.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::{DEAD, Done, Scratch, run};

fn aside(file: &Scratch) -> PathBuf {
    PathBuf::from(format!("{}.1", file.path()))
}

fn whole_lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap();
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("every line is whole");
    }
    text.lines().count()
}

#[test]
fn a_recording_that_has_grown_to_its_limit_is_put_aside_and_a_new_one_begun() {
    let line = format!("{{\"v\":1,\"filler\":\"{}\"}}\n", "x".repeat(1000));
    let almost = (1 << 20) / line.len();
    let file = Scratch::new(&line.repeat(almost));
    fs::write(aside(&file), "the one before\n").unwrap();
    let args = ["--once", "--record-limit", "1MiB", "--record", file.path(), DEAD];
    let Done { code, err, .. } = run(&args);
    assert_eq!((code, err.as_str()), (Some(1), ""));
    assert_eq!(whole_lines(&aside(&file)), almost, "in the place of the one before");
    assert_eq!(whole_lines(Path::new(file.path())), 1, "the diagnosis");
    let Done { code, out, .. } = run(&["explain", file.path()]);
    assert!(code == Some(0) && out.contains("refused"), "{out}");

    // Below the limit it grows on.
    run(&["--once", "--record-limit", "1MiB", "--record", file.path(), DEAD]);
    assert_eq!(whole_lines(Path::new(file.path())), 2);
    fs::remove_file(aside(&file)).unwrap();
}

#[test]
fn one_that_cannot_be_put_aside_is_told_once_and_grows_no_more() {
    let file = Scratch::new(&"{}\n".repeat(400_000));
    // A folder of that name stands in the way.
    fs::create_dir(aside(&file)).unwrap();
    let args = ["--count", "3", "--backoff", "1ms", "--record-limit", "1MiB", "--record"];
    let Done { code, err, .. } =
        run(&[args.as_slice(), &[file.path(), DEAD, "x=127.0.0.1:2"]].concat());
    assert_eq!(code, Some(1));
    assert_eq!((err.matches("cannot be put aside").count(), err.lines().count()), (1, 1), "{err}");
    assert_eq!(whole_lines(Path::new(file.path())), 400_000);
    fs::remove_dir(aside(&file)).unwrap();
    let _ = fs::remove_file(format!("{}.new", file.path()));
}
