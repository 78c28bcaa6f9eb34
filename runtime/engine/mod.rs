//! A stage's models on a device: learn windows, apply updates, evaluate, generate, and hand out their state.
//!
//! A plain struct without actors; the compute actor is a shell around it.

pub mod batch;
pub mod generation;
pub mod layout;
mod record;
mod role;
mod shapes;
pub mod state;

use crate::device::{Device, Held, ProgramId};
use crate::fault::{Fault, FaultKind, Refusal};
use crate::model::config::Positions;
use crate::stage::{Numbers, Window};
use batch::{Batch, BatchShape};
use layout::{AdamW, Key, Layout, POLICY, Role, RoleId, Shapes, Which};
use pleach_shaders::spec::Tick;

/// What came of learning a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The head's numbers for every token of the window.
    pub numbers: Numbers,
    /// Euclidean norm of the gradient over all weights, before clipping; not finite if anything in it is not.
    pub gradient_norm: f64,
}

/// A stage's models on a device. Methods take the role that they act on.
pub struct Engine {
    device: Box<dyn Device>,
    layout: Layout,
    programs: Vec<ProgramId>,
    /// The roles whose model was begun or restored, an adapter left out.
    filled: Vec<bool>,
    batch: Batch,
    scratch: Vec<u32>,
}

impl Engine {
    /// Lays out, allocates and builds; weights begin as zeros until `begin` or `restore`.
    pub fn new(mut device: Box<dyn Device>, roles: &[Role], shapes: &Shapes, adamw: &AdamW) -> Result<Engine, Fault> {
        let layout = Layout::new(roles, shapes, adamw, &mut |name, shape, dtype| device.allocate(name, shape, dtype))?;
        let programs = device.build(&layout.programs)?;
        for member in &layout.members {
            if let Positions::Rotary { .. } = member.role.config.positions {
                device.write(member.rotary, 0, &layout::rotary_words(member))?;
            }
        }
        if !layout.ports.unit.is_none() {
            device.write(layout.ports.unit, 0, bytemuck::cast_slice(&[1f32, 0.0, 0.0, 0.0]))?;
        }
        for (_, _, scales) in layout.members.iter().flat_map(|member| member.weights.scaled()) {
            for tensor in scales {
                device.write(tensor, 0, &vec![1f32.to_bits(); tensor.shape.len()])?;
            }
        }
        let filled = vec![false; roles.len()];
        Ok(Engine { device, layout, programs, filled, batch: Batch::default(), scratch: Vec::new() })
    }

    /// The device below.
    pub fn device(&mut self) -> &mut dyn Device {
        self.device.as_mut()
    }

    /// Bytes held on the device.
    pub fn held(&self) -> Held {
        self.device.held()
    }

    /// What is laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A program on the device.
    pub fn program(&self, key: Key) -> ProgramId {
        self.programs[self.layout.index(key)]
    }

    /// Forward, loss and backward over all micro-batches of a window; gradients are summed, then their norm is taken.
    pub fn learn(
        &mut self,
        role: RoleId,
        window: &Window,
        derivatives: &Numbers,
        tick: &Tick,
    ) -> Result<Learned, Fault> {
        self.check(role, window)?;
        self.device.clear(&self.layout.members[role].gradients())?;
        let numbers = self.each_micro(role, window, Some(derivatives), Which::Learn, tick)?;
        self.device.run(self.program(Key::full(role, Which::Norm)), 0, tick)?;
        let mut total = [0u32; 1];
        self.device.read(self.layout.ports.norm, 0, &mut total)?;
        let gradient_norm = f64::from(f32::from_bits(total[0])).sqrt();
        Ok(Learned { numbers, gradient_norm })
    }

    /// AdamW on every weight of a role with the gradients of its last `learn`. The point of no return.
    pub fn update(&mut self, role: RoleId, tick: &Tick) -> Result<(), Fault> {
        self.device.run(self.program(Key::full(role, Which::Update)), 0, tick)?;
        self.device.settle()
    }

    /// The head's numbers of a window under a role, bit for bit those that its `learn` will see.
    pub fn look(&mut self, role: RoleId, window: &Window) -> Result<Numbers, Fault> {
        let dropout = self.layout.config(role).dropout;
        if dropout > 0.0 {
            let what = "the objective must see a window before it is learned";
            let detail = format!("the model drops {dropout} of its activations, so that it would see another one");
            return Err(Refusal::new(what, detail, "set dropout = 0").into());
        }
        self.evaluate(role, window)
    }

    /// The head's numbers of a window, nothing learned.
    pub fn evaluate(&mut self, role: RoleId, window: &Window) -> Result<Numbers, Fault> {
        self.check(role, window)?;
        let numbers = self.each_micro(role, window, None, Which::Evaluate, &Tick::default())?;
        // Nothing else stands between these numbers and the one who believes them: the device says that it did them.
        self.device.settle()?;
        Ok(numbers)
    }

    /// Writes the inputs of a window's first micro-batch, so that the policy's [`Which::Learn`] can be run by hand
    /// (bisecting).
    pub fn stage_batch(&mut self, window: &Window, derivatives: &Numbers) -> Result<(), Fault> {
        self.check(POLICY, window)?;
        let length = self.layout.shapes.lengths()[0];
        let cut = batch::cuts(window, length).remove(0);
        self.batch.fill(window, &cut, length, &self.batch_shape(POLICY), Some(derivatives));
        self.upload(POLICY, true)
    }

    /// Runs a program on every micro-batch of a window and gathers the numbers. Each takes the shortest length that
    /// holds it.
    fn each_micro(
        &mut self,
        role: RoleId,
        window: &Window,
        derivatives: Option<&Numbers>,
        which: Which,
        tick: &Tick,
    ) -> Result<Numbers, Fault> {
        let lengths = self.layout.shapes.lengths();
        let mut out = Numbers::with_capacity(window.tokens());
        for cut in batch::cuts(window, lengths[0]) {
            let bucket = self.layout.shapes.bucket(cut.tokens.len());
            self.batch.fill(window, &cut, lengths[bucket], &self.batch_shape(role), derivatives);
            self.upload(role, derivatives.is_some())?;
            self.device.run(self.program(Key { role, which, bucket }), 0, tick)?;
            self.scratch.resize(4 * cut.tokens.len(), 0);
            self.device.read(self.layout.ports.numbers, 0, &mut self.scratch)?;
            out.extend(self.scratch.chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]].map(f32::from_bits)));
        }
        Ok(out)
    }

    fn batch_shape(&self, role: RoleId) -> BatchShape {
        let config = self.layout.config(role);
        BatchShape {
            vocab: config.vocab,
            sliding_window: config.sliding_window,
            learned_positions: config.positions == Positions::Learned,
        }
    }

    fn upload(&mut self, role: RoleId, train: bool) -> Result<(), Fault> {
        let (ports, batch) = (&self.layout.ports, &self.batch);
        let inputs = &ports.inputs;
        let mut list = vec![
            (inputs.ids, &batch.ids),
            (ports.targets, &batch.targets),
            (inputs.positions, &batch.positions),
            (inputs.spans, &batch.spans),
        ];
        if train {
            list.extend([
                (inputs.keys, &batch.keys),
                (inputs.sorted.order, &batch.order),
                (inputs.sorted.runs, &batch.runs),
                (ports.dnumbers, &batch.dnumbers),
            ]);
            if self.layout.config(role).positions == Positions::Learned {
                list.push((inputs.positions_sorted.order, &batch.position_order));
                list.push((inputs.positions_sorted.runs, &batch.position_runs));
            }
        }
        for (tensor, data) in list {
            self.device.write(tensor, 0, data)?;
        }
        Ok(())
    }

    /// A window must fit the recorded shapes, and its ids the vocabulary.
    fn check(&self, role: RoleId, window: &Window) -> Result<(), Fault> {
        let (context, vocab) = (self.layout.shapes.context, self.layout.config(role).vocab as u32);
        if window.context != context {
            let what = format!("a window of context {} for programs of context {context}", window.context);
            return Err(Fault::new(FaultKind::Refused, what));
        }
        for row in &window.rows {
            let tokens = row.len();
            assert!((1..=context).contains(&tokens), "a row of {tokens} tokens in a context of {context}");
            assert!(row.tokens.len() == tokens + 1 && row.segments.len() == tokens, "the parts of a row fit together");
            if let Some(bad) = row.tokens.iter().find(|&&token| token >= vocab) {
                let what = format!("token id {bad} in row {} of a vocabulary of {vocab}", row.key);
                return Err(Fault::new(FaultKind::Refused, what));
            }
        }
        Ok(())
    }
}
