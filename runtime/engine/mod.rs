//! A model on a device: learns windows, applies updates, evaluates, generates, and hands out its state.
//!
//! A plain struct without actors; the compute actor is a shell around it.

pub mod batch;
pub mod generation;
pub mod layout;
pub mod state;

use crate::device::{Device, Held, ProgramId};
use crate::fault::{Fault, FaultKind};
use crate::model::config::{ModelConfig, Positions};
use crate::stage::{Numbers, Window};
use batch::{Batch, BatchShape};
use layout::{AdamW, Layout, Shapes, Which};
use pleach_shaders::spec::{Tensor, Tick};

/// What came of learning a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The head's numbers for every token of the window.
    pub numbers: Numbers,
    /// Euclidean norm of the gradient over all weights, before clipping; not finite if anything in it is not.
    pub gradient_norm: f64,
}

/// A model on a device.
pub struct Engine {
    device: Box<dyn Device>,
    layout: Layout,
    programs: Vec<ProgramId>,
    batch: Batch,
    batch_shape: BatchShape,
    scratch: Vec<u32>,
}

impl Engine {
    /// Lays out, allocates and builds; weights begin as zeros until `begin` or `restore`.
    pub fn new(
        mut device: Box<dyn Device>,
        config: &ModelConfig,
        shapes: &Shapes,
        adamw: &AdamW,
    ) -> Result<Engine, Fault> {
        let layout = Layout::new(config, shapes, adamw, &mut |name, shape, dtype| device.allocate(name, shape, dtype))?;
        let programs = device.build(&layout.programs)?;
        if let Positions::Rotary { .. } = config.positions {
            device.write(layout.ports.inputs.rotary, 0, &layout::rotary_words(config))?;
        }
        let batch_shape = BatchShape {
            vocab: config.vocab,
            sliding_window: config.sliding_window,
            learned_positions: config.positions == Positions::Learned,
        };
        Ok(Engine { device, layout, programs, batch: Batch::default(), batch_shape, scratch: Vec::new() })
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

    /// The program on the device.
    pub fn program(&self, which: Which) -> ProgramId {
        self.programs[which as usize]
    }

    /// Forward, loss and backward over all micro-batches of a window; gradients are summed, then their norm is taken.
    pub fn learn(&mut self, window: &Window, derivatives: &Numbers, tick: &Tick) -> Result<Learned, Fault> {
        self.check(window)?;
        let gradients: Vec<Tensor> = self.layout.slots.iter().filter_map(|s| s.trained.map(|[g, ..]| g)).collect();
        self.device.clear(&gradients)?;
        let numbers = self.each_micro(window, Some(derivatives), Which::Learn, tick)?;
        self.device.run(self.program(Which::Norm), 0, tick)?;
        let mut total = [0u32; 1];
        self.device.read(self.layout.ports.norm, 0, &mut total)?;
        let gradient_norm = f64::from(f32::from_bits(total[0])).sqrt();
        Ok(Learned { numbers, gradient_norm })
    }

    /// AdamW on every weight with the gradients of the last `learn`. The point of no return.
    pub fn update(&mut self, tick: &Tick) -> Result<(), Fault> {
        self.device.run(self.program(Which::Update), 0, tick)?;
        self.device.settle()
    }

    /// The head's numbers of a window, nothing learned.
    pub fn evaluate(&mut self, window: &Window) -> Result<Numbers, Fault> {
        self.check(window)?;
        self.each_micro(window, None, Which::Evaluate, &Tick::default())
    }

    /// Writes the inputs of a window's first micro-batch, so that [`Which::Learn`] can be run by hand (bisecting).
    pub fn stage_batch(&mut self, window: &Window, derivatives: &Numbers) -> Result<(), Fault> {
        self.check(window)?;
        self.batch.fill(window, 0, self.layout.shapes.micro_rows, &self.batch_shape, Some(derivatives));
        self.upload(true)
    }

    /// Runs a program on every micro-batch of a window and gathers the numbers.
    fn each_micro(
        &mut self,
        window: &Window,
        derivatives: Option<&Numbers>,
        which: Which,
        tick: &Tick,
    ) -> Result<Numbers, Fault> {
        let micro_rows = self.layout.shapes.micro_rows;
        let mut out = Numbers::with_capacity(window.rows.len() * window.context);
        for from in (0..window.rows.len()).step_by(micro_rows) {
            self.batch.fill(window, from, micro_rows, &self.batch_shape, derivatives);
            self.upload(derivatives.is_some())?;
            self.device.run(self.program(which), 0, tick)?;
            let rows = micro_rows.min(window.rows.len() - from);
            self.scratch.resize(4 * rows * window.context, 0);
            self.device.read(self.layout.ports.numbers, 0, &mut self.scratch)?;
            out.extend(self.scratch.chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]].map(f32::from_bits)));
        }
        Ok(out)
    }

    fn upload(&mut self, train: bool) -> Result<(), Fault> {
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
            if self.batch_shape.learned_positions {
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
    fn check(&self, window: &Window) -> Result<(), Fault> {
        let (context, vocab) = (self.layout.shapes.context, self.layout.config.vocab as u32);
        if window.context != context {
            let what = format!("a window of context {} for programs of context {context}", window.context);
            return Err(Fault::new(FaultKind::Refused, what));
        }
        for row in &window.rows {
            assert!(row.tokens.len() == context + 1 && row.weights.len() == context && row.segments.len() == context);
            if let Some(bad) = row.tokens.iter().find(|&&token| token >= vocab) {
                let what = format!("token id {bad} in row {} of a vocabulary of {vocab}", row.key);
                return Err(Fault::new(FaultKind::Refused, what));
            }
        }
        Ok(())
    }
}
