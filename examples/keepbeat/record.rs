//! The recording of diagnoses: appended to a file that `explain` reads later. A file at its size
//! limit is renamed, and a new one begins.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keepbeat::Event;

use crate::shown::file as shown;
use crate::{complain, json};

/// A diagnosis takes 5 to 9 KB: ten thousand of them.
pub const LIMIT: u64 = 64 << 20;

/// The file of a recording, until it cannot be written any more.
pub struct Record {
    path: PathBuf,
    file: Option<File>,
    /// The size limit of the file, and of the renamed one.
    limit: u64,
    /// Whether the user was told that the file cannot be renamed.
    told: bool,
}

impl Record {
    /// Appends to what is in the file already.
    ///
    /// # Errors
    ///
    /// A file that cannot be written, with the reason.
    pub fn open(path: &Path, limit: u64) -> Result<Record, String> {
        let file =
            open(path).map_err(|error| format!("--record: cannot write {}: {error}", shown(path)));
        Ok(Record { path: path.to_owned(), file: Some(file?), limit, told: false })
    }

    /// Records the diagnosis of the event, if it has one, with the beats before it. A file that
    /// cannot be written is reported once, and delays nothing.
    pub fn event(&mut self, event: &Event) {
        let lines = json::recording(event);
        if lines.is_empty() || self.file.is_none() {
            return;
        }
        match self.make_room(lines.len() as u64) {
            Ok(()) => self.told = false,
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let (path, mib) = (shown(&self.path), self.limit >> 20);
                    complain(&format!(
                        "{path} has reached {mib} MiB and cannot be put aside: {error}; nothing is \
                         recorded until it can"
                    ));
                }
                return;
            }
        }
        let Some(file) = self.file.as_mut() else { return };
        let before = file.metadata().map(|data| (data.is_file(), data.len()));
        // In one write, because others may append to the same file.
        if let Err(error) = file.write_all(lines.as_bytes()) {
            // Remove what was written of the line.
            if let Ok((true, len)) = before {
                let _ = file.set_len(len);
            }
            let path = shown(&self.path);
            complain(&format!("cannot write {path}: {error}; nothing more is recorded"));
            self.file = None;
        }
    }

    /// Renames a file that would grow over its limit, over the one renamed before. Pipes and
    /// terminals have no limit.
    fn make_room(&mut self, more: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let own = file.metadata()?;
        if !own.is_file() || own.len() == 0 || own.len() + more <= self.limit {
            return Ok(());
        }
        // Another program that writes to the file may have renamed it already.
        let is_own = |data: &fs::Metadata| (data.dev(), data.ino()) == (own.dev(), own.ino());
        let mut aside: OsString = self.path.clone().into();
        aside.push(".1");
        // The new file is opened first: if that fails, the old one stays where it is.
        let mut new: OsString = self.path.clone().into();
        new.push(".new");
        if fs::metadata(&self.path).is_ok_and(|data| is_own(&data)) {
            let file = OpenOptions::new().append(true).create(true).truncate(false).open(&new)?;
            fs::rename(&self.path, aside)?;
            fs::rename(new, &self.path)?;
            self.file = Some(file);
        } else {
            self.file = Some(open(&self.path)?);
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.is_file() && is_cut_off(path)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether the file ends in the middle of a line, because its writer was killed.
fn is_cut_off(path: &Path) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // The file may be writable and not readable. Then nobody can tell.
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
