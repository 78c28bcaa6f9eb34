//! A model's trained state on the host: taken from a device, put back onto it, begun from a seed.

use super::Engine;
use super::layout::{Key, RoleId, Slot, Which};
use crate::fault::{Fault, FaultKind, Refusal};
use crate::model::adapter::is_adapter;
use crate::model::config::ModelConfig;
use crate::model::weights::{self, specs};
use pleach_shaders::spec::{Tensor, Tick};

/// One tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Our name, see `model/weights.rs`.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Contents, row-major.
    pub data: Vec<f32>,
}

/// Weights and moments of a model at an optimizer-step boundary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostState {
    /// Weights in the kept order.
    pub weights: Vec<HostTensor>,
    /// First moments, same order; empty without training.
    pub first: Vec<HostTensor>,
    /// Second moments, same order; empty without training.
    pub second: Vec<HostTensor>,
}

impl HostState {
    /// Is every number finite?
    pub fn finite(&self) -> bool {
        let lists = [&self.weights, &self.first, &self.second];
        lists.into_iter().flatten().all(|tensor| tensor.data.iter().all(|x| x.is_finite()))
    }
    /// Bytes.
    pub fn bytes(&self) -> usize {
        let lists = [&self.weights, &self.first, &self.second];
        lists.into_iter().flatten().map(|tensor| 4 * tensor.data.len()).sum()
    }
}

/// The entry state of a reward model or a critic: the decoder of a language model, its head dropped, and a score that
/// begins from the seed. `config` is the language model's or already the scalar one. No moments.
///
/// # Errors
/// A refusal that names the weight that the state lacks.
pub fn scalar_from(state: &HostState, config: &ModelConfig, seed: u64) -> Result<HostState, Refusal> {
    let mut out = HostState::default();
    for (index, spec) in specs(&config.scalar()).into_iter().enumerate() {
        let found = state.weights.iter().find(|tensor| tensor.name == spec.name && tensor.shape == spec.shape);
        out.weights.push(match found {
            _ if spec.name == "score" => {
                HostTensor { data: weights::begin(&spec, index, seed), name: spec.name, shape: spec.shape }
            }
            Some(tensor) => tensor.clone(),
            None => {
                let detail = format!("weight {} of shape {:?} is missing", spec.name, spec.shape);
                let hint = "name the model that the config belongs to";
                return Err(Refusal::new("could not begin a scalar head on the model", detail, hint));
            }
        });
    }
    Ok(out)
}

impl Engine {
    /// Fills a role's weights from a seed, and the moments with zeros. Where it has an adapter, that is begun, and the
    /// weights below are left alone: A evenly within 1 / sqrt(columns), B zero, a magnitude as the norm of what it
    /// stands for, so that the role's numbers are those of the weights below, bit for bit. A score begins only where it
    /// stands on another role; else it comes with the model's weights.
    ///
    /// # Errors
    /// DoRA on weights that are not there yet: they must be restored first.
    pub fn begin(&mut self, role: RoleId, seed: u64) -> Result<(), Fault> {
        let (member, slots) = (&self.layout.members[role], self.layout.slots(role).to_vec());
        let (adapted, below) = (member.role.adapter.is_some(), member.role.base);
        if adapted && member.weights.scaled().next().is_some() && !self.filled[below.unwrap_or(role)] {
            let what =
                format!("the magnitudes of \"{}\" are norms of weights that are not there yet", member.role.name);
            return Err(Fault::new(FaultKind::Refused, what));
        }
        let mut tensors = 0;
        for (place, slot) in slots.iter().enumerate() {
            let own = is_adapter(&slot.spec.name);
            if adapted && !own && below.is_none() {
                continue;
            }
            let index = if own { tensors } else { place };
            tensors += usize::from(own);
            self.put(slot.weight, &weights::begin(&slot.spec, index, seed))?;
            if let Some([_, first, second]) = slot.trained {
                self.device.clear(&[first, second])?;
            }
        }
        if adapted {
            self.begin_magnitudes(role)?;
        } else {
            self.filled[role] = true;
        }
        self.device.settle()
    }

    /// Magnitudes = norms.
    fn begin_magnitudes(&mut self, role: RoleId) -> Result<(), Fault> {
        self.rescale(role)?;
        let scaled: Vec<_> =
            self.layout.members[role].weights.scaled().map(|(_, b, s)| (b.modules.clone(), s)).collect();
        for (modules, [norms, _]) in scaled {
            for module in modules {
                let mut words = vec![0u32; module.magnitude.shape.len()];
                self.device.read(norms, module.first, &mut words)?;
                self.device.write(module.magnitude, 0, &words)?;
            }
        }
        self.rescale(role)
    }

    /// Norms and factors anew, where a role has them.
    fn rescale(&mut self, role: RoleId) -> Result<(), Fault> {
        match self.layout.members[role].weights.scaled().next() {
            Some(_) => self.device.run(self.program(Key::full(role, Which::Scales)), 0, &Tick::default()),
            None => Ok(()),
        }
    }

    /// Copies a role's weights and moments to the host; where it has an adapter, only what is trained beside the frozen
    /// weights.
    pub fn state(&mut self, role: RoleId) -> Result<HostState, Fault> {
        self.device.settle()?;
        let slots: Vec<Slot> = self.layout.slots(role).iter().filter(|slot| !slot.base).cloned().collect();
        let mut out = HostState::default();
        for slot in &slots {
            let mut take = |tensor: Tensor| -> Result<HostTensor, Fault> {
                let mut data = vec![0f32; tensor.shape.len()];
                self.device.read(tensor, 0, bytemuck::cast_slice_mut(&mut data))?;
                Ok(HostTensor { name: slot.spec.name.clone(), shape: slot.spec.shape.clone(), data })
            };
            out.weights.push(take(slot.weight)?);
            if let Some([_, first, second]) = slot.trained {
                out.first.push(take(first)?);
                out.second.push(take(second)?);
            }
        }
        Ok(out)
    }

    /// Puts a state back: every weight by name and shape; moments where the role is trained (zeros where there are
    /// none). A role with an adapter takes the model's weights, the adapter's tensors, or both, each of them whole; the
    /// score comes with either.
    pub fn restore(&mut self, role: RoleId, state: &HostState) -> Result<(), Fault> {
        let slots = self.layout.slots(role).to_vec();
        let has = |slot: &Slot| state.weights.iter().any(|tensor| tensor.name == slot.spec.name);
        let member = &self.layout.members[role].role;
        let (below, adapter) = match member.adapter {
            None => (true, true),
            Some(_) => {
                let adapter = slots.iter().any(|slot| is_adapter(&slot.spec.name) && has(slot));
                (slots.iter().any(|slot| slot.base && has(slot)), adapter)
            }
        };
        if slots.is_empty() || !(below || adapter) {
            let what = format!("the state has nothing that \"{}\" has of its own", member.name);
            return Err(Fault::new(FaultKind::Refused, what));
        }
        for slot in &slots {
            let wanted = if slot.base { below } else { adapter || !is_adapter(&slot.spec.name) };
            if wanted {
                self.restore_slot(slot, state)?;
            }
        }
        self.filled[role] |= below;
        let roles = 0..self.layout.members.len();
        for id in roles.filter(|&id| id == role || self.layout.members[id].role.base == Some(role)).collect::<Vec<_>>()
        {
            self.rescale(id)?;
        }
        self.device.settle()
    }

    fn restore_slot(&mut self, slot: &Slot, state: &HostState) -> Result<(), Fault> {
        let find = |list: &[HostTensor], name: &str| list.iter().position(|tensor| tensor.name == name);
        let name = &slot.spec.name;
        let Some(at) = find(&state.weights, name) else {
            return Err(Fault::new(FaultKind::Refused, format!("the state has no weight {name}")));
        };
        if state.weights[at].shape != slot.spec.shape {
            let what = format!("weight {name} is {:?}, not {:?}", state.weights[at].shape, slot.spec.shape);
            return Err(Fault::new(FaultKind::Refused, what));
        }
        self.put(slot.weight, &state.weights[at].data)?;
        let Some([_, first, second]) = slot.trained else { return Ok(()) };
        for (tensor, list) in [(first, &state.first), (second, &state.second)] {
            match find(list, name) {
                Some(at) => self.put(tensor, &list[at].data)?,
                None => self.device.clear(&[tensor])?,
            }
        }
        Ok(())
    }

    fn put(&mut self, tensor: Tensor, data: &[f32]) -> Result<(), Fault> {
        self.device.write(tensor, 0, bytemuck::cast_slice(data))
    }
}
