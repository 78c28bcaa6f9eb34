//! The GPUs that tests run on: lavapipe, SwiftShader, a real one. A missing one is skipped and counted.

use pleach_runtime::device::gpu::{AdapterFacts, Choice, Gpu, Kind, Options, adapters};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// Where Debian's chromium-common puts SwiftShader; `PLEACH_SWIFTSHADER` names another library.
const SWIFTSHADER: &str = "/usr/lib/chromium/libvk_swiftshader.so";

/// An adapter that tests look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Adapter {
    /// Mesa's processor GPU.
    Lavapipe,
    /// Google's: no f16, subgroups of 4.
    SwiftShader,
    /// The best real GPU.
    Real,
}

impl Adapter {
    /// All of them.
    pub(crate) const ALL: [Adapter; 3] = [Adapter::Lavapipe, Adapter::SwiftShader, Adapter::Real];

    fn is(self, facts: &AdapterFacts) -> bool {
        match self {
            Adapter::Lavapipe => facts.name.contains("llvmpipe"),
            Adapter::SwiftShader => facts.name.contains("SwiftShader"),
            Adapter::Real => facts.kind != Kind::Software,
        }
    }
}

/// Runs `test` on an adapter that is opened with `options` and kept for later tests of this process. Without the
/// adapter the test is skipped and counted: a line on stderr, and one in the file that `PLEACH_SKIPPED` names.
pub(crate) fn on(adapter: Adapter, options: Options, name: &str, test: impl FnOnce(&mut Gpu)) {
    type Opened = HashMap<(Adapter, Options), Gpu>;
    static OPENED: OnceLock<Mutex<Opened>> = OnceLock::new();
    let Some(index) = find(adapter) else { return skip(adapter, name) };
    let opened = OPENED.get_or_init(Mutex::default);
    let mut opened = opened.lock().unwrap_or_else(|poisoned| {
        // The test that panicked may have left its device half-way.
        let mut inner = poisoned.into_inner();
        inner.clear();
        inner
    });
    let gpu = opened.entry((adapter, options)).or_insert_with(|| open(index, options));
    gpu.pretend(gpu.own_caps());
    test(gpu);
}

/// A device of its own, for tests that break it.
pub(crate) fn fresh(adapter: Adapter, options: Options, name: &str) -> Option<Gpu> {
    let index = find(adapter);
    if index.is_none() {
        skip(adapter, name);
    }
    index.map(|index| open(index, options))
}

fn open(index: usize, options: Options) -> Gpu {
    Gpu::open_with(&Choice::Index(index), options).unwrap()
}

/// The index of an adapter. With `PLEACH_GPU=require` a machine without any adapter fails its tests.
fn find(adapter: Adapter) -> Option<usize> {
    let all = list();
    let required = std::env::var("PLEACH_GPU").is_ok_and(|value| value == "require");
    assert!(!(required && all.is_empty()), "PLEACH_GPU=require: no adapter (Debian: apt install mesa-vulkan-drivers)");
    all.iter().find(|facts| adapter.is(facts)).map(|facts| facts.index)
}

/// The adapters of this machine, SwiftShader included.
pub(crate) fn list() -> &'static [AdapterFacts] {
    static LIST: OnceLock<Vec<AdapterFacts>> = OnceLock::new();
    LIST.get_or_init(|| {
        add_swiftshader();
        adapters()
    })
}

/// Once per test and adapter.
fn skip(adapter: Adapter, name: &str) {
    static TOLD: Mutex<Vec<(Adapter, String)>> = Mutex::new(Vec::new());
    let mut told = TOLD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if told.contains(&(adapter, name.to_string())) {
        return;
    }
    told.push((adapter, name.to_string()));
    let line = format!("skipped: {name} on {adapter:?}: no such adapter\n");
    // Written directly, because the harness swallows what passing tests print.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("PLEACH_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Tells the Vulkan loader about SwiftShader beside the drivers it finds by itself, unless the caller chose drivers.
fn add_swiftshader() {
    let library = std::env::var_os("PLEACH_SWIFTSHADER").map_or_else(|| PathBuf::from(SWIFTSHADER), PathBuf::from);
    let chosen = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().any(|name| std::env::var_os(name).is_some());
    if chosen || !library.exists() {
        return;
    }
    let manifest = std::env::temp_dir().join(format!("pleach-swiftshader-{}.json", std::process::id()));
    let text = format!(
        "{{\"file_format_version\": \"1.0.0\", \"ICD\": {{\"library_path\": {:?}, \"api_version\": \"1.1.0\"}}}}",
        library
    );
    std::fs::write(&manifest, text).unwrap();
    let mut files = vec![manifest];
    for folder in ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"] {
        let entries = std::fs::read_dir(Path::new(folder)).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json")));
    }
    files[1..].sort();
    let joined = std::env::join_paths(&files).unwrap();
    // Safety: set once, before the first Vulkan instance; nothing else in this process reads these names.
    // (Mesa complains on stderr about a missing XDG_RUNTIME_DIR.)
    unsafe {
        if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir());
        }
        std::env::set_var("VK_ICD_FILENAMES", &joined);
        std::env::set_var("VK_DRIVER_FILES", &joined);
    }
}
