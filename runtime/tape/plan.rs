//! The memory planner: lifetimes in, slots and offsets out, before anything is allocated.

/// Something that needs memory for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Bytes, rounded up to the alignment by the planner.
    pub bytes: u64,
    /// First call that touches it.
    pub first: usize,
    /// Last call that touches it.
    pub last: usize,
}

/// Where everything lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Slot of each item.
    pub slot: Vec<usize>,
    /// Byte offset of each item in its slot.
    pub offset: Vec<u64>,
    /// Bytes of each slot.
    pub slots: Vec<u64>,
}

impl Plan {
    /// Bytes of all slots.
    pub fn total(&self) -> u64 {
        self.slots.iter().sum()
    }
}

/// Places items so that two that live at the same call never overlap and no two items of a `conflict` pair (one read,
/// the other written by the same dispatch) share a slot. `slot_max` bounds a slot in bytes; a fuller one spills over
/// into a new slot. The cpu passes no conflicts.
pub fn plan(items: &[Item], conflicts: &[(usize, usize)], align: u64, slot_max: u64) -> Plan {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(items[i].bytes), items[i].first, i));
    let mut enemies = vec![Vec::new(); items.len()];
    for &(a, b) in conflicts {
        enemies[a].push(b);
        enemies[b].push(a);
    }
    let mut out = Plan { slot: vec![usize::MAX; items.len()], offset: vec![0; items.len()], slots: Vec::new() };
    let mut placed: Vec<Vec<usize>> = Vec::new();
    for i in order {
        let bytes = items[i].bytes.next_multiple_of(align);
        let mut best: Option<(u64, usize, u64)> = None;
        for slot in 0..placed.len() {
            if enemies[i].iter().any(|&e| out.slot[e] == slot) {
                continue;
            }
            let offset = first_gap(items, &out.offset, &placed[slot], i, bytes, align);
            let growth = (offset + bytes).saturating_sub(out.slots[slot]);
            if offset + bytes <= slot_max && best.is_none_or(|(least, ..)| growth < least) {
                best = Some((growth, slot, offset));
            }
        }
        let (slot, offset) = match best {
            Some((_, slot, offset)) => (slot, offset),
            None => {
                placed.push(Vec::new());
                out.slots.push(0);
                (placed.len() - 1, 0)
            }
        };
        out.slot[i] = slot;
        out.offset[i] = offset;
        out.slots[slot] = out.slots[slot].max(offset + bytes);
        placed[slot].push(i);
    }
    out
}

/// The lowest offset in a slot where item `i` overlaps nothing that lives at the same time.
fn first_gap(items: &[Item], offsets: &[u64], placed: &[usize], i: usize, bytes: u64, align: u64) -> u64 {
    let mut taken: Vec<(u64, u64)> = placed
        .iter()
        .filter(|&&p| items[p].first <= items[i].last && items[i].first <= items[p].last)
        .map(|&p| (offsets[p], offsets[p] + items[p].bytes.next_multiple_of(align)))
        .collect();
    taken.sort_unstable();
    let mut at = 0;
    for (from, to) in taken {
        if from >= at + bytes {
            break;
        }
        at = at.max(to);
    }
    at
}
