//! The real disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Entry, EntryKind, Fill, Reading, Store, platform};

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Store for Disk {
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // A name that is not UTF-8 was not written by us, and no checkpoint can name it.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let about = match entry.metadata() {
                Ok(about) => about,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let kind = match about.file_type() {
                t if t.is_file() => EntryKind::File,
                t if t.is_dir() => EntryKind::Folder,
                _ => EntryKind::Other,
            };
            let len = if kind == EntryKind::File { about.len() } else { 0 };
            entries.push(Entry { name, len, kind });
        }
        entries.sort();
        Ok(entries)
    }

    fn read(&self, file: &Path, from: u64) -> io::Result<Reading> {
        let mut handle = File::open(file)?;
        let len = handle.metadata()?.len();
        if from > 0 {
            handle.seek(SeekFrom::Start(from))?;
        }
        Ok(Reading { len, body: Box::new(handle) })
    }

    fn write(&self, file: &Path, fill: &mut Fill<'_>) -> io::Result<()> {
        let handle = OpenOptions::new().write(true).create_new(true).open(file)?;
        let mut out = BufWriter::with_capacity(1 << 16, handle);
        fill(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()
    }

    fn append(&self, file: &Path, at: u64, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut handle = OpenOptions::new().write(true).create(true).truncate(false).open(file)?;
        let len = handle.metadata()?.len();
        if len < at {
            let what = format!("the file has {len} bytes where {at} were written");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        if len > at {
            handle.set_len(at)?;
        }
        handle.seek(SeekFrom::Start(at))?;
        handle.write_all(bytes)?;
        if durable { handle.sync_all() } else { Ok(()) }
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        // The parent of a bare relative name is "", which stands for the current folder.
        let parent = folder.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.make(parent)?;
        }
        let made = fs::create_dir(folder).and_then(|()| platform::sync_folder(parent.unwrap_or(Path::new("."))));
        if made.is_err() {
            // Left there, it would pass for a durable one the next time. One with something in it stays.
            let _ = fs::remove_dir(folder);
        }
        made
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        platform::sync_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        platform::rename(from, to)?;
        platform::sync_folder(to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    fn free(&self, folder: &Path) -> io::Result<Option<u64>> {
        platform::free_bytes(folder)
    }
}
