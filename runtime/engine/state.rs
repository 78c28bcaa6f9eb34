//! A model's trained state on the host: taken from a device, put back onto it, begun from a seed.

use super::Engine;
use super::layout::RoleId;
use crate::fault::{Fault, FaultKind, Refusal};
use crate::model::config::ModelConfig;
use crate::model::weights::{self, specs};
use pleach_shaders::spec::Tensor;

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
    /// Fills a role's weights from a seed, and the moments with zeros.
    pub fn begin(&mut self, role: RoleId, seed: u64) -> Result<(), Fault> {
        let slots = self.layout.slots(role).to_vec();
        for (index, slot) in slots.iter().enumerate() {
            self.put(slot.weight, &weights::begin(&slot.spec, index, seed))?;
            if let Some([_, first, second]) = slot.trained {
                self.device.clear(&[first, second])?;
            }
        }
        self.device.settle()
    }

    /// Copies a role's weights and moments to the host.
    pub fn state(&mut self, role: RoleId) -> Result<HostState, Fault> {
        self.device.settle()?;
        let slots = self.layout.slots(role).to_vec();
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
    /// none).
    pub fn restore(&mut self, role: RoleId, state: &HostState) -> Result<(), Fault> {
        let slots = self.layout.slots(role).to_vec();
        let find = |list: &[HostTensor], name: &str| list.iter().position(|tensor| tensor.name == name);
        for slot in &slots {
            let name = &slot.spec.name;
            let Some(at) = find(&state.weights, name) else {
                return Err(Fault::new(FaultKind::Refused, format!("the state has no weight {name}")));
            };
            if state.weights[at].shape != slot.spec.shape {
                let what = format!("weight {name} is {:?}, not {:?}", state.weights[at].shape, slot.spec.shape);
                return Err(Fault::new(FaultKind::Refused, what));
            }
            self.put(slot.weight, &state.weights[at].data)?;
            let Some([_, first, second]) = slot.trained else { continue };
            for (tensor, list) in [(first, &state.first), (second, &state.second)] {
                match find(list, name) {
                    Some(at) => self.put(tensor, &list[at].data)?,
                    None => self.device.clear(&[tensor])?,
                }
            }
        }
        self.device.settle()
    }

    fn put(&mut self, tensor: Tensor, data: &[f32]) -> Result<(), Fault> {
        self.device.write(tensor, 0, bytemuck::cast_slice(data))
    }
}
