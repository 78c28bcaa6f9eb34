//! The formats on disk: golden bytes that must never change, hostile bytes that must be refused, tensor files of
//! others.

use std::path::Path;

use pleach_runtime::store::format::{self, Decode, Encode, FormatError, Kind};
use pleach_runtime::store::{
    Disk, Facts, Snapshot, TensorRef, load, model_files, read_header, read_manifest, read_tensors, save,
    write_model_folder,
};
use proptest::prelude::*;
use safetensors::SafeTensors;

const KIND: Kind = Kind { what: "sample", magic: *b"PLEACH SAMPLE\n\n\n", version: 3, oldest: 2, limit: 1 << 20 };

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[bincode(crate = "pleach_runtime::store::format::codec")]
struct Sample {
    small: u64,
    large: u64,
    minus: i32,
    half: f64,
    name: String,
    list: Vec<Option<u32>>,
}

fn sample() -> Sample {
    let (name, list) = ("gr\u{fc}n".to_owned(), vec![None, Some(300)]);
    Sample { small: 5, large: 1 << 40, minus: -3, half: 0.5, name, list }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_record_has_its_golden_bytes() {
    let bytes = format::encode(&KIND, &sample()).unwrap();
    let golden = concat!(
        "504c454143482053414d504c450a0a0a", // magic
        "0300000001000000",                 // version 3, codec 1
        "1f00000000000000",                 // 31 bytes of body
        "05fd000000000001000005000000000000e03f056772c3bc6e020001fb2c01",
    );
    assert_eq!(hex(&bytes[..bytes.len() - 32]), golden);
    assert_eq!(&bytes[bytes.len() - 32..], blake3::hash(&bytes[..bytes.len() - 32]).as_bytes());
    assert_eq!(format::decode::<Sample>(&KIND, &bytes).unwrap(), sample());
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 32);
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes
}

#[test]
fn versions_are_refused_by_name() {
    let whole = format::encode(&KIND, &sample()).unwrap();
    for (version, fine) in [(1u32, false), (2, true), (3, true), (4, false), (u32::MAX, false)] {
        let mut bytes = whole.clone();
        bytes[16..20].copy_from_slice(&version.to_le_bytes());
        let read = format::decode::<Sample>(&KIND, &sealed(bytes));
        assert_eq!(read.is_ok(), fine, "version {version}");
        if let Err(error) = read {
            let words = format!("a sample of version {version}; this program reads versions 2 to 3");
            assert_eq!(error.to_string(), words);
        }
    }
    let mut bytes = whole.clone();
    bytes[20] = 2;
    assert!(format::decode::<Sample>(&KIND, &sealed(bytes)).unwrap_err().to_string().contains("codec 2"));
    let large = Sample { name: "x".repeat(2 << 20), ..sample() };
    assert!(matches!(format::encode(&KIND, &large), Err(FormatError::TooLarge("sample", ..))));
}

#[test]
fn hostile_lengths_do_not_allocate() {
    // A frame that is right in everything but its body, which announces 2^40 elements and more. Without a limit the
    // codec asks for that memory and the process aborts; this test would not return.
    for tail in [[0xff; 8], [0, 0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0x10, 0, 0, 0, 0]] {
        let mut body = vec![0xfd];
        body.extend_from_slice(&tail);
        let mut bytes = KIND.magic.to_vec();
        bytes.extend_from_slice(&3u32.to_le_bytes());
        bytes.extend_from_slice(&1u32.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        assert!(format::decode::<Vec<u8>>(&KIND, &bytes).is_err());
        assert!(format::decode::<String>(&KIND, &bytes).is_err());
        assert!(format::decode::<Vec<(u64, u64)>>(&KIND, &bytes).is_err());
        assert!(format::decode::<Vec<Vec<String>>>(&KIND, &bytes).is_err());
    }
}

proptest! {
    #[test]
    fn any_body_under_a_right_frame_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = KIND.magic.to_vec();
        bytes.extend_from_slice(&3u32.to_le_bytes());
        bytes.extend_from_slice(&1u32.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        if let Ok(value) = format::decode::<Sample>(&KIND, &bytes) {
            let again = format::encode(&KIND, &value).unwrap();
            prop_assert_eq!(format::decode::<Sample>(&KIND, &again).unwrap().list, value.list);
        }
        let _ = format::decode::<Vec<(String, Vec<u8>)>>(&KIND, &bytes);
    }

    #[test]
    fn any_header_of_a_tensor_file_is_read_or_refused(
        at in prop::collection::vec((0usize..600, any::<u8>()), 1..6),
        cut in 0usize..600,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = tensor_bytes();
        for (i, b) in at {
            let len = bytes.len();
            bytes[i % len] = b;
        }
        bytes.truncate(bytes.len().max(cut));
        let file = folder.path().join("model.safetensors");
        std::fs::write(&file, &bytes).unwrap();
        let ours = read_tensors(&Disk, &file, &mut |t| matches!(t.dtype.as_str(), "F32" | "F16" | "BF16"));
        // Whatever we accept, the format's own reader accepts.
        if ours.is_ok() { prop_assert!(SafeTensors::deserialize(&bytes).is_ok()); }
    }
}

fn tensor_bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = ([1.0f32, -2.0, 3.5, 0.0, f32::MIN_POSITIVE, 7.0], [0.25f32]);
    let tensors = [TensorRef::new("z.weight", &[2, 3], &a), TensorRef::new("a.bias", &[1], &b)];
    write_model_folder(&Disk, &folder.path().join("m"), &tensors, &[]).unwrap();
    std::fs::read(folder.path().join("m/model.safetensors")).unwrap()
}

#[test]
fn tensor_files_are_read_by_the_formats_own_reader() {
    let bytes = tensor_bytes();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    assert_eq!(header.offset_keys(), ["z.weight", "a.bias"], "in the order given");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let weight = file.tensor("z.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (safetensors::Dtype::F32, &[2, 3][..]));
    assert_eq!(weight.data()[4..8], (-2.0f32).to_le_bytes());
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(header_bytes % 8, 0, "the data is aligned");
}

fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn half_formats_are_widened_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let data: Vec<u8> = halves.iter().chain(&halves).flat_map(|h| h.to_le_bytes()).chain([1; 8]).collect();
    let header = concat!(
        r#"{"b":{"dtype":"BF16","shape":[65536],"data_offsets":[131072,262144]},"#,
        r#""h":{"dtype":"F16","shape":[256,256],"data_offsets":[0,131072]},"#,
        r#""mask":{"dtype":"I64","shape":[],"data_offsets":[262144,262152]}}"#
    );
    std::fs::write(&file, raw(header, &data)).unwrap();
    let names: Vec<String> = read_header(&Disk, &file).unwrap().into_iter().map(|t| t.name).collect();
    assert_eq!(names, ["h", "b", "mask"]);
    let read = read_tensors(&Disk, &file, &mut |t| t.name != "mask").unwrap();
    for (i, bits) in halves.iter().enumerate() {
        let (f16, bf16) = (half::f16::from_bits(*bits).to_f32(), half::bf16::from_bits(*bits).to_f32());
        assert!(read[0].data[i] == f16 || (f16.is_nan() && read[0].data[i].is_nan()));
        assert!(read[1].data[i] == bf16 || (bf16.is_nan() && read[1].data[i].is_nan()));
    }
    let refused = read_tensors(&Disk, &file, &mut |_| true).unwrap_err().to_string();
    assert!(refused.contains("\"mask\" is I64"), "{refused}");
}

#[test]
fn hostile_tensor_files_are_refused_with_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let one = |shape: &str, offsets: &str| {
        raw(&format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#), &[0; 8])
    };
    let two = |a: &str, from: usize, to: usize, b: &str| {
        let info =
            |from, to| format!(r#"{{"dtype":"F32","shape":[{}],"data_offsets":[{from},{to}]}}"#, (to - from) / 4);
        raw(&format!(r#"{{"{a}":{},"{b}":{}}}"#, info(from, to), info(8 - (to - from), 8)), &[0; 8])
    };
    let long = format!(r#"{{"{}":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}"#, "n".repeat(300));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("a header longer than the file", [&(1u64 << 20).to_le_bytes()[..], b"{}"].concat()),
        ("a header longer than memory", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("no JSON", raw("{]", &[])),
        ("shape beyond the data", one("[3]", "[0,12]")),
        ("shape that overflows", one("[4294967296,4294967296,4294967296]", "[0,8]")),
        ("shape of another size", one("[1]", "[0,8]")),
        ("offsets backwards", one("[2]", "[8,0]")),
        ("a hole", one("[1]", "[4,8]")),
        ("data left over", one("[1]", "[0,4]")),
        ("nine dimensions", one("[1,1,1,1,1,1,1,1,2]", "[0,8]")),
        ("a negative dimension", one("[-2]", "[0,8]")),
        ("an unknown number format", raw(r#"{"w":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8])),
        ("a name twice", two("w", 0, 4, "w")),
        ("two tensors on the same bytes", two("v", 0, 8, "w")),
        ("a long name", raw(&long, &[0; 8])),
        ("nesting without end", raw(&"[".repeat(100_000), &[])),
    ];
    for (what, bytes) in cases {
        std::fs::write(&file, bytes).unwrap();
        let error = read_header(&Disk, &file).expect_err(what).to_string();
        assert!(error.contains("model.safetensors"), "{what}: {error}");
    }
    std::fs::write(&file, one("[2]", "[0,8]")).unwrap();
    assert_eq!(read_header(&Disk, &file).unwrap()[0].len, 2);
}

#[test]
fn model_folders_of_others_are_listed_and_pickles_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("pytorch_model.bin"), b"x").unwrap();
    let refused = model_files(&Disk, folder.path()).unwrap_err().to_string();
    assert!(refused.contains("pytorch_model.bin is pickled and never read"), "{refused}");
    let index = at("model.safetensors.index.json");
    let two = r#"{"weight_map":{"a":"model-2.safetensors","b":"model-1.safetensors","c":"model-1.safetensors"}}"#;
    std::fs::write(&index, two).unwrap();
    assert!(model_files(&Disk, folder.path()).is_err(), "its shards are missing");
    std::fs::write(at("model-1.safetensors"), b"").unwrap();
    std::fs::write(at("model-2.safetensors"), b"").unwrap();
    assert_eq!(model_files(&Disk, folder.path()).unwrap(), [at("model-1.safetensors"), at("model-2.safetensors")]);
    for odd in ["../../etc/passwd", "/etc/passwd", "a/b", ""] {
        std::fs::write(&index, format!(r#"{{"weight_map":{{"a":"{odd}"}}}}"#)).unwrap();
        assert!(model_files(&Disk, folder.path()).is_err(), "{odd:?}");
    }
    std::fs::write(at("model.safetensors"), b"").unwrap();
    assert_eq!(model_files(&Disk, folder.path()).unwrap(), [at("model.safetensors")]);
}

fn golden_snapshot<'a>(weights: &'a [f32], moments: &'a [f32]) -> Snapshot<'a> {
    Snapshot {
        model: vec![TensorRef::new("model.norm.weight", &[2, 3], weights)],
        optimizer: vec![TensorRef::new("model.norm.weight.m", &[2, 3], moments)],
        state: vec![("cursor".to_owned(), vec![7, 0, 255]), ("empty".to_owned(), Vec::new())],
        extras: vec![("config.json".to_owned(), b"{\"model_type\":\"qwen3\"}\n".to_vec())],
        validation: Some(1.25),
        milestone: true,
        facts: Facts {
            version: "0.1.0".to_owned(),
            adapter: "cpu".to_owned(),
            driver: "none".to_owned(),
            tiles: "t0".to_owned(),
            shaders: "abc".to_owned(),
        },
        ..Snapshot::new(500, "01-pretrain")
    }
}

const WEIGHTS: [f32; 6] = [0.5, -1.0, 2.0, -4.0, 8.0, 1e-3];
const MOMENTS: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

/// The checkpoint that the first released format wrote opens for ever, and today's program writes the same files.
///
/// It was made by this test's own save; a new format version gets a folder of its own beside it.
#[test]
fn the_golden_checkpoint_of_version_1_opens() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoint-v1/checkpoint-000500-12");
    let checkpoint = load(&Disk, &golden, true).unwrap();
    let m = &checkpoint.manifest;
    assert_eq!((m.step, m.seq, m.parent, m.good, m.validation), (500, 12, Some(11), true, Some(1.25)));
    assert_eq!((m.stage.as_str(), m.milestone, m.last, m.facts.shaders.as_str()), ("01-pretrain", true, false, "abc"));
    assert_eq!((checkpoint.model[0].data.as_slice(), &checkpoint.model[0].shape), (&WEIGHTS[..], &vec![2, 3]));
    assert_eq!(checkpoint.optimizer[0].data, MOMENTS);
    assert_eq!((checkpoint.section("cursor"), checkpoint.section("empty")), (Some(&[7, 0, 255][..]), Some(&[][..])));
    assert_eq!(checkpoint.extra("config.json"), Some(&b"{\"model_type\":\"qwen3\"}\n"[..]));

    let today = tempfile::tempdir().unwrap();
    let written = save(&Disk, today.path(), 12, Some(11), &golden_snapshot(&WEIGHTS, &MOMENTS)).unwrap();
    assert_eq!(written.files, m.files, "today's files have other bytes");
    assert!(load(&Disk, &golden, false).unwrap().optimizer.is_empty());
}

#[test]
fn a_manifest_may_name_only_plain_files_beside_it() {
    let place = tempfile::tempdir().unwrap();
    let manifest = save(&Disk, place.path(), 12, None, &golden_snapshot(&WEIGHTS, &MOMENTS)).unwrap();
    let folder = place.path().join("checkpoint-000500-12");
    let kind = Kind { what: "manifest", magic: *b"PLEACH MANIFEST\n", version: 1, oldest: 1, limit: 1 << 20 };
    std::fs::write(place.path().join("outside"), b"12345").unwrap();
    for odd in ["../outside", "..", "/etc/passwd", "a/b", "", ".hidden", "MANIFEST", "a\\b", "c:", &"n".repeat(200)] {
        let mut hostile = manifest.clone();
        hostile.files[3].name = odd.to_owned();
        std::fs::write(folder.join("MANIFEST"), format::encode(&kind, &hostile).unwrap()).unwrap();
        let why = read_manifest(&Disk, &folder).unwrap_err().to_string();
        assert!(why.contains("is not allowed"), "{odd:?}: {why}");
    }
    let mut hostile = manifest.clone();
    hostile.files[0].len = 1 << 60;
    std::fs::write(folder.join("MANIFEST"), format::encode(&kind, &hostile).unwrap()).unwrap();
    assert!(load(&Disk, &folder, true).unwrap_err().to_string().contains("bytes instead of 1152921504606846976"));
    #[cfg(unix)]
    {
        std::fs::write(folder.join("MANIFEST"), format::encode(&kind, &manifest).unwrap()).unwrap();
        let file = folder.join("config.json");
        std::fs::rename(&file, place.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(place.path().join("elsewhere"), &file).unwrap();
        assert!(load(&Disk, &folder, true).unwrap_err().to_string().contains("no regular file"));
    }
}
