//! Memory of a device: tensors as buffers (sharded where one binding cannot show them), staging in bounded pieces.

use super::health::Link;
use crate::fault::{Fault, FaultKind};
use crossbeam_channel::{Receiver, bounded};
use pleach_shaders::spec::{Caps, Shape, Tensor};

/// Bytes of one staging buffer: uploads and readbacks go in pieces of at most this.
pub(super) const PIECE: u64 = 4 << 20;
/// Staging buffers for uploads; one is filled while the others wait for the device.
const PIECES: usize = 3;
/// Mapped ranges start at multiples of this (WebGPU's rule).
const MAP_ALIGN: u64 = 8;

/// Usage of every buffer that kernels bind.
pub(super) const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// One buffer of a tensor: all of it, or some of its rows.
pub(super) struct Shard {
    /// First word.
    pub(super) first: u64,
    /// Words.
    pub(super) len: u64,
    /// The buffer; its size is a multiple of 16 bytes.
    pub(super) buffer: wgpu::Buffer,
}

/// The buffers that outlive programs.
#[derive(Default)]
pub(super) struct Store {
    entries: Vec<Option<Vec<Shard>>>,
    bytes: u64,
}

impl Store {
    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Allocates zeroed buffers for a tensor and returns its id.
    pub(super) fn allocate(&mut self, link: &mut Link, caps: &Caps, name: &str, shape: Shape) -> Result<u32, Fault> {
        let width = shape.row_len() as u64;
        let mut shards = Vec::new();
        for (first, rows) in caps.shards(&shape) {
            let len = rows as u64 * width;
            let buffer = link.buffer(name, padded(len), STORAGE, false)?;
            shards.push(Shard { first: first as u64 * width, len, buffer });
        }
        self.bytes += shards.iter().map(|shard| shard.buffer.size()).sum::<u64>();
        let free = self.entries.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[index] = Some(shards);
        Ok(index as u32 | Tensor::PERSISTENT)
    }

    /// Gives the buffers of a tensor back.
    pub(super) fn free(&mut self, tensor: Tensor) {
        let index = (tensor.id & !Tensor::PERSISTENT) as usize;
        let shards = self.entries[index].take().expect("a tensor is freed once");
        for shard in shards {
            self.bytes -= shard.buffer.size();
            shard.buffer.destroy();
        }
    }

    /// The buffers of a tensor. Panics on a tensor that is not this device's.
    pub(super) fn shards(&self, id: u32) -> &[Shard] {
        let entry = self.entries.get((id & !Tensor::PERSISTENT) as usize).and_then(Option::as_ref);
        entry.unwrap_or_else(|| panic!("tensor {id:#x} is not on this device"))
    }

    /// The shard that shows words `first .. first + len`, and the first word within it. Panics where they cross shards.
    pub(super) fn locate(&self, id: u32, first: u64, len: u64) -> (&wgpu::Buffer, u64) {
        let shards = self.shards(id);
        let shard = &shards[shards.partition_point(|shard| shard.first <= first) - 1];
        let from = first - shard.first;
        assert!(from + len <= shard.len, "words {first}+{len} of tensor {id:#x} cross its shards");
        (&shard.buffer, from)
    }

    /// Cuts words `first .. first + len` at the shards: (buffer, first word in it, words before, words).
    pub(super) fn cut(&self, id: u32, first: u64, len: u64) -> Vec<(wgpu::Buffer, u64, u64, u64)> {
        let mut pieces = Vec::new();
        for shard in self.shards(id) {
            let (from, to) = (first.max(shard.first), (first + len).min(shard.first + shard.len));
            if from < to {
                pieces.push((shard.buffer.clone(), from - shard.first, from - first, to - from));
            }
        }
        pieces
    }
}

/// Bytes of a buffer for this many words: kernels may read whole `vec4`s.
pub(super) fn padded(words: u64) -> u64 {
    (words * 4).next_multiple_of(16)
}

struct Piece {
    buffer: wgpu::Buffer,
    mapped: bool,
    answer: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

/// Staging: uploads collect in mapped pieces and travel before the next commands; readbacks come through one piece.
pub(super) struct Staging {
    pieces: Vec<Piece>,
    current: usize,
    used: u64,
    leaving: bool,
    copies: Option<wgpu::CommandEncoder>,
    readback: wgpu::Buffer,
}

impl Staging {
    /// Bytes held.
    pub(super) const BYTES: u64 = PIECE * (PIECES as u64 + 1);

    /// Allocates all pieces.
    pub(super) fn new(link: &mut Link) -> Result<Staging, Fault> {
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let mut pieces = Vec::new();
        for _ in 0..PIECES {
            let buffer = link.buffer("upload", PIECE, usage, true)?;
            pieces.push(Piece { buffer, mapped: true, answer: bounded(1).1 });
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let readback = link.buffer("readback", PIECE, usage, false)?;
        Ok(Staging { pieces, current: 0, used: 0, leaving: false, copies: None, readback })
    }

    /// Copies bytes (a multiple of 4) into a buffer before all commands that are submitted later.
    pub(super) fn put(
        &mut self,
        link: &mut Link,
        to: &wgpu::Buffer,
        mut at: u64,
        mut data: &[u8],
    ) -> Result<(), Fault> {
        link.check()?;
        while !data.is_empty() {
            if self.used == PIECE {
                self.flush(link)?;
            }
            self.map_current(link)?;
            let len = (data.len() as u64).min(PIECE - self.used);
            let (now, later) = data.split_at(len as usize);
            let from = self.used;
            let buffer = &self.pieces[self.current].buffer;
            match buffer.slice(from..from + len).get_mapped_range_mut() {
                Ok(mut view) => view.copy_from_slice(now),
                Err(error) => return Err(lost_mapping(link, &error)),
            }
            let encoder = self.copies.get_or_insert_with(|| encoder(link));
            encoder.copy_buffer_to_buffer(buffer, from, to, at, len);
            self.used = (from + len).next_multiple_of(MAP_ALIGN);
            (at, data) = (at + len, later);
        }
        Ok(())
    }

    /// Zeroes a buffer in the same order as uploads.
    pub(super) fn zero(&mut self, link: &Link, buffer: &wgpu::Buffer) {
        self.copies.get_or_insert_with(|| encoder(link)).clear_buffer(buffer, 0, None);
    }

    /// The collected copies, to be submitted before the next commands; then call [`Staging::sent`].
    pub(super) fn take(&mut self) -> Option<wgpu::CommandBuffer> {
        let commands = self.copies.take()?.finish();
        let piece = &mut self.pieces[self.current];
        if self.used > 0 {
            piece.buffer.unmap();
            piece.mapped = false;
            self.leaving = true;
        }
        Some(commands)
    }

    /// Asks for the sent piece back and goes on with the next one.
    pub(super) fn sent(&mut self) {
        if !std::mem::take(&mut self.leaving) {
            return;
        }
        let piece = &mut self.pieces[self.current];
        let (sender, answer) = bounded(1);
        piece.answer = answer;
        piece.buffer.slice(..).map_async(wgpu::MapMode::Write, move |result| drop(sender.try_send(result)));
        self.current = (self.current + 1) % self.pieces.len();
        self.used = 0;
    }

    /// Submits the collected copies.
    pub(super) fn flush(&mut self, link: &mut Link) -> Result<(), Fault> {
        if let Some(commands) = self.take() {
            link.submit(vec![commands], None)?;
            self.sent();
        }
        Ok(())
    }

    /// Reads bytes (a multiple of 4) of a buffer after everything submitted so far.
    pub(super) fn get(&mut self, link: &mut Link, from: &wgpu::Buffer, at: u64, out: &mut [u8]) -> Result<(), Fault> {
        self.flush(link)?;
        for (i, piece) in out.chunks_mut(PIECE as usize).enumerate() {
            let len = piece.len() as u64;
            let mut commands = encoder(link);
            commands.copy_buffer_to_buffer(from, at + i as u64 * PIECE, &self.readback, 0, len);
            link.submit(vec![commands.finish()], None)?;
            let (sender, answer) = bounded(1);
            let slice = self.readback.slice(..len);
            slice.map_async(wgpu::MapMode::Read, move |result| drop(sender.try_send(result)));
            await_mapping(link, &answer)?;
            match slice.get_mapped_range() {
                Ok(view) => piece.copy_from_slice(&view),
                Err(error) => return Err(lost_mapping(link, &error)),
            }
            self.readback.unmap();
        }
        Ok(())
    }

    fn map_current(&mut self, link: &mut Link) -> Result<(), Fault> {
        let piece = &mut self.pieces[self.current];
        if !piece.mapped {
            await_mapping(link, &piece.answer)?;
            piece.mapped = true;
        }
        Ok(())
    }
}

fn encoder(link: &Link) -> wgpu::CommandEncoder {
    link.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None })
}

/// Waits until a mapping that was asked for is there.
fn await_mapping(link: &mut Link, answer: &Receiver<Result<(), wgpu::BufferAsyncError>>) -> Result<(), Fault> {
    loop {
        link.check()?;
        if let Ok(result) = answer.try_recv() {
            return result.map_err(|error| lost_mapping(link, &error));
        }
        if !link.land()? {
            return answer
                .try_recv()
                .unwrap_or(Err(wgpu::BufferAsyncError))
                .map_err(|error| lost_mapping(link, &error));
        }
    }
}

/// A buffer that cannot be mapped is the sign of a lost device.
fn lost_mapping(link: &mut Link, error: &dyn std::fmt::Display) -> Fault {
    match link.check() {
        Err(fault) => fault,
        Ok(()) => {
            link.lose(format!("a staging buffer could not be mapped: {error}"));
            Fault::new(FaultKind::DeviceLost, format!("a staging buffer could not be mapped: {error}"))
        }
    }
}
