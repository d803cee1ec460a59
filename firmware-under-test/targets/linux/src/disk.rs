//! Files that survive a crash: logs that are only ever appended to, and small files that are replaced whole.
//!
//! A log is lines of text: eight hexadecimal digits of CRC-32 over the rest, a space, JSON. What was appended is on the disk
//! when [`Log::sync`] returns. A last line that is cut short or fails its check is what a crash leaves, and is cut off; a
//! line that fails its check with others behind it was damaged by something else, and is an error.

use crc::{CRC_32_ISO_HDLC, Crc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Digits and space before the JSON of a line.
const HEAD: usize = 9;
/// Largest log that is read at a start, in octets. A journal with a hundred images is smaller.
pub const MOST_OCTETS: u64 = 256 << 20;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("{path}: cannot {what}: {error}")]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// A line within a log fails its check.
    #[error("{path}: line {line} is damaged, and others follow it; restore the file from a copy or move it away")]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
    },
    /// A line passes its check and says nothing that this version understands.
    #[error("{path}: line {line} was written by another version ({error}); run that version, or move the file away")]
    Unknown {
        /// The log.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// A log is too large.
    #[error("{path} has {octets} octets, more than {MOST_OCTETS}; move it away to begin a new one")]
    TooLarge {
        /// The log.
        path: PathBuf,
        /// Its octets.
        octets: u64,
    },
    /// Another process works in the folder.
    #[error("{path} is held by another process; end that one, or choose another folder")]
    Held {
        /// The lock file.
        path: PathBuf,
    },
}

fn system(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |error| DiskError::System { path, what, error }
}

/// A file that is only appended to.
#[derive(Debug)]
pub struct Append {
    path: PathBuf,
    file: File,
    octets: u64,
}

impl Append {
    /// Opens or creates a file and reads what it holds.
    ///
    /// # Errors
    /// The system refuses, or the file is too large.
    pub fn open(path: &Path) -> Result<(Self, Vec<u8>), DiskError> {
        let is_new = !path.exists();
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(system(path, "open"))?;
        let octets = file.metadata().map_err(system(path, "look at"))?.len();
        if octets > MOST_OCTETS {
            return Err(DiskError::TooLarge { path: path.to_owned(), octets });
        }
        let mut contents = Vec::new();
        file.read_to_end(&mut contents).map_err(system(path, "read"))?;
        if is_new {
            sync_folder_of(path)?;
        }
        let octets = contents.len() as u64;
        Ok((Self { path: path.to_owned(), file, octets }, contents))
    }

    /// Octets of the file.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Cuts the file to its first `octets`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn cut(&mut self, octets: u64) -> Result<(), DiskError> {
        if octets < self.octets {
            self.file.set_len(octets).map_err(system(&self.path, "cut"))?;
            self.file.seek(SeekFrom::End(0)).map_err(system(&self.path, "seek in"))?;
            self.octets = octets;
            self.sync()?;
        }
        Ok(())
    }

    /// Appends; not on the disk before [`Append::sync`].
    ///
    /// # Errors
    /// The system refuses: the disk is full, most likely.
    pub fn append(&mut self, octets: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(octets).map_err(system(&self.path, "append to"))?;
        self.octets = self.octets.saturating_add(octets.len() as u64);
        Ok(())
    }

    /// Waits until what was appended is on the disk.
    ///
    /// # Errors
    /// The system refuses.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(system(&self.path, "write"))
    }
}

/// A log of values of one type.
#[derive(Debug)]
pub struct Log {
    file: Append,
}

impl Log {
    /// Opens or creates a log and reads its values in order; a torn last line is cut off.
    ///
    /// # Errors
    /// The system refuses, or the log is damaged or from another version.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>), DiskError> {
        let (mut file, contents) = Append::open(path)?;
        let mut values = Vec::new();
        let mut good = 0;
        let mut lines = contents.split_inclusive(|octet| *octet == b'\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let Some(json) = checked(line) else {
                if lines.peek().is_some() {
                    return Err(DiskError::Damaged { path: path.to_owned(), line: index + 1 });
                }
                break;
            };
            let value = serde_json::from_slice(json).map_err(|error| DiskError::Unknown {
                path: path.to_owned(),
                line: index + 1,
                error: error.to_string(),
            })?;
            values.push(value);
            good += line.len() as u64;
        }
        file.cut(good)?;
        Ok((Self { file }, values))
    }

    /// Appends a value; not on the disk before [`Log::sync`].
    ///
    /// # Errors
    /// The system refuses.
    pub fn append<T: Serialize>(&mut self, value: &T) -> Result<(), DiskError> {
        let json = serde_json::to_vec(value)
            .map_err(|error| system(&self.file.path, "encode a line of")(io::Error::other(error)))?;
        let mut line = format!("{:08x} ", CRC.checksum(&json)).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        self.file.append(&line)
    }

    /// Waits until what was appended is on the disk.
    ///
    /// # Errors
    /// The system refuses.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.file.sync()
    }

    /// Octets of the log.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.file.octets()
    }
}

/// The JSON of a whole line that passes its check.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (head, json) = line.split_at_checked(HEAD)?;
    let digits = std::str::from_utf8(head).ok()?.strip_suffix(' ')?;
    let want = u32::from_str_radix(digits, 16).ok()?;
    (CRC.checksum(json) == want).then_some(json)
}

/// Writes a file whole: after a crash there is the old one or the new one.
///
/// # Errors
/// The system refuses.
pub fn replace(path: &Path, contents: &[u8]) -> Result<(), DiskError> {
    let aside = path.with_extension("new");
    let mut file = File::create(&aside).map_err(system(&aside, "create"))?;
    file.write_all(contents).map_err(system(&aside, "write"))?;
    file.sync_all().map_err(system(&aside, "write"))?;
    drop(file);
    fs::rename(&aside, path).map_err(system(path, "rename to"))?;
    sync_folder_of(path)
}

/// Makes a folder and those above it.
///
/// # Errors
/// The system refuses.
pub fn make_folder(path: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(path).map_err(system(path, "make"))
}

/// Renames a folder for good.
///
/// # Errors
/// The system refuses.
pub fn rename_folder(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(system(to, "rename to"))?;
    sync_folder_of(to)
}

/// Removes a folder and what is in it, if it is there.
///
/// # Errors
/// The system refuses.
pub fn remove_folder(path: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system(path, "remove")(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Names of what is in a folder, in order.
///
/// # Errors
/// The system refuses.
pub fn list(path: &Path) -> Result<Vec<String>, DiskError> {
    let entries = fs::read_dir(path).map_err(system(path, "list"))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Reads a file of at most `most` octets.
///
/// # Errors
/// The system refuses, or the file is too large.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, DiskError> {
    let file = File::open(path).map_err(system(path, "open"))?;
    let mut contents = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut contents).map_err(system(path, "read"))?;
    let octets = contents.len() as u64;
    if octets > most { Err(DiskError::TooLarge { path: path.to_owned(), octets }) } else { Ok(contents) }
}

fn sync_folder_of(path: &Path) -> Result<(), DiskError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(system(folder, "write"))
}

/// Holds a folder against other processes for as long as it lives; the system frees it when the process dies.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Hold {
    /// Takes hold of a folder, which is made if need be.
    ///
    /// # Errors
    /// The system refuses, or another process holds it.
    pub fn take(folder: &Path) -> Result<Self, DiskError> {
        make_folder(folder)?;
        let path = folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(system(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(DiskError::Held { path }),
            Err(fs::TryLockError::Error(error)) => Err(system(&path, "lock")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    fn written(values: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, old) = Log::open::<String>(&path).unwrap();
        assert!(old.is_empty());
        for value in values {
            log.append(value).unwrap();
        }
        log.sync().unwrap();
        (folder, path)
    }

    fn read_log(path: &Path) -> Result<Vec<String>, DiskError> {
        Log::open::<String>(path).map(|(_, values)| values)
    }

    #[test]
    fn a_log_cut_anywhere_gives_a_prefix_and_goes_on_from_there() {
        let (_folder, path) = written(&["one", "two\nlines", "three"]);
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, values) = Log::open::<String>(&path).unwrap();
            let lines = whole[..cut].iter().filter(|octet| **octet == b'\n').count();
            assert_eq!(values, ["one", "two\nlines", "three"][..lines]);
            log.append(&"next").unwrap();
            assert_eq!(read_log(&path).unwrap().len(), lines + 1);
        }
    }

    #[rstest]
    #[case::first(3, true)]
    #[case::last(30, false)]
    fn damage_before_the_end_is_an_error(#[case] at: usize, #[case] is_error: bool) {
        let (_folder, path) = written(&["first line", "last line"]);
        let mut contents = fs::read(&path).unwrap();
        contents[at] ^= 1;
        fs::write(&path, &contents).unwrap();
        let read = read_log(&path);
        assert_eq!(matches!(read, Err(DiskError::Damaged { line: 1, .. })), is_error, "{read:?}");
    }

    #[test]
    fn a_line_of_another_version_is_named() {
        let (_folder, path) = written(&["text"]);
        let error = Log::open::<u32>(&path).unwrap_err();
        assert!(matches!(error, DiskError::Unknown { line: 1, .. }), "{error}");
    }

    #[test]
    fn a_folder_has_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let hold = Hold::take(folder.path()).unwrap();
        assert!(matches!(Hold::take(folder.path()), Err(DiskError::Held { .. })));
        drop(hold);
        assert!(Hold::take(folder.path()).is_ok());
    }
}
