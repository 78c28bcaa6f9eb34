//! Builds test cases and gradient checks: tensors numbered in the order of the call, with their contents.

use crate::spec::{Call, Case, Dtype, Op, Shape, Tensor, Tick};
use bytemuck::Pod;

/// A case under construction.
pub struct Build {
    name: &'static str,
    tick: Tick,
    reads: Vec<(Tensor, Vec<f32>)>,
    writes: Vec<(Tensor, Vec<f32>)>,
}

impl Build {
    /// A case without tensors; its name says what is odd about it.
    pub fn new(name: &'static str) -> Build {
        Build { name, tick: Tick::default(), reads: Vec::new(), writes: Vec::new() }
    }
    /// The per-step numbers.
    pub fn tick(mut self, tick: Tick) -> Build {
        self.tick = tick;
        self
    }
    /// The next read.
    pub fn read(mut self, shape: &[usize], content: Vec<f32>) -> Build {
        self.reads.push(tensor(shape, Dtype::F32, content));
        self
    }
    /// The next read, of unsigned words.
    pub fn words(mut self, shape: &[usize], content: &[u32]) -> Build {
        self.reads.push(tensor(shape, Dtype::U32, bytemuck::cast_slice(content).to_vec()));
        self
    }
    /// The next read is absent.
    pub fn no_read(mut self) -> Build {
        self.reads.push((Tensor::none(), vec![0.0; 4]));
        self
    }
    /// The next write, filled with a number that must not survive.
    pub fn write(mut self, shape: &[usize]) -> Build {
        self.writes.push(tensor(shape, Dtype::F32, vec![7.5; Shape::new(shape).len()]));
        self
    }
    /// The next write, with what it holds on entry.
    pub fn write_over(mut self, shape: &[usize], content: Vec<f32>) -> Build {
        self.writes.push(tensor(shape, Dtype::F32, content));
        self
    }
    /// The next write, of unsigned words.
    pub fn write_words(mut self, shape: &[usize]) -> Build {
        self.writes.push(tensor(shape, Dtype::U32, vec![7.5; Shape::new(shape).len()]));
        self
    }
    /// The next write is absent.
    pub fn no_write(mut self) -> Build {
        self.writes.push((Tensor::none(), vec![0.0; 4]));
        self
    }
    /// The case: ids count from 0, reads first.
    pub fn call<P: Pod>(mut self, op: &'static Op, params: &P) -> Case {
        for (id, (t, _)) in self.reads.iter_mut().chain(&mut self.writes).enumerate() {
            if !t.is_none() {
                t.id = id as u32;
            }
        }
        let (read_tensors, reads): (Vec<_>, Vec<_>) = self.reads.into_iter().unzip();
        let (write_tensors, writes): (Vec<_>, Vec<_>) = self.writes.into_iter().unzip();
        Case {
            name: self.name,
            call: Call::new(op, params, &read_tensors, &write_tensors),
            tick: self.tick,
            reads,
            writes,
        }
    }
}

fn tensor(shape: &[usize], dtype: Dtype, content: Vec<f32>) -> (Tensor, Vec<f32>) {
    let shape = Shape::new(shape);
    assert_eq!(shape.len(), content.len(), "content of {shape:?}");
    (Tensor { id: 0, shape, dtype }, content)
}

/// Input number `id` of a gradient check, and whether its gradient is compared.
pub fn input(id: u32, shape: &[usize], content: Vec<f32>, wanted: bool) -> (Tensor, Vec<f32>, bool) {
    let (mut t, content) = tensor(shape, Dtype::F32, content);
    t.id = id;
    (t, content, wanted)
}

/// Input number `id` of a gradient check, of unsigned words.
pub fn input_words(id: u32, shape: &[usize], content: &[u32]) -> (Tensor, Vec<f32>, bool) {
    let (mut t, content) = tensor(shape, Dtype::U32, bytemuck::cast_slice(content).to_vec());
    t.id = id;
    (t, content, false)
}
