//! The recording of diagnoses: appended to a file, for `explain` to read later.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use keepbeat::Event;

use crate::{complain, json};

/// A file that takes each diagnosis with what led to it, until it takes no more.
pub struct Record {
    path: PathBuf,
    file: Option<File>,
}

impl Record {
    /// Goes on behind what is in the file already.
    ///
    /// # Errors
    ///
    /// A file that cannot be written, with the reason.
    pub fn open(path: &Path) -> Result<Record, String> {
        let file = open(path);
        let file =
            file.map_err(|error| format!("--record: cannot write {}: {error}", path.display()));
        Ok(Record { path: path.to_owned(), file: Some(file?) })
    }

    /// Writes what led to a diagnosis, if there is one in the event. A file that takes nothing more
    /// is told once, and holds up nothing.
    pub fn event(&mut self, event: &Event) {
        let lines = json::recording(event);
        let Some(file) = self.file.as_mut().filter(|_| !lines.is_empty()) else { return };
        // At once: others may append to the same file.
        if let Err(error) = file.write_all(lines.as_bytes()) {
            let path = self.path.display();
            complain(&format!("cannot write {path}: {error}; nothing more is recorded"));
            self.file = None;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.is_file() && is_cut_off(path)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether whoever wrote it before was ended in the middle of a line.
fn is_cut_off(path: &Path) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // It may be written and not read: then nobody can tell.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
