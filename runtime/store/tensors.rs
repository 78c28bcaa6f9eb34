//! Tensor files (safetensors): written as a stream from borrowed memory, read with caps and checked arithmetic.
//!
//! Layout: u64 LE header length, a JSON object {name: {dtype, shape, data_offsets}}, then the data. Format:
//! <https://github.com/huggingface/safetensors>. Reading believes nothing: every size is checked against the bytes that
//! are there before memory is taken. Pickled files are never read.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::{Damage, Store};

/// Caps on a header: bytes, tensors, dimensions of one, bytes of a name.
const MAX_HEADER: u64 = 16 << 20;
const MAX_TENSORS: usize = 100_000;
const MAX_RANK: usize = 8;
const MAX_NAME: usize = 256;
const CHUNK: usize = 1 << 18;

#[cfg(target_endian = "big")]
compile_error!("tensor files are little endian and are written straight from memory");

/// A tensor to be written, borrowed from where it lives.
#[derive(Clone, Debug)]
pub struct TensorRef<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub data: &'a [f32],
}

impl<'a> TensorRef<'a> {
    /// A tensor; the shape must hold exactly the data.
    pub fn new(name: impl Into<String>, shape: &[usize], data: &'a [f32]) -> TensorRef<'a> {
        let tensor = TensorRef { name: name.into(), shape: shape.to_vec(), data };
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape of {}", tensor.name);
        tensor
    }
}

/// A tensor read into memory as f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub data: Vec<f32>,
}

impl Loaded {
    /// The same, borrowed for writing.
    pub fn borrow(&self) -> TensorRef<'_> {
        TensorRef::new(self.name.clone(), &self.shape, &self.data)
    }
}

/// One tensor as a header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Its dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Its number format as the file spells it: "F32", "BF16", ...
    pub dtype: String,
    /// The number of values.
    pub len: usize,
    kind: Dtype,
    start: usize,
    end: usize,
}

/// Bytes that [`write_tensors`] will write for these tensors.
pub(super) fn file_bytes(tensors: &[TensorRef<'_>]) -> u64 {
    let data: u64 = tensors.iter().map(|t| t.data.len() as u64 * 4).sum();
    8 + header(tensors).len() as u64 + data
}

fn header(tensors: &[TensorRef<'_>]) -> String {
    let mut fields = serde_json::Map::new();
    // Older readers of the format refuse a file that does not say which program its tensors are for.
    fields.insert("__metadata__".to_owned(), serde_json::json!({"format": "pt"}));
    let mut at = 0usize;
    for tensor in tensors {
        let end = at + tensor.data.len() * 4;
        let entry = serde_json::json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, end]});
        let twice = fields.insert(tensor.name.clone(), entry);
        assert!(twice.is_none() && tensor.name.len() <= MAX_NAME, "tensor name {:?}", tensor.name);
        at = end;
    }
    let mut text = serde_json::Value::Object(fields).to_string();
    // The data starts at a multiple of 8; the format pads its header with spaces.
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    text
}

/// Streams tensors in the order given; returns whether every value is finite.
pub(super) fn write_tensors(out: &mut dyn Write, tensors: &[TensorRef<'_>]) -> io::Result<bool> {
    let header = header(tensors);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let mut finite = true;
    for tensor in tensors {
        for part in tensor.data.chunks(CHUNK) {
            finite &= part.iter().all(|x| x.is_finite());
            out.write_all(bytemuck::cast_slice(part))?;
        }
    }
    Ok(finite)
}

/// The tensors that a file describes, in the order of their data.
pub fn read_header(store: &dyn Store, file: &Path) -> Result<Vec<TensorEntry>, Damage> {
    let mut reading = store.read(file, 0).map_err(|e| Damage::reading(file, &e))?;
    header_of(&mut reading.body, reading.len, file)
}

/// Reads the tensors that `wanted` chooses, as f32, in the order of their data. F32, F16 and BF16 can be chosen.
pub fn read_tensors(
    store: &dyn Store,
    file: &Path,
    wanted: &mut dyn FnMut(&TensorEntry) -> bool,
) -> Result<Vec<Loaded>, Damage> {
    let mut reading = store.read(file, 0).map_err(|e| Damage::reading(file, &e))?;
    tensors_of(&mut reading.body, reading.len, file, wanted)
}

/// The same from a stream of `len` bytes; on success the stream has been read to its end.
pub(super) fn tensors_of(
    body: &mut dyn Read,
    len: u64,
    file: &Path,
    wanted: &mut dyn FnMut(&TensorEntry) -> bool,
) -> Result<Vec<Loaded>, Damage> {
    let entries = header_of(body, len, file)?;
    let mut tensors = Vec::new();
    let mut bytes = vec![0u8; CHUNK];
    for entry in entries {
        let keep = wanted(&entry);
        if keep && !matches!(entry.kind, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let why = format!("tensor {:?} is {}; only F32, F16 and BF16 are read", entry.name, entry.dtype);
            return Err(Damage::wrong(file, why));
        }
        let mut data = Vec::with_capacity(if keep { entry.len } else { 0 });
        let mut left = entry.end - entry.start;
        while left > 0 {
            let part = &mut bytes[..left.min(CHUNK)];
            body.read_exact(part).map_err(|e| Damage::reading(file, &e))?;
            left -= part.len();
            if keep {
                widen(entry.kind, part, &mut data);
            }
        }
        if keep {
            tensors.push(Loaded { name: entry.name, shape: entry.shape, data });
        }
    }
    Ok(tensors)
}

fn widen(kind: Dtype, bytes: &[u8], data: &mut Vec<f32>) {
    let halves = |bytes: &[u8], wide: fn(u16) -> f32, data: &mut Vec<f32>| {
        data.extend(bytes.chunks_exact(2).map(|b| wide(u16::from_le_bytes([b[0], b[1]]))));
    };
    match kind {
        Dtype::F32 => data.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        Dtype::F16 => halves(bytes, |h| half::f16::from_bits(h).to_f32(), data),
        Dtype::BF16 => halves(bytes, |h| f32::from_bits(u32::from(h) << 16), data),
        other => unreachable!("{other:?} was refused before"),
    }
}

fn header_of(body: &mut dyn Read, len: u64, file: &Path) -> Result<Vec<TensorEntry>, Damage> {
    let mut word = [0u8; 8];
    body.read_exact(&mut word).map_err(|e| Damage::reading(file, &e))?;
    let size = u64::from_le_bytes(word);
    if size > MAX_HEADER || size > len.saturating_sub(8) {
        return Err(Damage::wrong(file, format!("a header of {size} bytes in a tensor file of {len}")));
    }
    let mut text = vec![0u8; size as usize];
    body.read_exact(&mut text).map_err(|e| Damage::reading(file, &e))?;
    let names: Names = serde_json::from_slice(&text).map_err(|e| Damage::wrong(file, format!("header: {e}")))?;
    let mut entries = names.0;
    // An empty tensor shares its offset with the next one: it comes first, and the name settles what is left.
    entries.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
    let mut at = 0usize;
    for entry in &entries {
        if entry.start != at {
            return Err(Damage::wrong(file, format!("tensor {:?} leaves a hole or overlaps another", entry.name)));
        }
        at = entry.end;
    }
    if at as u64 != len - 8 - size {
        let why = format!("the header describes {at} bytes of data and the file has {}", len - 8 - size);
        return Err(Damage::wrong(file, why));
    }
    Ok(entries)
}

/// A header's tensors, checked one by one; serde's own maps would keep the last of two equal names in silence.
struct Names(Vec<TensorEntry>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Names, D::Error> {
        from.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.len() > MAX_NAME || !seen.insert(name.clone()) || seen.len() > MAX_TENSORS {
                return Err(A::Error::custom(format!("tensor {name:?} is named twice, too long, or one too many")));
            }
            if name == "__metadata__" {
                map.next_value::<HashMap<String, String>>()?;
                continue;
            }
            let info: TensorInfo = map.next_value()?;
            entries.push(entry_of(name, info).map_err(A::Error::custom)?);
        }
        Ok(Names(entries))
    }
}

fn entry_of(name: String, info: TensorInfo) -> Result<TensorEntry, String> {
    let TensorInfo { dtype: kind, shape, data_offsets: (start, end) } = info;
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let bits = count.and_then(|n| n.checked_mul(kind.bitsize()));
    match (count, bits, end.checked_sub(start)) {
        (Some(len), Some(bits), Some(span)) if bits.div_ceil(8) == span && shape.len() <= MAX_RANK => {
            Ok(TensorEntry { name, shape, dtype: format!("{kind:?}"), len, kind, start, end })
        }
        _ => Err(format!("tensor {name:?}: shape {shape:?} of {kind:?} does not fit bytes {start}..{end}")),
    }
}
