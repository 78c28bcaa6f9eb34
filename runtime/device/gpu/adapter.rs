//! Adapters: what a machine has, which one is taken and why, and how a device is requested from it.

use super::name::Name;
use crate::fault::Refusal;

/// Which adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The best real GPU: discrete before integrated before others; never a processor that plays one.
    Best,
    /// The adapter with this index in [`adapters`].
    Index(usize),
    /// The first software adapter: lavapipe, SwiftShader, WARP.
    Software,
    /// This one and no other, wherever it stands in the list.
    Named(Name),
}

/// What an adapter is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A card with memory of its own.
    Discrete,
    /// It shares the processor's memory.
    Integrated,
    /// The processor plays a GPU.
    Software,
    /// A virtual machine's GPU, or one that does not say.
    Other,
}

/// An adapter, for `doctor` and for choosing one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AdapterFacts {
    /// Position in the list, best first.
    pub index: usize,
    /// The adapter's own name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// Bytes of memory on the device, where the driver tells.
    pub memory: Option<u64>,
    /// Most bytes of one binding.
    pub binding_bytes: u64,
    /// Most bytes of one buffer.
    pub buffer_bytes: u64,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Most invocations of a workgroup.
    pub invocations: u32,
    /// Most storage buffers of a kernel.
    pub storage_buffers: u32,
    /// 16-bit floating point in shaders.
    pub f16: bool,
    /// Smallest and largest subgroup, where shaders may use subgroups.
    pub subgroups: Option<(u32, u32)>,
    /// Cooperative matrices (`16x16x16 F16 F32`: extents, factors, sum).
    pub matrices: Vec<String>,
    /// What the adapter lacks for Pleach; empty if it can be used.
    pub lacks: Vec<String>,
}

/// All adapters of the machine, best first; ties keep the order of the drivers.
pub fn adapters() -> Vec<AdapterFacts> {
    found().into_iter().map(|(facts, _)| facts).collect()
}

/// Polls a future that is ready at once, as wgpu's are outside of a browser.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("wgpu's futures are ready at once on native platforms"),
    }
}

/// Adapters with their facts, best first.
fn found() -> Vec<(AdapterFacts, wgpu::Adapter)> {
    let mut adapters: Vec<wgpu::Adapter> = enumerate();
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    adapters.into_iter().enumerate().map(|(index, adapter)| (facts_of(index, &adapter), adapter)).collect()
}

/// The instance asks for no debug layers; `WGPU_VALIDATION=1` and its like switch them on.
fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = wgpu::InstanceFlags::empty().with_env();
    descriptor.memory_budget_thresholds.for_resource_creation = Some(95);
    let instance = wgpu::Instance::new(descriptor);
    if !cfg!(windows) {
        return now(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    }
    // Some Windows drivers of integrated GPUs crash when Vulkan lists their matrices, so Vulkan is only asked where it
    // can be worth it: it offers NVIDIA's and discrete cards' cooperative matrices, which DX12 lacks.
    let mut adapters = now(instance.enumerate_adapters(wgpu::Backends::DX12));
    let worth = |info: wgpu::AdapterInfo| info.vendor == NVIDIA || info.device_type == wgpu::DeviceType::DiscreteGpu;
    if adapters.is_empty() || adapters.iter().any(|adapter| worth(adapter.get_info())) {
        adapters.extend(now(instance.enumerate_adapters(wgpu::Backends::VULKAN)));
    }
    adapters
}

/// PCI vendor.
const NVIDIA: u32 = 0x10DE;

/// Lower is better.
fn rank(info: &wgpu::AdapterInfo) -> (u32, u32) {
    let kind = match kind_of(info) {
        Kind::Discrete => 0,
        Kind::Integrated => 1,
        Kind::Other => 2,
        Kind::Software => 3,
    };
    let backend = match (info.backend, info.vendor) {
        (wgpu::Backend::Metal, _) | (wgpu::Backend::Vulkan, NVIDIA) => 0,
        (wgpu::Backend::Dx12, _) => 1,
        (wgpu::Backend::Vulkan, _) => 2,
        _ => 3,
    };
    (kind, backend)
}

fn kind_of(info: &wgpu::AdapterInfo) -> Kind {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::Cpu => Kind::Software,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => Kind::Other,
    }
}

/// The facts of one adapter.
pub(super) fn facts_of(index: usize, adapter: &wgpu::Adapter) -> AdapterFacts {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let matrices = adapter.cooperative_matrix_properties();
    let matrix = |m: wgpu::CooperativeMatrixProperties| {
        format!("{}x{}x{} {:?} {:?}", m.m_size, m.n_size, m.k_size, m.ab_type, m.cr_type)
    };
    AdapterFacts {
        index,
        kind: kind_of(&info),
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        memory: super::vram::device_memory(adapter),
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
        matrices: matrices.into_iter().map(matrix).collect(),
        lacks: lacks(&limits),
        name: info.name,
    }
}

/// What stands below the baseline that every kernel is written for (WebGPU's default limits).
pub(super) fn lacks(limits: &wgpu::Limits) -> Vec<String> {
    let needs = [
        ("invocations of a workgroup", u64::from(limits.max_compute_invocations_per_workgroup), 256),
        ("bytes of workgroup memory", u64::from(limits.max_compute_workgroup_storage_size), 16 << 10),
        ("storage buffers of a kernel", u64::from(limits.max_storage_buffers_per_shader_stage), 8),
        ("bytes of a binding", limits.max_storage_buffer_binding_size, 128 << 20),
        ("workgroups of a dimension", u64::from(limits.max_compute_workgroups_per_dimension), 65535),
    ];
    let short = needs.iter().filter(|(_, has, needs)| has < needs);
    short.map(|(what, has, needs)| format!("{has} {what}, {needs} are needed")).collect()
}

/// What a device is requested with: all limits of the adapter, and no feature beyond the baseline.
pub(super) fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    wgpu::DeviceDescriptor {
        label: Some("pleach"),
        required_limits: adapter.limits(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..wgpu::DeviceDescriptor::default()
    }
}

/// The chosen adapter, or what to do instead (exit code 3).
pub(super) fn choose(choice: &Choice) -> Result<(AdapterFacts, wgpu::Adapter), Refusal> {
    let mut all = found();
    let list = describe(&all);
    let facts: Vec<AdapterFacts> = all.iter().map(|(facts, _)| facts.clone()).collect();
    let fits = |facts: &AdapterFacts| match choice {
        Choice::Best => facts.kind != Kind::Software && facts.lacks.is_empty(),
        Choice::Index(index) => facts.index == *index,
        Choice::Software => facts.kind == Kind::Software && facts.lacks.is_empty(),
        Choice::Named(_) => false,
    };
    let named = if let Choice::Named(name) = choice { name.find(&facts) } else { None };
    let Some(at) = named.or_else(|| facts.iter().position(fits)) else {
        let (what, hint) = match choice {
            Choice::Best => ("found no GPU that can be used".to_string(), "`--device cpu` always works"),
            Choice::Index(index) => (format!("there is no adapter {index}"), "`pleach doctor` lists the adapters"),
            Choice::Named(name) => (format!("the adapter is not there: {name}"), "`pleach doctor` lists the adapters"),
            Choice::Software => (
                "found no software adapter".to_string(),
                "install one (Debian: mesa-vulkan-drivers), or use `--device cpu`, which is faster",
            ),
        };
        return Err(Refusal::new(what, list, hint).with_code(3));
    };
    let (facts, adapter) = all.swap_remove(at);
    if !facts.lacks.is_empty() {
        let what = format!("adapter {} ({}) cannot be used", facts.index, facts.name);
        return Err(Refusal::new(what, facts.lacks.join("; "), "`--device cpu` always works").with_code(3));
    }
    Ok((facts, adapter))
}

fn describe(all: &[(AdapterFacts, wgpu::Adapter)]) -> String {
    if all.is_empty() {
        return "the machine's drivers offer no adapter".to_string();
    }
    let line = |facts: &AdapterFacts| {
        let lacks = if facts.lacks.is_empty() { String::new() } else { format!(": {}", facts.lacks.join("; ")) };
        format!("{} {} ({:?}, {}){lacks}", facts.index, facts.name, facts.kind, facts.backend)
    };
    let lines: Vec<String> = all.iter().map(|(facts, _)| line(facts)).collect();
    format!("adapters: {}", lines.join(", "))
}

/// Opens a device on an adapter.
pub(super) fn request(facts: &AdapterFacts, adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue), Refusal> {
    now(adapter.request_device(&device_descriptor(adapter))).map_err(|error| {
        let what = format!("could not open adapter {} ({})", facts.index, facts.name);
        Refusal::new(what, error.to_string(), "`pleach doctor` tests the adapters; `--device cpu` always works")
            .with_code(3)
    })
}
