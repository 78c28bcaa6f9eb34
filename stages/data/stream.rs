//! Bytes of a source file, decompressed on the way and counted: plain, gzip (`.gz`) or Zstandard (`.zst`).

use pleach_runtime::fault::Refusal;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Read-ahead of one file.
const BUFFER: usize = 1 << 16;

/// Opens a file for reading, through the decompressor that its name asks for.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Refusal> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    if file.metadata().is_ok_and(|m| m.len() == 0) {
        return Err(empty(path));
    }
    let plain = BufReader::with_capacity(BUFFER, file);
    Ok(match packing(path) {
        Packing::Plain => Box::new(plain),
        Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(plain))),
        Packing::Zstd => {
            let frames = Frames { state: Frame::Between(Box::new(plain)) };
            Box::new(BufReader::with_capacity(BUFFER, frames))
        }
    })
}

/// How a file's bytes are packed, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As they are.
    Plain,
    /// gzip, any number of members.
    Gzip,
    /// Zstandard, any number of frames.
    Zstd,
}

/// The packing that a file's last extension names.
pub(crate) fn packing(path: &Path) -> Packing {
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("gz") => Packing::Gzip,
        Some("zst" | "zstd") => Packing::Zstd,
        _ => Packing::Plain,
    }
}

/// "byte 17", or "byte 17 of the unpacked text" where the file is compressed.
pub(crate) fn place(path: &Path, offset: u64) -> String {
    match packing(path) {
        Packing::Plain => format!("byte {offset}"),
        _ => format!("byte {offset} of the unpacked text"),
    }
}

/// What every refusal about a file begins with.
pub(crate) fn cannot_read(path: &Path) -> String {
    format!("could not read the text in \"{}\"", path.display())
}

/// The refusal for a file that the system does not hand out, or that is damaged inside its compression.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Refusal {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let hint = match (error.kind(), packing(path)) {
        (NotFound, _) => "check the path; it is taken relative to the folder of the pipeline file",
        (PermissionDenied, _) => "make the file readable for you (chmod u+r)",
        (_, Packing::Gzip) => "the file may be cut short: test it with `gzip -t`",
        (_, Packing::Zstd) => "the file may be cut short: test it with `zstd -t`",
        _ => "check the disk, or copy the file to another one",
    };
    Refusal::new(cannot_read(path), error.to_string(), hint)
}

/// The refusal for a file without a byte.
pub(crate) fn empty(path: &Path) -> Refusal {
    Refusal::new(cannot_read(path), "the file is empty", "put text into it, or leave it out of the sources")
}

/// The frames of a Zstandard file one after another, as `zstd -d` gives them.
struct Frames {
    state: Frame,
}

type Plain = Box<BufReader<File>>;

enum Frame {
    Between(Plain),
    Inside(Box<ruzstd::decoding::StreamingDecoder<Plain, ruzstd::decoding::FrameDecoder>>),
    Ended,
}

impl Read for Frames {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, Frame::Ended) {
                Frame::Ended => return Ok(0),
                Frame::Between(mut plain) => {
                    if plain.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    self.state = match skippable(&mut plain)? {
                        true => Frame::Between(plain),
                        false => Frame::Inside(Box::new(
                            ruzstd::decoding::StreamingDecoder::new(plain)
                                .map_err(|error| std::io::Error::other(format!("zstd: {error}")))?,
                        )),
                    };
                }
                Frame::Inside(mut frame) => {
                    let count = frame.read(out)?;
                    if count > 0 || out.is_empty() {
                        self.state = Frame::Inside(frame);
                        return Ok(count);
                    }
                    self.state = Frame::Between(frame.into_inner());
                }
            }
        }
    }
}

/// Steps over a skippable frame (RFC 8878, 3.1.2) where one stands next.
fn skippable(plain: &mut Plain) -> std::io::Result<bool> {
    let head = plain.fill_buf()?;
    if head.len() < 4 || head[1..4] != [0x2A, 0x4D, 0x18] || head[0] & 0xF0 != 0x50 {
        return Ok(false);
    }
    let mut header = [0u8; 8];
    plain.read_exact(&mut header)?;
    let size = u64::from(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
    std::io::copy(&mut plain.by_ref().take(size), &mut std::io::sink())?;
    Ok(true)
}
