//! For host applications: training on a device that the application already has, or on a second one beside it.

pub use wgpu;

use super::{AdapterFacts, Gpu, Options, adapter};
use crate::fault::Refusal;

/// What a host application should request its device with, so that [`from_existing`] accepts it.
pub fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    adapter::device_descriptor(adapter)
}

/// The facts of an adapter that the application holds.
pub fn adapter_facts(adapter: &wgpu::Adapter) -> AdapterFacts {
    adapter::facts_of(0, adapter)
}

/// Trains on the application's own device, which was requested from an adapter with these facts. wgpu has one queue per
/// device, so the application's frames wait behind training submissions (8 ms each with [`Options::shared`]); its error
/// handler and device-lost callback stay in place. Refused (exit code 3) where the device was requested with less than
/// the baseline needs.
pub fn from_existing(
    facts: AdapterFacts,
    device: wgpu::Device,
    queue: wgpu::Queue,
    options: Options,
) -> Result<Gpu, Refusal> {
    let lacks = adapter::lacks(&device.limits());
    if !lacks.is_empty() {
        let hint = "request the device with `share::device_descriptor`";
        return Err(Refusal::new("the application's device cannot train", lacks.join("; "), hint).with_code(3));
    }
    Gpu::assemble(facts, device, queue, options, false)
}

impl Gpu {
    /// The wgpu device and queue.
    pub fn wgpu(&self) -> (&wgpu::Device, &wgpu::Queue) {
        (&self.link.device, &self.link.queue)
    }
}
