//! The one codec of small binary records: a frame with a magic, a version, a length and a checksum round a bincode
//! body.
//!
//! ```text
//! offset 0   16 bytes  magic: which kind of record
//!        16  u32 LE    version of the record's layout
//!        20  u32 LE    codec: 1 = bincode 2, standard configuration (little endian, variable-length integers)
//!        24  u64 LE    length of the body
//!        32  body
//!        end 32 bytes  BLAKE3 of everything before
//! ```
//! Decoding always runs under a limit that follows from the bytes that are really there, so a hostile length cannot
//! make it allocate. Tensors never pass through here. No other module names the codec's crate.

/// For derives in other packages: `#[bincode(crate = "pleach_runtime::store::format::codec")]` under the derive line.
pub use bincode as codec;
pub use bincode::{Decode, Encode};

const CODEC_BINCODE_2: u32 = 1;
const HEAD: usize = 32;
const SUM: usize = 32;

/// A kind of record: its magic, the version written, the oldest version still read, and the most bytes its body may
/// have.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What a person calls it: "manifest".
    pub what: &'static str,
    /// The first 16 bytes.
    pub magic: [u8; 16],
    /// The version that is written.
    pub version: u32,
    /// The oldest version that is read.
    pub oldest: u32,
    /// The longest body in bytes; at most 1 GiB.
    pub limit: usize,
}

/// Why bytes are not a record, in words that name the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Another file, or a damaged one.
    #[error("not a {0}: {1}")]
    Not(&'static str, String),
    /// Written by another version of the program.
    #[error("a {what} of version {found}; this program reads versions {oldest} to {newest}")]
    Version {
        /// The kind.
        what: &'static str,
        /// The version in the file.
        found: u32,
        /// The oldest one read here.
        oldest: u32,
        /// The newest one read here.
        newest: u32,
    },
    /// A value too large for its kind.
    #[error("a {0} of {1} bytes is more than the {2} allowed")]
    TooLarge(&'static str, usize, usize),
}

/// A value as a whole record.
pub fn encode<T: Encode>(kind: &Kind, value: &T) -> Result<Vec<u8>, FormatError> {
    let config = bincode::config::standard().with_limit::<{ 1 << 30 }>();
    let body = bincode::encode_to_vec(value, config)
        .map_err(|e| FormatError::Not(kind.what, format!("could not be encoded: {e}")))?;
    if body.len() > kind.limit {
        return Err(FormatError::TooLarge(kind.what, body.len(), kind.limit));
    }
    let mut out = Vec::with_capacity(HEAD + body.len() + SUM);
    out.extend_from_slice(&kind.magic);
    out.extend_from_slice(&kind.version.to_le_bytes());
    out.extend_from_slice(&CODEC_BINCODE_2.to_le_bytes());
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(&body);
    let sum = blake3::hash(&out);
    out.extend_from_slice(sum.as_bytes());
    Ok(out)
}

/// The version and the body of a record whose magic, version, codec, length and checksum hold.
pub fn open<'a>(kind: &Kind, bytes: &'a [u8]) -> Result<(u32, &'a [u8]), FormatError> {
    let not = |why: String| FormatError::Not(kind.what, why);
    if bytes.len() < HEAD + SUM {
        return Err(not(format!("{} bytes are too few", bytes.len())));
    }
    if bytes[..16] != kind.magic {
        return Err(not("the first 16 bytes are another kind's".to_owned()));
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (sealed, sum) = bytes.split_at(bytes.len() - SUM);
    let (version, codec) = (word(16), word(20));
    // The checksum comes first: a flipped version bit is damage, not a file from the future. Should a future version
    // move the checksum, its files are named damaged here, never misread.
    if blake3::hash(sealed).as_bytes()[..] != sum[..] {
        return Err(not("its checksum does not fit its bytes".to_owned()));
    }
    if version < kind.oldest || version > kind.version {
        let (oldest, newest) = (kind.oldest, kind.version);
        return Err(FormatError::Version { what: kind.what, found: version, oldest, newest });
    }
    if codec != CODEC_BINCODE_2 {
        return Err(not(format!("codec {codec} is unknown")));
    }
    let body = &sealed[HEAD..];
    let said = u64::from(word(24)) | u64::from(word(28)) << 32;
    if said != body.len() as u64 {
        return Err(not(format!("it announces {said} bytes and has {}", body.len())));
    }
    if body.len() > kind.limit {
        return Err(FormatError::TooLarge(kind.what, body.len(), kind.limit));
    }
    Ok((version, body))
}

/// A whole record back as a value. Allocates at most the smallest of 64 KiB, 1, 16, 256 and 1024 MiB that is at least
/// 32 times the body.
pub fn decode<T: Decode<()>>(kind: &Kind, bytes: &[u8]) -> Result<T, FormatError> {
    let (_, body) = open(kind, bytes)?;
    decode_body(kind, body)
}

/// The body of a record, from [`open`], as a value.
pub fn decode_body<T: Decode<()>>(kind: &Kind, body: &[u8]) -> Result<T, FormatError> {
    // The codec's limit counts memory, not file bytes: an empty string is 1 byte there and 24 here, hence the factor.
    let wanted = body.len().saturating_mul(32);
    if wanted <= 1 << 16 {
        decode_within::<T, { 1 << 16 }>(kind, body)
    } else if wanted <= 1 << 20 {
        decode_within::<T, { 1 << 20 }>(kind, body)
    } else if wanted <= 1 << 24 {
        decode_within::<T, { 1 << 24 }>(kind, body)
    } else if wanted <= 1 << 28 {
        decode_within::<T, { 1 << 28 }>(kind, body)
    } else {
        decode_within::<T, { 1 << 30 }>(kind, body)
    }
}

fn decode_within<T: Decode<()>, const LIMIT: usize>(kind: &Kind, body: &[u8]) -> Result<T, FormatError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, used) = bincode::decode_from_slice(body, config)
        .map_err(|e| FormatError::Not(kind.what, format!("its body could not be read: {e}")))?;
    if used != body.len() {
        return Err(FormatError::Not(kind.what, format!("{} bytes follow its end", body.len() - used)));
    }
    Ok(value)
}
