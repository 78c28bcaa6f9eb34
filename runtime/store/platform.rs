//! What differs between operating systems about files; nothing else in the store asks which one it runs on.
//!
//! Linux: `fsync` on files and folders. macOS: the standard library's `sync_all` is F_FULLFSYNC, on folders too.
//! Windows: folders cannot be synced (NTFS journals their entries), and a rename fails while a virus scanner holds a
//! file open.

use std::io;
use std::path::Path;

/// Makes the entries of a folder durable.
#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Folders have no sync on Windows: only tells whether the folder is there.
#[cfg(windows)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::metadata(folder).map(|_| ())
}

/// Renames, without a sync.
#[cfg(unix)]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Renames, without a sync; tries five times while another program holds a file of it open.
#[cfg(windows)]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut wait = std::time::Duration::from_millis(20);
    for _ in 0..4 {
        match std::fs::rename(from, to) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied || e.raw_os_error() == Some(32) => {
                std::thread::sleep(wait);
                wait *= 2;
            }
            done => return done,
        }
    }
    std::fs::rename(from, to)
}

/// Bytes free to this user on the disk of a folder.
#[cfg(unix)]
pub(super) fn free_bytes(folder: &Path) -> io::Result<Option<u64>> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(Some(disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// Bytes free to this user on the disk of a folder.
#[cfg(windows)]
pub(super) fn free_bytes(folder: &Path) -> io::Result<Option<u64>> {
    use std::os::windows::ffi::OsStrExt;
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetDiskFreeSpaceExW(folder: *const u16, free: *mut u64, total: *mut u64, all_free: *mut u64) -> i32;
    }
    let wide: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    let mut free = 0u64;
    // SAFETY: the path ends in a zero and outlives the call; the two last outputs may be null by the function's
    // contract.
    let ok = unsafe { GetDiskFreeSpaceExW(wide.as_ptr(), &mut free, std::ptr::null_mut(), std::ptr::null_mut()) };
    if ok == 0 { Err(io::Error::last_os_error()) } else { Ok(Some(free)) }
}
