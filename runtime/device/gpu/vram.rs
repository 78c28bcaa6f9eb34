//! How much memory a device has: wgpu does not tell, its backends do. The one gpu file that differs by system.

/// Bytes of device-local memory, where the backend tells.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn device_memory(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // Safety: the guard is only read from, and nothing it owns is destroyed.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let physical = vulkan.raw_physical_device();
    // Safety: the physical device belongs to this instance, which the adapter keeps alive.
    let memory = unsafe { vulkan.shared_instance().raw_instance().get_physical_device_memory_properties(physical) };
    let heaps = &memory.memory_heaps[..memory.memory_heap_count as usize];
    heaps.iter().filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

/// Metal shares the system's memory; its recommended working set is not exposed through wgpu.
#[cfg(target_vendor = "apple")]
pub(super) fn device_memory(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}
