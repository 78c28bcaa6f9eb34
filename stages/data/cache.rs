//! The token cache on disk: the ids of one split laid end to end, with a bit for each that begins a document.
//!
//! ```text
//! 0    8  "PLEACHTK"                     64  32  BLAKE3 of all blocks
//! 8    4  version (1), little endian      96  16  zero
//! 12   4  bytes per id: 2 or 4            112 16  first half of BLAKE3 of bytes 0..112
//! 16   8  ids                             128     blocks
//! 24   8  documents
//! 32  32  fingerprint of sources, tokenizer and options
//!
//! block: 8192 ids, then 1024 bytes of bits (bit i of byte j: id 8j+i begins a document); the last one zero-padded
//! ```

use pleach_runtime::fault::{Fault, FaultKind};
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"PLEACHTK";
const VERSION: u32 = 1;
const HEADER: usize = 128;
/// Ids of one block.
const BLOCK: usize = 8192;
const BITS: usize = BLOCK / 8;

/// What stands in a cache's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes per id: 2 or 4.
    pub width: u32,
    /// How many ids.
    pub tokens: u64,
    /// How many documents begin in it.
    pub documents: u64,
    /// Digest of sources, tokenizer and options.
    pub fingerprint: [u8; 32],
    /// BLAKE3 of the blocks: names the content.
    pub checksum: [u8; 32],
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0u8; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.width.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.documents.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.fingerprint);
        bytes[64..96].copy_from_slice(&self.checksum);
        let seal = blake3::hash(&bytes[..112]);
        bytes[112..].copy_from_slice(&seal.as_bytes()[..16]);
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER]) -> Result<Header, String> {
        let four = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let eight = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let digest = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        if &bytes[..8] != MAGIC {
            return Err("it is not a token cache".into());
        }
        if blake3::hash(&bytes[..112]).as_bytes()[..16] != bytes[112..] {
            return Err("its header is damaged".into());
        }
        if four(8) != VERSION || !matches!(four(12), 2 | 4) {
            return Err(format!("it has version {}, this program reads {VERSION}", four(8)));
        }
        let (tokens, documents) = (eight(16), eight(24));
        Ok(Header { width: four(12), tokens, documents, fingerprint: digest(32), checksum: digest(64) })
    }

    fn block_bytes(&self) -> usize {
        BLOCK * self.width as usize + BITS
    }

    fn file_bytes(&self) -> Option<u64> {
        let blocks = self.tokens.div_ceil(BLOCK as u64);
        blocks.checked_mul(self.block_bytes() as u64)?.checked_add(HEADER as u64)
    }
}

/// Bytes per id that a vocabulary needs.
pub(crate) fn width_of(vocab: usize) -> u32 {
    if vocab <= 1 << 16 { 2 } else { 4 }
}

/// An open cache. It reads what it is asked for and keeps nothing; for another thread open another one.
#[derive(Debug)]
pub struct TokenCache {
    path: PathBuf,
    header: Header,
    file: RefCell<File>,
}

impl TokenCache {
    /// Opens a cache and checks its header and length ([`TokenCache::verify`] checks the rest).
    ///
    /// # Errors
    /// A fault of the disk, also for a file that is damaged or cut short.
    pub fn open(path: &Path) -> Result<TokenCache, Fault> {
        let disk = |error| Fault::disk("read the token cache", path, &error);
        let mut file = File::open(path).map_err(disk)?;
        let length = file.metadata().map_err(disk)?.len();
        let mut bytes = [0u8; HEADER];
        file.read_exact(&mut bytes).map_err(disk)?;
        let header = Header::from_bytes(&bytes).map_err(|why| damaged(path, &why))?;
        if header.file_bytes() != Some(length) {
            return Err(damaged(
                path,
                &format!("it has {length} bytes, its header promises {:?}", header.file_bytes()),
            ));
        }
        Ok(TokenCache { path: path.to_path_buf(), header, file: RefCell::new(file) })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Compares the content with the checksum, in bounded memory.
    ///
    /// # Errors
    /// A fault of the disk.
    pub fn verify(&self) -> Result<(), Fault> {
        let disk = |error| Fault::disk("read the token cache", &self.path, &error);
        let mut file = self.file.borrow_mut();
        file.seek(SeekFrom::Start(HEADER as u64)).map_err(disk)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            let count = file.read(&mut buffer).map_err(disk)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        match hasher.finalize().as_bytes() == &self.header.checksum {
            true => Ok(()),
            false => Err(damaged(&self.path, "its checksum does not fit its content")),
        }
    }

    /// Appends ids `start..start + count` and, for each, whether a document begins there.
    ///
    /// # Errors
    /// A fault of the disk. A range beyond the end is our mistake.
    pub fn read(&self, start: u64, count: usize, ids: &mut Vec<u32>, begins: &mut Vec<bool>) -> Result<(), Fault> {
        assert!(start + count as u64 <= self.header.tokens, "ids {start}+{count} of {}", self.header.tokens);
        let width = self.header.width as usize;
        let mut buffer = Vec::new();
        let (mut at, end) = (start, start + count as u64);
        while at < end {
            let (block, first) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let take = (BLOCK - first).min((end - at) as usize);
            let base = HEADER as u64 + block * self.header.block_bytes() as u64;
            self.fill(base + (first * width) as u64, take * width, &mut buffer)?;
            ids.extend(buffer.chunks_exact(width).map(|id| match *id {
                [a, b] => u32::from(u16::from_le_bytes([a, b])),
                _ => u32::from_le_bytes([id[0], id[1], id[2], id[3]]),
            }));
            let (low, high) = (first / 8, (first + take).div_ceil(8));
            self.fill(base + (BLOCK * width + low) as u64, high - low, &mut buffer)?;
            begins.extend((first..first + take).map(|i| buffer[i / 8 - low] >> (i % 8) & 1 == 1));
            at += take as u64;
        }
        Ok(())
    }

    fn fill(&self, offset: u64, count: usize, buffer: &mut Vec<u8>) -> Result<(), Fault> {
        buffer.resize(count, 0);
        let mut file = self.file.borrow_mut();
        let outcome = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(buffer));
        outcome.map_err(|error| Fault::disk("read the token cache", &self.path, &error))
    }
}

fn damaged(path: &Path, why: &str) -> Fault {
    Fault::new(FaultKind::Disk, format!("the token cache {} is damaged: {why}", path.display()))
}

/// Writes a cache from front to back; it takes its name when it is complete.
pub(crate) struct CacheWriter {
    path: PathBuf,
    file: BufWriter<File>,
    header: Header,
    hasher: blake3::Hasher,
    block: Vec<u8>,
    bits: Vec<u8>,
    filled: usize,
}

impl CacheWriter {
    pub(crate) fn create(path: &Path, width: u32, fingerprint: [u8; 32]) -> Result<CacheWriter, Fault> {
        let part = path.with_extension("part");
        let disk = |error| Fault::disk("write the token cache", &part, &error);
        let mut file = BufWriter::with_capacity(1 << 18, File::create(&part).map_err(disk)?);
        file.write_all(&[0u8; HEADER]).map_err(disk)?;
        Ok(CacheWriter {
            path: path.to_path_buf(),
            file,
            header: Header { width, tokens: 0, documents: 0, fingerprint, checksum: [0; 32] },
            hasher: blake3::Hasher::new(),
            block: Vec::new(),
            bits: vec![0; BITS],
            filled: 0,
        })
    }

    /// Appends ids, given as little-endian bytes of the cache's width; `begins`: a document begins at the first.
    pub(crate) fn append(&mut self, ids: &[u8], begins: bool) -> Result<(), Fault> {
        let width = self.header.width as usize;
        if begins && !ids.is_empty() {
            self.bits[self.filled / 8] |= 1 << (self.filled % 8);
            self.header.documents += 1;
        }
        let mut rest = ids;
        while !rest.is_empty() {
            let take = rest.len().min((BLOCK - self.filled) * width);
            self.block.extend_from_slice(&rest[..take]);
            self.filled += take / width;
            self.header.tokens += (take / width) as u64;
            rest = &rest[take..];
            if self.filled == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.header.tokens == 0
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.block.resize(BLOCK * self.header.width as usize, 0);
        self.block.extend_from_slice(&self.bits);
        self.hasher.update(&self.block);
        let outcome = self.file.write_all(&self.block);
        outcome.map_err(|error| Fault::disk("write the token cache", &self.path, &error))?;
        self.block.clear();
        self.bits.fill(0);
        self.filled = 0;
        Ok(())
    }

    /// Completes the file: header, sync, name.
    pub(crate) fn finish(mut self) -> Result<Header, Fault> {
        if self.filled > 0 {
            self.flush()?;
        }
        self.header.checksum = *self.hasher.finalize().as_bytes();
        let part = self.path.with_extension("part");
        let disk = |error| Fault::disk("write the token cache", &part, &error);
        self.file.seek(SeekFrom::Start(0)).map_err(disk)?;
        self.file.write_all(&self.header.to_bytes()).map_err(disk)?;
        self.file.flush().map_err(disk)?;
        self.file.get_ref().sync_all().map_err(disk)?;
        std::fs::rename(&part, &self.path).map_err(disk)?;
        Ok(self.header)
    }
}

/// Writes a small file whole or not at all: temporary name, sync, rename.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let disk = |error| Fault::disk("write", path, &error);
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = File::create(&temporary).map_err(disk)?;
    file.write_all(bytes).map_err(disk)?;
    file.sync_all().map_err(disk)?;
    std::fs::rename(&temporary, path).map_err(disk)
}
