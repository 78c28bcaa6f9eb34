//! Specs as they stand: a recorder that runs each call at once, and the oracle of a single call.

use pleach_shaders::spec::{Args, Call, Case, Dtype, Recorder, Root, Rule, Shape, Tensor, Tick};
use std::collections::HashMap;

/// Runs one call of a case by its spec and returns what it wrote.
pub(crate) fn expected(case: &Case) -> Vec<Vec<f32>> {
    let reads: Vec<&[f32]> = case.reads.iter().map(Vec::as_slice).collect();
    let mut writes = case.writes.clone();
    let mut targets: Vec<&mut [f32]> = writes.iter_mut().map(Vec::as_mut_slice).collect();
    let mut args = Args { params: &case.call.params, tick: &case.tick, reads: &reads, writes: &mut targets };
    (case.call.op.spec)(&mut args);
    writes
}

/// A recorder whose calls run at once by their specs. Fresh activations hold NaN, so that a call that reads what no
/// call
/// wrote shows.
pub(crate) struct Local {
    /// Contents by tensor id.
    pub(crate) data: HashMap<u32, Vec<f32>>,
    tick: Tick,
    next: u32,
    wanted: HashMap<u32, bool>,
    gradients: HashMap<u32, Tensor>,
    rules: Vec<(Tensor, Rule)>,
    roots: Vec<Root>,
}

impl Local {
    /// A recorder on inputs; the flag says whether a gradient is wanted.
    pub(crate) fn new(inputs: &[(Tensor, Vec<f32>, bool)], tick: Tick) -> Local {
        let mut local = Local {
            data: HashMap::from([(Tensor::NONE_ID, vec![0.0; 4])]),
            tick,
            next: inputs.iter().map(|(tensor, ..)| tensor.id + 1).max().unwrap_or(0),
            wanted: HashMap::new(),
            gradients: HashMap::new(),
            rules: Vec::new(),
            roots: Vec::new(),
        };
        for (tensor, data, wanted) in inputs {
            assert_eq!(tensor.shape.len(), data.len(), "contents of an input");
            local.data.insert(tensor.id, data.clone());
            local.wanted.insert(tensor.id, *wanted);
        }
        local
    }

    /// Did the recording start a backward pass of its own?
    pub(crate) fn has_root(&self) -> bool {
        !self.roots.is_empty()
    }

    /// Sends `seed` (the gradient of `output`; ignored where a root starts by itself) back to the inputs.
    pub(crate) fn backward(&mut self, output: Tensor, seed: Vec<f32>) {
        let roots = std::mem::take(&mut self.roots);
        if roots.is_empty() {
            let gradient = Recorder::tensor(self, "seed", &output.shape.dims(), Dtype::F32);
            self.data.insert(gradient.id, seed);
            self.gradients.insert(output.id, gradient);
        }
        for root in roots {
            root(self);
        }
        for (output, rule) in std::mem::take(&mut self.rules).into_iter().rev() {
            if let Some(&gradient) = self.gradients.get(&output.id) {
                rule(self, gradient);
            }
        }
    }

    /// The gradient of an input: zeros where none arrived.
    pub(crate) fn gradient_of(&self, input: Tensor) -> Vec<f32> {
        match self.gradients.get(&input.id) {
            Some(gradient) => self.data[&gradient.id].clone(),
            None => vec![0.0; input.shape.len()],
        }
    }
}

impl Recorder for Local {
    fn tensor(&mut self, _name: &'static str, shape: &[usize], dtype: Dtype) -> Tensor {
        let tensor = Tensor { id: self.next, shape: Shape::new(shape), dtype };
        self.next += 1;
        self.data.insert(tensor.id, vec![f32::NAN; tensor.shape.len()]);
        tensor
    }

    fn call(&mut self, call: Call) {
        let mut outputs: Vec<Vec<f32>> = call
            .writes
            .iter()
            .map(|write| match write.is_none() {
                true => vec![0.0; 4],
                false => self.data.remove(&write.id).expect("a tensor is written by one argument of a call"),
            })
            .collect();
        {
            let read = |tensor: &Tensor| self.data.get(&tensor.id).expect("no tensor is read and written by one call");
            let reads: Vec<&[f32]> = call.reads.iter().map(|tensor| read(tensor).as_slice()).collect();
            let mut writes: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            let mut args = Args { params: &call.params, tick: &self.tick, reads: &reads, writes: &mut writes };
            (call.op.spec)(&mut args);
        }
        let wanted = call.reads.iter().any(|tensor| self.wants(*tensor));
        for (write, data) in call.writes.iter().zip(outputs).filter(|(write, _)| !write.is_none()) {
            self.data.insert(write.id, data);
            self.wanted.insert(write.id, wanted);
        }
    }

    fn rule(&mut self, output: Tensor, rule: Rule) {
        self.rules.push((output, rule));
    }

    fn root(&mut self, rule: Root) {
        self.roots.push(rule);
    }

    fn wants(&self, x: Tensor) -> bool {
        self.wanted.get(&x.id).copied().unwrap_or(false)
    }

    fn gradient(&mut self, x: Tensor) -> (Tensor, bool) {
        assert!(self.wants(x), "a gradient is asked for that nobody wants");
        if let Some(&gradient) = self.gradients.get(&x.id) {
            return (gradient, true);
        }
        let gradient = Recorder::tensor(self, "gradient", &x.shape.dims(), Dtype::F32);
        self.gradients.insert(x.id, gradient);
        (gradient, false)
    }

    fn pass(&mut self, x: Tensor, dy: Tensor) {
        assert!(self.wants(x), "a gradient is passed that nobody wants");
        let (gradient, add) = self.gradient(x);
        let dy = self.data[&dy.id].clone();
        let sum = self.data.get_mut(&gradient.id).expect("a gradient has contents");
        for (sum, dy) in sum.iter_mut().zip(dy) {
            *sum = if add { *sum + dy } else { dy };
        }
    }
}
