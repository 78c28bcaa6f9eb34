//! Pipelines: kernel text to compute pipelines, compiled in parallel and kept for later builds.

use super::health::Link;
use crate::fault::{Fault, FaultKind};
use pleach_shaders::spec::{Access, Dispatch, Kernel};
use std::collections::HashMap;

/// Pipelines kept at most; beyond it the cache starts anew.
const KEPT: usize = 1024;
/// Compiling threads at most.
const THREADS: usize = 8;
/// Stack of a compiling thread: wgpu's shader front end recurses.
const STACK: usize = 8 << 20;

/// What makes two dispatches share a pipeline: the kernel with all its variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    kernel: &'static str,
    defines: Vec<(&'static str, u32)>,
    overrides: Vec<(&'static str, u32)>,
}

/// What makes two kernels share bind group layouts.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Signature {
    /// Is each storage binding read-only?
    storage: Vec<bool>,
    tick: bool,
}

struct Layout {
    group: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

/// The compiled kernels of a device.
pub(super) struct Pipelines {
    checked: bool,
    tick: wgpu::BindGroupLayout,
    layouts: HashMap<Signature, Layout>,
    compiled: HashMap<Key, wgpu::ComputePipeline>,
}

/// A variable's values with the dispatch's choices over the kernel's defaults.
fn resolve(all: &[(&'static str, &'static [u32])], chosen: &[(&'static str, u32)]) -> Vec<(&'static str, u32)> {
    for (name, _) in chosen {
        assert!(all.iter().any(|(known, _)| known == name), "no kernel variable is called {name}");
    }
    let value = |name: &str| chosen.iter().find(|(other, _)| *other == name).map(|&(_, value)| value);
    all.iter().map(|&(name, values)| (name, value(name).unwrap_or(values[0]))).collect()
}

impl Key {
    /// The key of a dispatch.
    pub(super) fn of(dispatch: &Dispatch) -> Key {
        Key {
            kernel: dispatch.kernel.name,
            defines: resolve(dispatch.kernel.defines, &dispatch.defines),
            overrides: resolve(dispatch.kernel.overrides, &dispatch.overrides),
        }
    }
}

impl Pipelines {
    /// An empty cache. `checked` compiles kernels with all of wgpu's run-time checks (slower; for tests).
    pub(super) fn new(link: &mut Link, checked: bool) -> Result<Pipelines, Fault> {
        let tick = link.scoped("the tick layout", |device| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some("tick"),
                entries: &[entry(0, wgpu::BufferBindingType::Uniform)],
            })
        })?;
        Ok(Pipelines { checked, tick, layouts: HashMap::new(), compiled: HashMap::new() })
    }

    /// Layout of bind group 1.
    pub(super) fn tick_layout(&self) -> &wgpu::BindGroupLayout {
        &self.tick
    }

    /// Layout of bind group 0 of a kernel that [`Pipelines::compile`] has seen.
    pub(super) fn group_layout(&self, kernel: &Kernel) -> &wgpu::BindGroupLayout {
        &self.layouts[&signature(kernel)].group
    }

    /// The pipeline of a dispatch that [`Pipelines::compile`] has seen.
    pub(super) fn get(&self, key: &Key) -> &wgpu::ComputePipeline {
        &self.compiled[key]
    }

    /// Compiles what is missing for these dispatches, in parallel.
    pub(super) fn compile<'d>(
        &mut self,
        link: &mut Link,
        dispatches: impl Iterator<Item = &'d Dispatch>,
    ) -> Result<(), Fault> {
        if self.compiled.len() > KEPT {
            self.compiled.clear();
        }
        let mut jobs: Vec<(Key, &'static Kernel)> = Vec::new();
        let mut known: std::collections::HashSet<Key> = self.compiled.keys().cloned().collect();
        for dispatch in dispatches {
            let key = Key::of(dispatch);
            if known.insert(key.clone()) {
                jobs.push((key, dispatch.kernel));
            }
        }
        for (_, kernel) in &jobs {
            self.lay_out(link, kernel)?;
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(jobs.len());
        let (this, device, jobs) = (&*self, &link.device, &jobs);
        let results: Vec<Vec<(Key, Result<wgpu::ComputePipeline, Failure>)>> = std::thread::scope(|scope| {
            let work = move |thread: usize| {
                let mine = jobs.iter().skip(thread).step_by(threads);
                mine.map(|(key, kernel)| (key.clone(), this.one(device, key, kernel))).collect()
            };
            let spawn = |thread: usize| {
                let builder = std::thread::Builder::new().name(format!("compile-{thread}")).stack_size(STACK);
                builder.spawn_scoped(scope, move || work(thread)).expect("a compiling thread starts")
            };
            let handles: Vec<_> = (0..threads).map(spawn).collect();
            handles.into_iter().map(|handle| handle.join().expect("a compiling thread does not panic")).collect()
        });
        link.check()?;
        for (key, result) in results.into_iter().flatten() {
            match result {
                Ok(pipeline) => drop(self.compiled.insert(key, pipeline)),
                Err(Failure::Ours(why)) => panic!("kernel {key:?} does not compile: {why}"),
                Err(Failure::Driver(why)) => {
                    return Err(Fault::new(
                        FaultKind::DeviceLost,
                        format!("the driver failed on {}: {why}", key.kernel),
                    ));
                }
            }
        }
        Ok(())
    }

    fn lay_out(&mut self, link: &mut Link, kernel: &Kernel) -> Result<(), Fault> {
        let signature = signature(kernel);
        if self.layouts.contains_key(&signature) {
            return Ok(());
        }
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
        for (i, &read_only) in signature.storage.iter().enumerate() {
            entries.push(entry(i as u32 + 1, wgpu::BufferBindingType::Storage { read_only }));
        }
        let (tick, has_tick) = (&self.tick, signature.tick);
        let layout = link.scoped(kernel.name, |device| {
            let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries };
            let group = device.create_bind_group_layout(&descriptor);
            let both = [Some(&group), Some(tick)];
            let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel.name),
                bind_group_layouts: if has_tick { &both } else { &both[..1] },
                immediate_size: 0,
            });
            Layout { group, pipeline }
        })?;
        self.layouts.insert(signature, layout);
        Ok(())
    }

    fn one(&self, device: &wgpu::Device, key: &Key, kernel: &Kernel) -> Result<wgpu::ComputePipeline, Failure> {
        let text = pleach_shaders::template::expand(kernel.source, &key.defines);
        // Error scopes belong to a thread, so each compiling thread has its own.
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(text.into()) };
        let module = if self.checked {
            device.create_shader_module(descriptor)
        } else {
            // Safety: the kernels are ours; tests run each with checks on and off and compare every bit.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let constants: Vec<(&str, f64)> = key.overrides.iter().map(|&(name, value)| (name, f64::from(value))).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&self.layouts[&signature(kernel)].pipeline),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: self.checked,
            },
            cache: None,
        });
        let (validation, internal) = (super::adapter::now(validation.pop()), super::adapter::now(internal.pop()));
        match (validation, internal) {
            (Some(error), _) => Err(Failure::Ours(error.to_string())),
            (None, Some(error)) => Err(Failure::Driver(error.to_string())),
            (None, None) => Ok(pipeline),
        }
    }
}

enum Failure {
    Ours(String),
    Driver(String),
}

fn signature(kernel: &Kernel) -> Signature {
    Signature { storage: kernel.storage.iter().map(|&(_, access)| access == Access::Read).collect(), tick: kernel.tick }
}

fn entry(binding: u32, ty: wgpu::BufferBindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
