//! How a GPU cuts a product: blocks, parts of the depth, shards of the weights. Serves `matmul` and `head`.

use crate::grid::bands;
use crate::matmul::Params;
use crate::reduce::emit_columns;
use crate::spec::{Access, Call, Caps, Cost, Kernel, Lowering, Region, Tensor};
use bytemuck::{Pod, Zeroable};

/// The template of all products.
pub const SOURCE: &str = include_str!("matmul.wgsl");

/// All entry points.
pub const KERNELS: &[&Kernel] = &[&DIRECT, &DIRECT_FUSED, &DIRECT_FUSED_Z, &TILED, &TILED_FUSED, &TILED_FUSED_Z];

const PLAIN: &[(&str, Access)] = &[("a", Access::Read), ("b", Access::Read), ("c", Access::Write)];
const FUSED: &[(&str, Access)] = &[
    ("a", Access::Read),
    ("b", Access::Read),
    ("c", Access::Write),
    ("bias", Access::Read),
    ("residual", Access::Read),
];
const FUSED_Z: &[(&str, Access)] = &[
    ("a", Access::Read),
    ("b", Access::Read),
    ("c", Access::Write),
    ("bias", Access::Read),
    ("residual", Access::Read),
    ("z", Access::Write),
];

macro_rules! kernel {
    ($name:ident, $title:literal, $entry:literal, $kind:literal, $epilogue:literal, $variants:expr, $storage:expr,
     $($block:expr),*) => {
        static $name: Kernel = Kernel {
            name: $title,
            source: SOURCE,
            entry: $entry,
            storage: $storage,
            tick: false,
            params_size: 80,
            defines: &[
                ("KIND", &[$kind]),
                ("EPILOGUE", &[$epilogue]),
                ("VARIANT", $variants),
                ("VEC", &[4, 1]),
                ("TAIL", &[0, 1]),
                $($block),*
            ],
            overrides: &[],
        };
    };
}

kernel!(DIRECT, "matmul.direct", "direct", 0, 0, &[0, 1, 2], PLAIN, ("BR", &[16, 8, 4, 1]), ("BQ", &[2, 1]));
kernel!(DIRECT_FUSED, "matmul.direct_fused", "direct", 0, 1, &[0], FUSED, ("BR", &[16, 8, 4, 1]), ("BQ", &[2, 1]));
kernel!(DIRECT_FUSED_Z, "matmul.direct_z", "direct", 0, 2, &[0], FUSED_Z, ("BR", &[16, 8, 4, 1]), ("BQ", &[2, 1]));
kernel!(TILED, "matmul.tiled", "tiled", 1, 0, &[0, 1, 2], PLAIN, ("SIDE", &[64, 128, 32]));
kernel!(TILED_FUSED, "matmul.tiled_fused", "tiled", 1, 1, &[0], FUSED, ("SIDE", &[64, 32]));
kernel!(TILED_FUSED_Z, "matmul.tiled_z", "tiled", 1, 2, &[0], FUSED_Z, ("SIDE", &[64, 32]));

/// Which product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// c = a b^T: both run along the depth.
    Nt = 0,
    /// c = a b.
    Nn = 1,
    /// c = a^T b: neither runs along the depth.
    Tn = 2,
}

/// A matrix in a binding: word `offset + i * stride + j` is element (i, j).
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// The binding.
    pub region: Region,
    /// First word.
    pub offset: usize,
    /// Words from row to row.
    pub stride: usize,
}

/// What follows a product; see `matmul.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct Fused {
    /// [`crate::activation::Activation::code`] or 0.
    pub activation: u32,
    /// Added to each row.
    pub bias: Option<Region>,
    /// Added last; lies as c does.
    pub residual: Option<Region>,
    /// Receives the input of the activation; lies as c does.
    pub z: Option<Region>,
}

/// One product c (rows, cols) = or += scale * sum over `depth`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Which operands are turned over.
    pub variant: Variant,
    /// Rows of c.
    pub rows: usize,
    /// Columns of c.
    pub cols: usize,
    /// Length of the sums.
    pub depth: usize,
    /// Left operand.
    pub a: Matrix,
    /// Right operand.
    pub b: Matrix,
    /// Result. Where its stride and offset are multiples of four, columns up to the next multiple of four are padding.
    pub c: Matrix,
    /// Factor.
    pub scale: f32,
    /// Add to c. Not together with `fused`.
    pub acc: bool,
    /// What follows; `None` for a bare product.
    pub fused: Option<Fused>,
    /// What lies beside c's columns belongs to others: none of it is padding.
    pub shared: bool,
}

impl Product {
    /// A product of extents (rows, cols, depth) with nothing after it.
    pub fn bare(
        variant: Variant,
        extents: (usize, usize, usize),
        [a, b, c]: [Matrix; 3],
        scale: f32,
        acc: bool,
    ) -> Product {
        let (rows, cols, depth) = extents;
        Product { variant, rows, cols, depth, a, b, c, scale, acc, fused: None, shared: false }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct KernelParams {
    rows: u32,
    cols: u32,
    depth: u32,
    part: u32,
    lda: u32,
    ldb: u32,
    ldc: u32,
    part_stride: u32,
    a_offset: u32,
    b_offset: u32,
    c_offset: u32,
    acc: u32,
    a_last: u32,
    b_last: u32,
    scale: f32,
    activation: u32,
    bias: u32,
    residual: u32,
    spare: [u32; 2],
}

/// Blocks of c and parts of the depth: how one product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// Rows of c per workgroup.
    rows: usize,
    /// Columns of c per workgroup.
    cols: usize,
    /// Depth per part.
    part: usize,
    /// Template variables of the block.
    block: &'static [(&'static str, u32)],
}

/// Blocks of the direct kernel: rows and quads of columns an invocation (eight invocations side by side), and the
/// GFLOP/s that one core of an AVX-512 processor made with it under lavapipe 22.3.6 (512 x 384 x 384, mean of the three
/// products). Sixteen rows and four quads reach 13 but take twice as long to compile.
const DIRECT_BLOCKS: &[(&[(&str, u32)], f64)] = &[
    (&[("BR", 16), ("BQ", 2)], 11.5),
    (&[("BR", 16), ("BQ", 1)], 8.2),
    (&[("BR", 8), ("BQ", 2)], 9.2),
    (&[("BR", 4), ("BQ", 2)], 6.5),
    (&[("BR", 4), ("BQ", 1)], 4.5),
    (&[("BR", 1), ("BQ", 2)], 2.0),
];

impl Cut {
    fn direct(block: &'static [(&'static str, u32)]) -> Cut {
        Cut { rows: block[0].1 as usize, cols: (block[1].1 * 32) as usize, part: usize::MAX, block }
    }
    fn tiled(block: &'static [(&'static str, u32)]) -> Cut {
        let side = block[0].1 as usize;
        Cut { rows: side, cols: side, part: usize::MAX, block }
    }
    /// Workgroups of one part.
    fn groups(&self, p: &Product) -> usize {
        p.rows.div_ceil(self.rows) * p.cols.div_ceil(self.cols)
    }
}

/// Scratch words that the parts of a product may take together.
const PARTS_MAX: usize = 16 << 20;

fn choose(p: &Product, caps: &Caps) -> Cut {
    let cut = if caps.software { choose_direct(p, caps) } else { choose_tiled(p, caps) };
    // Too few workgroups to fill the device: share out the depth.
    let groups = cut.groups(p);
    let (least, fill) = if caps.software { (128, caps.fill) } else { (256, caps.fill * tiles_in_one(&cut)) };
    let wanted = (fill as usize).div_ceil(groups).min(p.depth / least).min(PARTS_MAX / (p.rows * p.cols).max(1));
    if wanted < 2 || p.fused.is_some() || !packed(p) {
        return Cut { part: p.depth.next_multiple_of(16), ..cut };
    }
    Cut { part: p.depth.div_ceil(wanted).next_multiple_of(16), ..cut }
}

/// Words of a row of c together with its padding.
fn width(p: &Product) -> usize {
    if p.shared {
        return p.cols;
    }
    p.cols.next_multiple_of(if p.c.stride.is_multiple_of(4) { 4 } else { 1 })
}

/// Is c one aligned range of words, so that parts of it can be added up as if they were rows?
fn packed(p: &Product) -> bool {
    p.c.stride == width(p) && (p.c.offset as u64).is_multiple_of(Region::ALIGN)
}

/// The block with the least expected time: rounds of workgroups times the work of one, padding included.
fn choose_direct(p: &Product, caps: &Caps) -> Cut {
    let time = |(cut, rate): (Cut, f64)| {
        let rounds = cut.groups(p).div_ceil(caps.fill as usize);
        ((rounds * cut.rows * cut.cols) as f64 / rate, cut)
    };
    let usable = DIRECT_BLOCKS.iter().filter(|(block, _)| p.variant != Variant::Tn || block[0].1 >= 4);
    let best = usable.map(|&(block, rate)| time((Cut::direct(block), rate))).min_by(|a, b| a.0.total_cmp(&b.0));
    best.expect("there is a block for every product").1
}

/// Workgroups of a tile that take the place of one of 256 invocations. Many small ones also share out evenly: 288 of
/// them on 132 compute units cost as much as 396.
fn tiles_in_one(cut: &Cut) -> u32 {
    if cut.rows == 128 { 1 } else { 4 }
}

/// Measured on an H100 (Vulkan, NVIDIA 580.159): at 4096 x 4096 x 4096 tiles of 128, 64 and 32 make 38.5, 37.6 and 25
/// to 28 TFLOP/s, but a b^T of tiles of 128 only 28.5.
fn choose_tiled(p: &Product, caps: &Caps) -> Cut {
    let fill = caps.fill as usize;
    let [large, middle, small] = [&[("SIDE", 128)], &[("SIDE", 64)], &[("SIDE", 32)]].map(|block| Cut::tiled(block));
    if p.variant != Variant::Nt && large.groups(p) >= fill && caps.invocations >= 256 {
        return large;
    }
    // A deep product is better cut in depth; a flat one into smaller tiles.
    if middle.groups(p) >= fill || (p.fused.is_none() && p.depth >= 1024) { middle } else { small }
}

/// Emits one product.
pub fn emit(l: &mut Lowering<'_>, p: &Product) {
    assert!(p.fused.is_none() || !p.acc, "a fused product overwrites");
    let cut = choose(p, l.caps);
    let parts = p.depth.div_ceil(cut.part);
    let last = |m: &Matrix| (m.region.len - 1) as u32;
    let mut params = KernelParams {
        rows: p.rows as u32,
        cols: p.cols as u32,
        depth: p.depth as u32,
        part: cut.part as u32,
        lda: p.a.stride as u32,
        ldb: p.b.stride as u32,
        ldc: p.c.stride as u32,
        part_stride: 0,
        a_offset: p.a.offset as u32,
        b_offset: p.b.offset as u32,
        c_offset: p.c.offset as u32,
        acc: u32::from(p.acc),
        a_last: last(&p.a),
        b_last: last(&p.b),
        scale: p.scale,
        activation: p.fused.map_or(0, |f| f.activation),
        bias: p.fused.map_or(0, |f| u32::from(f.bias.is_some())),
        residual: p.fused.map_or(0, |f| u32::from(f.residual.is_some())),
        spare: [0; 2],
    };
    if parts == 1 {
        dispatch(l, p, &cut, &params, p.c.region, 1);
        return;
    }
    let width = width(p);
    let size = p.rows * width;
    let scratch = l.scratch((parts * size) as u64);
    (params.ldc, params.c_offset, params.part_stride) = (width as u32, 0, size as u32);
    (params.acc, params.scale) = (0, 1.0);
    let partial = Product { c: Matrix { region: scratch, offset: 0, stride: width }, ..*p };
    dispatch(l, &partial, &cut, &params, scratch, parts as u32);
    let c = Region { offset: p.c.region.offset + p.c.offset as u64, len: size as u64, ..p.c.region };
    emit_columns(l, scratch, c, parts, size, p.scale, p.acc);
}

/// Dispatches a product, in bands of whole row blocks where one would take too long. `p` has the offsets of `params`.
fn dispatch(l: &mut Lowering<'_>, p: &Product, cut: &Cut, params: &KernelParams, c: Region, parts: u32) {
    let (rows, cols, depth) = (p.rows as f64, p.cols as f64, p.depth as f64);
    let bytes = 4.0 * (rows * depth + cols * depth + rows * cols * f64::from(parts));
    let cost = Cost { flops: 2.0 * rows * cols * depth, bytes };
    let step = if p.variant == Variant::Tn { 1 } else { params.lda };
    for (first, blocks, cost) in bands(p.rows.div_ceil(cut.rows), cost, &l.caps.dispatch) {
        let first = first * cut.rows;
        let rows = (blocks * cut.rows).min(p.rows - first);
        let params = KernelParams {
            rows: rows as u32,
            a_offset: params.a_offset + first as u32 * step,
            c_offset: params.c_offset + first as u32 * params.ldc,
            ..*params
        };
        let grid = [p.cols.div_ceil(cut.cols) as u32, blocks as u32, parts];
        dispatch_band(l, p, cut, &params, c, grid, cost);
    }
}

fn dispatch_band(
    l: &mut Lowering<'_>,
    p: &Product,
    cut: &Cut,
    params: &KernelParams,
    c: Region,
    grid: [u32; 3],
    cost: Cost,
) {
    let four = |m: &Matrix| m.stride.is_multiple_of(4) && m.offset.is_multiple_of(4);
    let padded = !p.shared || p.cols.is_multiple_of(4);
    let vec = if padded && four(&p.a) && four(&p.b) && four(&p.c) { 4 } else { 1 };
    let mut defines =
        vec![("VARIANT", p.variant as u32), ("VEC", vec), ("TAIL", u32::from(!p.depth.is_multiple_of(4)))];
    defines.extend(cut.block);
    let none = l.whole(Tensor::none());
    let mut bindings = vec![p.a.region, p.b.region, c];
    let direct = cut.block[0].0 == "BR";
    let kernel = match p.fused {
        None if direct => &DIRECT,
        None => &TILED,
        Some(fused) => {
            bindings.extend([fused.bias.unwrap_or(none), fused.residual.unwrap_or(none)]);
            bindings.extend(fused.z);
            match fused.z {
                None if direct => &DIRECT_FUSED,
                None => &TILED_FUSED,
                Some(_) if direct => &DIRECT_FUSED_Z,
                Some(_) => &TILED_FUSED_Z,
            }
        }
    };
    l.dispatch_with(kernel, params, &bindings, grid, cost, &defines, &[]);
}

/// A whole activation as a matrix of rows.
pub(crate) fn matrix(l: &Lowering<'_>, t: Tensor) -> Matrix {
    Matrix { region: l.whole(t), offset: 0, stride: t.shape.row_len() }
}

/// Rows `first .. first + rows` of a weight: one shard.
pub(crate) fn shard(l: &Lowering<'_>, t: Tensor, first: usize, rows: usize) -> Matrix {
    Matrix { region: l.rows(t, first, rows), offset: 0, stride: t.shape.row_len() }
}

/// y = act(scale x w^T + bias) + residual: each shard of w makes a range of columns.
pub(crate) fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (x, w, bias, residual) = (call.reads[0], call.reads[1], call.reads[2], call.reads[3]);
    let y = call.writes[0];
    let z = call.writes.get(1).map(|&z| l.whole(z));
    let bare = p.bias == 0 && p.residual == 0 && p.activation == 0 && z.is_none();
    for (first, cols) in l.caps.shards(&w.shape) {
        let fused = Fused {
            activation: p.activation,
            bias: (p.bias == 1).then(|| l.rows(bias, first, cols)),
            residual: (p.residual == 1).then(|| l.whole(residual)),
            z,
        };
        let product = Product {
            variant: Variant::Nt,
            rows: p.n as usize,
            cols,
            depth: p.k as usize,
            a: matrix(l, x),
            b: shard(l, w, first, cols),
            c: Matrix { offset: first, ..matrix(l, y) },
            scale: p.scale,
            acc: false,
            fused: (!bare).then_some(fused),
            shared: false,
        };
        emit(l, &product);
    }
}

/// dx = or += scale dy w: each shard of w is a range of the depth.
pub(crate) fn lower_dx(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (dy, w) = (call.reads[0], call.reads[1]);
    for (first, depth) in l.caps.shards(&w.shape) {
        let a = Matrix { offset: first, ..matrix(l, dy) };
        let operands = [a, shard(l, w, first, depth), matrix(l, call.writes[0])];
        let acc = p.acc == 1 || first > 0;
        emit(l, &Product::bare(Variant::Nn, (p.n as usize, p.k as usize, depth), operands, p.scale, acc));
    }
}

/// dw = or += scale dy^T x: each shard of dw is a range of the rows.
pub(crate) fn lower_dw(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (dy, x, dw) = (call.reads[0], call.reads[1], call.writes[0]);
    for (first, rows) in l.caps.shards(&dw.shape) {
        let a = Matrix { offset: first, ..matrix(l, dy) };
        let operands = [a, matrix(l, x), shard(l, dw, first, rows)];
        emit(l, &Product::bare(Variant::Tn, (rows, p.k as usize, p.n as usize), operands, p.scale, p.acc == 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Place;

    const CARD: Caps =
        Caps { binding_words: 1 << 28, software: false, fill: 256, invocations: 256, dispatch: Cost::INFINITE };

    fn chosen(variant: Variant, rows: usize, cols: usize, depth: usize) -> (usize, usize) {
        let matrix = |stride: usize| Matrix {
            region: Region { place: Place::Tensor(0), offset: 0, len: 1 << 26 },
            offset: 0,
            stride,
        };
        let strides = match variant {
            Variant::Nt => [depth, depth, cols],
            Variant::Nn => [depth, cols, cols],
            Variant::Tn => [rows, cols, cols],
        };
        let product = Product::bare(variant, (rows, cols, depth), strides.map(matrix), 1.0, false);
        let cut = choose(&product, &CARD);
        (cut.rows, cut.groups(&product) * depth.div_ceil(cut.part))
    }

    #[test]
    fn a_card_gets_the_tiles_that_were_measured() {
        assert_eq!(chosen(Variant::Nn, 8192, 768, 3072), (128, 384));
        assert_eq!(chosen(Variant::Nt, 8192, 768, 3072), (64, 1536), "a b^T is slow in tiles of 128");
        assert_eq!(chosen(Variant::Nn, 2048, 384, 384), (32, 768), "flat and small");
    }

    #[test]
    fn a_deep_product_is_cut_until_its_tiles_share_out_evenly() {
        for (rows, cols) in [(768, 768), (384, 1536), (256, 768)] {
            let (side, groups) = chosen(Variant::Tn, rows, cols, 8192);
            assert_eq!(side, 64);
            assert!((1000..1400).contains(&groups), "{groups} workgroups for {rows} x {cols}");
        }
    }
}
