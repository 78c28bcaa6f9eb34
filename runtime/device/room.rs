//! Room: how much memory a device has for a run, as far as the machine tells, and where the number comes from.

use super::gpu::{AdapterFacts, Kind};
use crate::fault::Refusal;

/// What a device has room for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Room {
    /// Bytes that may be used, leaving the rest of the machine its share; none where nobody tells.
    pub bytes: Option<u64>,
    /// Where the number comes from, or why there is none, in words.
    pub from: String,
    /// Is it the system's memory, which the program's own copies take from too?
    pub shared: bool,
}

impl Room {
    /// Of a device that lives in the system's memory: 70 % of what is available there now.
    pub fn system() -> Room {
        match available() {
            Some(bytes) => Room {
                bytes: Some(share(bytes, 7)),
                from: "70 % of the system's available memory".to_string(),
                shared: true,
            },
            None => Room {
                bytes: None,
                from: "unknown: the system does not tell what is available".to_string(),
                shared: true,
            },
        }
    }

    /// Of an adapter: 80 % of a card's own memory; an adapter that shares the system's memory has no more than the
    /// system has available, whatever its driver says.
    pub fn of(adapter: &AdapterFacts) -> Room {
        match adapter.kind {
            Kind::Integrated | Kind::Software => shared(adapter.memory, Room::system()),
            Kind::Discrete | Kind::Other => own(adapter),
        }
    }

    /// Why so many bytes do not fit, if they do not (exit code 3). Where nobody tells the room, nothing is refused.
    pub fn refuse(&self, bytes: u64, what: &str, hint: &str) -> Option<Refusal> {
        let room = self.bytes.filter(|&room| bytes > room)?;
        let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        let detail = format!("{} are needed; there is room for {} ({})", mib(bytes), mib(room), self.from);
        Some(Refusal::new(what, detail, hint).with_code(3))
    }
}

fn own(adapter: &AdapterFacts) -> Room {
    match adapter.memory {
        Some(memory) => {
            Room { bytes: Some(share(memory, 8)), from: "80 % of the adapter's memory".to_string(), shared: false }
        }
        None => {
            let why = format!("unknown: {} does not tell the memory of {}", adapter.backend, adapter.name);
            Room { bytes: None, from: why, shared: false }
        }
    }
}

/// The less of what the driver and the system offer.
fn shared(memory: Option<u64>, system: Room) -> Room {
    match (memory.map(|memory| share(memory, 8)), system.bytes) {
        (Some(told), bytes) if bytes.is_none_or(|bytes| told < bytes) => {
            Room { bytes: Some(told), from: "80 % of the adapter's memory".to_string(), shared: true }
        }
        _ => Room { from: format!("{}, which the adapter shares", system.from), ..system },
    }
}

fn share(bytes: u64, tenths: u64) -> u64 {
    bytes / 10 * tenths
}

fn available() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.available_memory()).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn adapter(kind: Kind, backend: &str, memory: Option<u64>) -> AdapterFacts {
        AdapterFacts {
            index: 0,
            name: "card".into(),
            kind,
            backend: backend.into(),
            driver: String::new(),
            memory,
            binding_bytes: 4 << 30,
            buffer_bytes: 4 << 30,
            workgroup_bytes: 16 << 10,
            invocations: 256,
            storage_buffers: 8,
            f16: false,
            subgroups: None,
            matrices: Vec::new(),
            lacks: Vec::new(),
        }
    }

    #[test]
    fn an_adapter_without_memory_of_its_own_has_what_the_system_has() {
        let system = |bytes| Room { bytes, from: "the system".into(), shared: true };
        assert_eq!(shared(None, system(Some(700))).bytes, Some(700), "Metal does not tell");
        assert!(shared(None, system(Some(700))).from.contains("shares"));
        assert_eq!(shared(Some(500), system(Some(700))).bytes, Some(400), "the driver's heap is smaller");
        assert_eq!(shared(Some(5000), system(Some(700))).bytes, Some(700), "a heap is not what is free");
        assert_eq!(shared(Some(500), system(None)).bytes, Some(400));
        assert_eq!(shared(None, system(None)).bytes, None);
        for kind in [Kind::Integrated, Kind::Software] {
            let room = Room::of(&adapter(kind, "Metal", None)).bytes.unwrap();
            assert!(room > 0 && room < 1 << 50, "{room}");
        }
    }

    #[test]
    fn a_card_that_does_not_tell_is_said_to_be_unknown_and_refuses_nothing() {
        let unknown = Room::of(&adapter(Kind::Discrete, "Dx12", None));
        assert_eq!(unknown.bytes, None);
        assert!(unknown.from.contains("unknown") && unknown.from.contains("Dx12"), "{}", unknown.from);
        assert_eq!(unknown.refuse(u64::MAX, "too much", "less"), None);
        let known = Room::of(&adapter(Kind::Discrete, "Vulkan", Some(10 << 30)));
        assert_eq!(known.bytes, Some(8 << 30));
        assert_eq!(known.refuse(8 << 30, "it does not fit", "less"), None);
        let refusal = known.refuse((8 << 30) + 1, "it does not fit", "less").unwrap();
        assert_eq!(refusal.code, 3);
        assert!(refusal.detail.contains("8193 MiB") && refusal.detail.contains("8192 MiB"), "{refusal}");
    }
}
