//! Every kernel text for every back end: Vulkan (SPIR-V), Metal (MSL), DX12 (HLSL, shader models 5.1 and 6.2), OpenGL.
//!
//! A translation that succeeds does not mean that the back end has the feature, so each module is validated against
//! what
//! the back end supports first. That a text matches its description (bindings, sizes, limits) is the business of
//! `shaders/check.rs`.

use crate::kernels::pairs;
use ::naga::back::{glsl, hlsl, msl, spv};
use ::naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use ::naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use ::naga::{Module, ShaderStage};
use pleach_shaders::spec::Kernel;
use pleach_shaders::template::expand;

/// Every combination of the values that tests try.
fn combinations(variables: &[(&'static str, &'static [u32])]) -> Vec<Vec<(&'static str, u32)>> {
    variables.iter().fold(vec![Vec::new()], |all, &(name, values)| {
        let with = |rest: &Vec<_>| values.iter().map(|&value| [rest.clone(), vec![(name, value)]].concat()).collect();
        all.iter().flat_map(|rest| -> Vec<_> { with(rest) }).collect()
    })
}

/// A kernel with one choice of variables, ready to translate.
struct Text<'a> {
    kernel: &'a Kernel,
    module: &'a Module,
    info: &'a ModuleInfo,
}

const CHECKED: BoundsCheckPolicies = policies(BoundsCheckPolicy::Restrict);
const UNCHECKED: BoundsCheckPolicies = policies(BoundsCheckPolicy::Unchecked);

const fn policies(policy: BoundsCheckPolicy) -> BoundsCheckPolicies {
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

impl Text<'_> {
    fn fail(&self, target: &str, error: &dyn std::fmt::Display) -> ! {
        panic!("{} does not translate to {target}: {error}", self.kernel.name)
    }

    fn spirv(&self, bounds_check_policies: BoundsCheckPolicies, force_loop_bounding: bool) {
        let stage = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: self.kernel.entry.into() };
        let options = spv::Options { bounds_check_policies, force_loop_bounding, ..spv::Options::default() };
        match spv::write_vec(self.module, self.info, &options, Some(&stage)) {
            Ok(words) => assert_eq!(words[0], 0x0723_0203, "{}: SPIR-V's magic number", self.kernel.name),
            Err(error) => self.fail("SPIR-V", &error),
        }
    }

    fn metal(&self, bounds_check_policies: BoundsCheckPolicies, force_loop_bounding: bool) {
        let entry_point = Some((ShaderStage::Compute, self.kernel.entry.to_string()));
        let stage = msl::PipelineOptions { entry_point, ..msl::PipelineOptions::default() };
        let options =
            msl::Options { lang_version: (2, 4), bounds_check_policies, force_loop_bounding, ..Default::default() };
        match msl::write_string(self.module, self.info, &options, &stage) {
            Ok((text, _)) => assert!(text.contains("kernel void"), "{}: MSL without a kernel", self.kernel.name),
            Err(error) => self.fail("MSL", &error),
        }
    }

    fn direct3d(&self, shader_model: hlsl::ShaderModel) {
        let entry_point = Some((ShaderStage::Compute, self.kernel.entry.to_string()));
        let (mut text, stage) = (String::new(), hlsl::PipelineOptions { entry_point });
        let options = hlsl::Options { shader_model, fake_missing_bindings: true, ..Default::default() };
        match hlsl::Writer::new(&mut text, &options, &stage).write(self.module, self.info, None) {
            Ok(_) => assert!(text.contains("[numthreads("), "{}: HLSL without a kernel", self.kernel.name),
            Err(error) => self.fail("HLSL", &error),
        }
    }

    fn opengl(&self) {
        let stage = glsl::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: self.kernel.entry.into(),
            multiview: None,
        };
        let options = glsl::Options { version: glsl::Version::Desktop(430), ..glsl::Options::default() };
        let mut text = String::new();
        let written = glsl::Writer::new(&mut text, self.module, self.info, &options, &stage, UNCHECKED)
            .and_then(|mut writer| writer.write());
        match written {
            Ok(_) => assert!(text.contains("void main()"), "{}: GLSL without a main", self.kernel.name),
            Err(error) => self.fail("GLSL", &error),
        }
    }
}

/// What a kernel of the baseline may use: nothing that any back end lacks, and nothing that has to be asked for.
fn validate(kernel: &Kernel, text: &str) -> (Module, ModuleInfo) {
    let module = ::naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(text)));
    let backends = [
        ("SPIR-V", spv::supported_capabilities()),
        ("MSL", msl::supported_capabilities()),
        ("HLSL", hlsl::supported_capabilities()),
        ("GLSL", glsl::supported_capabilities()),
        ("the baseline", Capabilities::empty()),
    ];
    let mut infos = backends.map(|(name, capabilities)| {
        let checked = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
        checked.unwrap_or_else(|error| panic!("{} for {name}: {}", kernel.name, error.emit_to_string(text)))
    });
    (module, std::mem::take(&mut infos[4]))
}

fn translate(kernel: &Kernel) -> usize {
    let mut texts = 0;
    for defines in combinations(kernel.defines) {
        let (module, info) = validate(kernel, &expand(kernel.source, &defines));
        for overrides in combinations(kernel.overrides) {
            let constants = overrides.iter().map(|&(name, value)| (name.to_string(), f64::from(value))).collect();
            let entry = Some((ShaderStage::Compute, kernel.entry));
            let (module, info) = ::naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
                .unwrap_or_else(|error| panic!("{}: {overrides:?}: {error}", kernel.name));
            let text = Text { kernel, module: &module, info: &info };
            for (policies, bounded) in [(CHECKED, true), (UNCHECKED, false)] {
                text.spirv(policies, bounded);
                text.metal(policies, bounded);
            }
            text.direct3d(hlsl::ShaderModel::V5_1);
            text.direct3d(hlsl::ShaderModel::V6_2);
            text.opengl();
            texts += 1;
        }
    }
    texts
}

#[test]
fn every_kernel_translates_for_every_back_end() {
    for kernel in pairs().flat_map(|pair| pair.kernels) {
        assert!(translate(kernel) > 0, "{} has no variant", kernel.name);
    }
}

/// The gate itself: what a back end lacks is refused even where its writer would not notice.
#[test]
fn a_kernel_beyond_the_baseline_is_refused() {
    let text = "
        @group(0) @binding(0) var<storage, read_write> x: array<f32>;
        @compute @workgroup_size(8) fn main(@builtin(subgroup_invocation_id) lane: u32) { x[lane] = subgroupAdd(1.0); }";
    let module = ::naga::front::wgsl::parse_str(text).unwrap();
    assert!(Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).is_err());
}
