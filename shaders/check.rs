//! Holds every kernel text to its description and to every back end, without a GPU: naga parses, validates, reflects
//! and translates it for each combination of template variables that tests try.
#![allow(clippy::unwrap_used)]

use crate::PAIRS;
use crate::spec::{Access, Kernel};
use crate::template::kernel_text;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess};

/// Every combination of the values that tests try.
fn combinations(variables: &[(&'static str, &'static [u32])]) -> Vec<Vec<(&'static str, u32)>> {
    variables.iter().fold(vec![Vec::new()], |all, &(name, values)| {
        let with = |value: u32, rest: &Vec<_>| [rest.clone(), vec![(name, value)]].concat();
        all.iter().flat_map(|rest| values.iter().map(move |&value| with(value, rest))).collect()
    })
}

fn parse(kernel: &Kernel, text: &str, capabilities: Capabilities) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(text)));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(text)));
    (module, info)
}

/// Compares what the text declares with what the description says, and both with WebGPU's default limits.
fn reflect(kernel: &Kernel, module: &Module, info: &ModuleInfo) {
    let index = module.entry_points.iter().position(|entry| entry.name == kernel.entry);
    let index = index.unwrap_or_else(|| panic!("{}: no entry point {}", kernel.name, kernel.entry));
    let invocations: u32 = module.entry_points[index].workgroup_size.iter().product();
    assert!((1..=256).contains(&invocations), "{}: {invocations} invocations", kernel.name);
    let uses = info.get_entry_point(index);
    let (mut storage, mut workgroup, mut tick) = (0, 0, false);
    for (handle, variable) in module.global_variables.iter() {
        if uses[handle].is_empty() {
            continue;
        }
        let size = module.types[variable.ty].inner.size(module.to_ctx());
        let binding = variable.binding.map(|b| (b.group, b.binding));
        match variable.space {
            AddressSpace::WorkGroup => workgroup += size,
            AddressSpace::Uniform if binding == Some((0, 0)) => {
                let padded = (size as usize).next_multiple_of(16);
                assert_eq!(padded, kernel.params_size, "{}: size of params", kernel.name);
            }
            AddressSpace::Uniform => {
                assert_eq!(binding, Some((1, 0)), "{}: a uniform that is neither params nor tick", kernel.name);
                tick = true;
            }
            AddressSpace::Storage { access } => {
                let (group, binding) = binding.unwrap();
                assert_eq!(group, 0, "{}", kernel.name);
                let (name, expected) = kernel.storage[binding as usize - 1];
                assert_eq!(variable.name.as_deref(), Some(name), "{}: binding {binding}", kernel.name);
                let writes = access.contains(StorageAccess::STORE);
                assert_eq!(writes, expected == Access::Write, "{}: access of {name}", kernel.name);
                storage += 1;
            }
            _ => panic!("{}: variable {:?}", kernel.name, variable.name),
        }
    }
    assert_eq!(storage, kernel.storage.len(), "{}: storage bindings that the entry uses", kernel.name);
    assert!(storage <= 8, "{}: {storage} storage bindings", kernel.name);
    assert!(workgroup <= 16384, "{}: {workgroup} bytes of workgroup memory", kernel.name);
    assert_eq!(tick, kernel.tick, "{}: use of the tick", kernel.name);
}

fn translate(kernel: &Kernel, module: &Module, info: &ModuleInfo) {
    let named = Some((ShaderStage::Compute, kernel.entry.to_string()));
    let stage = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: kernel.entry.to_string() };
    spv::write_vec(module, info, &spv::Options::default(), Some(&stage))
        .unwrap_or_else(|error| panic!("{}: SPIR-V: {error}", kernel.name));
    let pipeline = msl::PipelineOptions { entry_point: named.clone(), ..Default::default() };
    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    msl::write_string(module, info, &options, &pipeline)
        .unwrap_or_else(|error| panic!("{}: MSL: {error}", kernel.name));
    let pipeline = hlsl::PipelineOptions { entry_point: named };
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V5_1, ..Default::default() };
    let mut out = String::new();
    hlsl::Writer::new(&mut out, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|error| panic!("{}: HLSL: {error}", kernel.name));
}

fn check(kernel: &Kernel) {
    for defines in combinations(kernel.defines) {
        let text = kernel_text(kernel, &defines);
        // No capability at all: the tier that runs everywhere, so also every back end's set.
        let (module, info) = parse(kernel, &text, Capabilities::empty());
        for overrides in combinations(kernel.overrides) {
            let constants = overrides.iter().map(|&(name, value)| (name.to_string(), f64::from(value))).collect();
            let entry = Some((ShaderStage::Compute, kernel.entry));
            let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
                .unwrap_or_else(|error| panic!("{}: {overrides:?}: {error}", kernel.name));
            reflect(kernel, &module, &info);
            translate(kernel, &module, &info);
        }
    }
}

#[test]
fn every_kernel_matches_its_description_and_translates() {
    for pair in PAIRS {
        for kernel in pair.kernels {
            check(kernel);
        }
    }
}
