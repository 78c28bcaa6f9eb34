//! The tape: ops record themselves on it, forward and then backward, and it becomes a [`Program`].

use super::{Activation, Program};
use pleach_shaders::add;
use pleach_shaders::spec::{Call, Dtype, Recorder, Root, Rule, Shape, Tensor};
use std::collections::{HashMap, HashSet};

/// A stretch of forward calls that may be run again in the backward pass instead of being kept.
#[derive(Clone, Debug)]
struct Block {
    calls: std::ops::Range<usize>,
    rules: std::ops::Range<usize>,
}

/// Records calls and gradient rules. `finish` turns it into a program.
pub struct Tape {
    name: String,
    calls: Vec<Call>,
    activations: Vec<Activation>,
    splits: Vec<usize>,
    /// Gradient buffers of trained weights, by weight id.
    trained: HashMap<u32, Tensor>,
    /// Activations that depend on a trained weight.
    wanted: HashSet<u32>,
    rules: Vec<(Tensor, Rule)>,
    roots: Vec<Root>,
    /// Where the gradient of an activation is collected.
    gradients: HashMap<u32, Tensor>,
    /// Gradient tensors whose storage a rule handed on.
    handed: HashSet<u32>,
    /// Persistent tensors that stand in for activations of a name.
    placed: HashMap<&'static str, Tensor>,
    blocks: Vec<Block>,
    recompute: bool,
    scope: String,
    /// Kept activations -> their recomputed twins, while a block's rules run.
    twins: HashMap<u32, u32>,
    backward: bool,
}

impl Tape {
    /// An empty tape. With `recompute`, activations inside blocks are computed a second time in the backward pass
    /// instead of being kept; the bits are the same either way.
    pub fn new(name: &str, recompute: bool) -> Tape {
        Tape {
            name: name.to_string(),
            calls: Vec::new(),
            activations: Vec::new(),
            splits: Vec::new(),
            trained: HashMap::new(),
            wanted: HashSet::new(),
            rules: Vec::new(),
            roots: Vec::new(),
            gradients: HashMap::new(),
            handed: HashSet::new(),
            placed: HashMap::new(),
            blocks: Vec::new(),
            recompute,
            scope: String::new(),
            twins: HashMap::new(),
            backward: false,
        }
    }

    /// Declares that `weight` is trained and where its gradient is summed up.
    pub fn train(&mut self, weight: Tensor, gradient: Tensor) {
        assert_eq!(weight.shape, gradient.shape, "a gradient has its weight's shape");
        self.trained.insert(weight.id, gradient);
    }

    /// The activation that an op calls `name` shall be this persistent tensor (a result that the host reads).
    pub fn place(&mut self, name: &'static str, tensor: Tensor) {
        self.placed.insert(name, tensor);
    }

    /// Names the activations that follow: `layer 3`.
    pub fn scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// Records `body` as a block: with recompute on, only what later calls read of it is kept.
    pub fn block<T>(&mut self, body: impl FnOnce(&mut Tape) -> T) -> T {
        let (calls, rules) = (self.calls.len(), self.rules.len());
        let out = body(self);
        self.blocks.push(Block { calls: calls..self.calls.len(), rules: rules..self.rules.len() });
        out
    }

    /// The host decides something between the calls before and the calls after this point.
    pub fn split(&mut self) {
        self.splits.push(self.calls.len());
    }

    /// Records the backward pass: the roots, then every rule whose output has a gradient, last first.
    pub fn backward(&mut self) {
        assert!(!self.backward, "a tape has one backward pass");
        self.backward = true;
        for root in std::mem::take(&mut self.roots) {
            root(self);
        }
        let rules = std::mem::take(&mut self.rules);
        for (index, (output, rule)) in rules.iter().enumerate().rev() {
            self.enter_block_of(index);
            if let Some(&dy) = self.gradients.get(&output.id) {
                rule(self, dy);
            }
        }
        self.twins.clear();
    }

    /// The program: calls that nothing depends on are dropped.
    pub fn finish(self) -> Program {
        assert!(self.rules.is_empty() || self.backward || self.trained.is_empty(), "backward was not recorded");
        let keep = live(&self.calls);
        let splits = self.splits.iter().map(|&at| keep[..at].iter().filter(|&&k| k).count()).collect();
        let mut flags = keep.into_iter();
        let mut calls = self.calls;
        calls.retain(|_| flags.next().expect("one flag a call"));
        Program { name: self.name, calls, activations: self.activations, splits }
    }

    /// On reaching the last rule of a block: runs the block's calls again into twins, when recompute is on.
    fn enter_block_of(&mut self, rule: usize) {
        let Some(block) = self.blocks.iter().find(|block| block.rules.contains(&rule)).cloned() else {
            self.twins.clear();
            return;
        };
        if !self.recompute || rule != block.rules.end - 1 {
            return;
        }
        let mut twins = HashMap::new();
        for at in block.calls {
            let mut call = self.calls[at].clone();
            for read in &mut call.reads {
                read.id = *twins.get(&read.id).unwrap_or(&read.id);
            }
            for write in &mut call.writes {
                if !write.is_persistent() && !write.is_none() {
                    let twin = *twins.entry(write.id).or_insert_with(|| {
                        let mut kept = self.activations[write.id as usize].clone();
                        kept.name.push_str(" again");
                        self.activations.push(kept);
                        self.activations.len() as u32 - 1
                    });
                    write.id = twin;
                }
            }
            self.calls.push(call);
        }
        self.twins = twins;
    }
}

/// Which calls matter: those that write a persistent tensor, and those that write what a later live call touches.
fn live(calls: &[Call]) -> Vec<bool> {
    let mut needed: HashSet<u32> = HashSet::new();
    let mut keep = vec![false; calls.len()];
    for (at, call) in calls.iter().enumerate().rev() {
        if call.writes.iter().any(|w| w.is_persistent() || needed.contains(&w.id)) {
            keep[at] = true;
            needed.extend(call.reads.iter().chain(&call.writes).map(|t| t.id));
        }
    }
    keep
}

impl Recorder for Tape {
    fn tensor(&mut self, name: &'static str, shape: &[usize], dtype: Dtype) -> Tensor {
        let shape = Shape::new(shape);
        if let Some(&placed) = self.placed.get(name) {
            assert_eq!(placed.shape, shape, "what stands in for {name} has its shape");
            return placed;
        }
        let name = if self.scope.is_empty() { name.to_string() } else { format!("{} {name}", self.scope) };
        self.activations.push(Activation { name, shape, dtype });
        Tensor { id: self.activations.len() as u32 - 1, shape, dtype }
    }

    fn call(&mut self, mut call: Call) {
        for read in &mut call.reads {
            read.id = *self.twins.get(&read.id).unwrap_or(&read.id);
        }
        for (at, write) in call.writes.iter().enumerate() {
            let clash = !write.is_none() && call.reads.iter().any(|read| read.id == write.id);
            assert!(!clash, "{} reads and writes the same tensor (write {at})", call.op.name);
        }
        if !self.backward && call.reads.iter().any(|&read| self.wants(read)) {
            self.wanted.extend(call.writes.iter().filter(|w| !w.is_none()).map(|w| w.id));
        }
        self.calls.push(call);
    }

    fn rule(&mut self, output: Tensor, rule: Rule) {
        self.rules.push((output, rule));
    }

    fn root(&mut self, rule: Root) {
        self.roots.push(rule);
    }

    fn wants(&self, x: Tensor) -> bool {
        self.trained.contains_key(&x.id) || self.wanted.contains(&x.id)
    }

    fn gradient(&mut self, x: Tensor) -> (Tensor, bool) {
        assert!(self.wants(x), "no gradient of {x:?} is wanted");
        if let Some(&gradient) = self.trained.get(&x.id) {
            return (gradient, true);
        }
        if let Some(&gradient) = self.gradients.get(&x.id) {
            return (gradient, true);
        }
        let name = format!("d {}", self.activations[x.id as usize].name);
        self.activations.push(Activation { name, shape: x.shape, dtype: Dtype::F32 });
        let gradient = Tensor { id: self.activations.len() as u32 - 1, shape: x.shape, dtype: Dtype::F32 };
        self.gradients.insert(x.id, gradient);
        (gradient, false)
    }

    fn pass(&mut self, x: Tensor, dy: Tensor) {
        if !self.wants(x) {
            return;
        }
        let fresh = !self.trained.contains_key(&x.id) && !self.gradients.contains_key(&x.id);
        if fresh && self.handed.insert(dy.id) {
            self.gradients.insert(x.id, dy);
            return;
        }
        let (gradient, accumulate) = self.gradient(x);
        if accumulate {
            self.call(add::accumulate_call(dy, gradient, 1.0));
        } else {
            self.call(add::copy_call(dy, gradient, 1.0));
        }
    }
}
