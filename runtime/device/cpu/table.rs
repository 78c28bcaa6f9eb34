//! The fast versions, keyed by the name of the op.

use pleach_shaders::spec::{Args, Call};

use super::elementwise::no_need;
use super::memory::{Need, Room};
use super::{
    adapter, attention, attention_backward, cache, elementwise, embed, gate, head, heads, matmul, noise, norms,
    optimizer, reduce,
};

/// A fast version of an op.
pub(super) struct Fast {
    /// `pair.verb`.
    pub(super) name: &'static str,
    /// Computes a call: all writes from all reads, as the spec does, up to rounding.
    pub(super) run: fn(&mut Args<'_>, &mut Room<'_>),
    /// The working memory of a call.
    pub(super) need: fn(&Call) -> Need,
}

/// One line of the list.
const fn fast(name: &'static str, run: fn(&mut Args<'_>, &mut Room<'_>), need: fn(&Call) -> Need) -> Fast {
    Fast { name, run, need }
}

/// All of them.
const FAST: &[Fast] = &[
    fast("activation.backward", elementwise::activation_backward, no_need),
    fast("activation.forward", elementwise::activation_forward, no_need),
    fast("adamw.apply", optimizer::adamw, no_need),
    fast("add.accumulate", elementwise::add_accumulate, no_need),
    fast("add.forward", elementwise::add_forward, no_need),
    fast("attention.backward", attention_backward::backward, attention_backward::need),
    fast("attention.forward", attention::forward, attention::need),
    fast("cache.append", cache::append, no_need),
    fast("dora.forward", adapter::dora_forward, no_need),
    fast("dora.magnitude", adapter::magnitude, adapter::magnitude_need),
    fast("dora.scales", adapter::scales, adapter::scales_need),
    fast("dropout.backward", noise::dropout, no_need),
    fast("dropout.forward", noise::dropout, no_need),
    fast("embed.backward", embed::backward, no_need),
    fast("embed.forward", embed::forward, no_need),
    fast("gate.backward", gate::gate_backward, no_need),
    fast("gate.forward", gate::gate_forward, no_need),
    fast("head.forward", head::forward, head::forward_need),
    fast("head.train", head::train, head::train_need),
    fast("head_norm.backward", heads::norm_backward, heads::norm_need),
    fast("head_norm.forward", heads::norm_forward, no_need),
    fast("layer_norm.backward", norms::layer_backward, norms::layer_need),
    fast("layer_norm.forward", norms::layer_forward, no_need),
    fast("matmul.columns", adapter::columns, no_need),
    fast("matmul.columns_dw", adapter::columns_dw, no_need),
    fast("matmul.columns_dx", adapter::columns_dx, no_need),
    fast("matmul.dw", matmul::dw, no_need),
    fast("matmul.dx", matmul::dx, no_need),
    fast("matmul.forward", matmul::forward, matmul::forward_need),
    fast("norm_sq.partial", reduce::squares, no_need),
    fast("norm_sq.total", reduce::squares_total, no_need),
    fast("reduce.columns", reduce::columns, reduce::columns_need),
    fast("reduce.sum", reduce::total, no_need),
    fast("rms_norm.backward", norms::rms_backward, norms::rms_need),
    fast("rms_norm.forward", norms::rms_forward, no_need),
    fast("rope.backward", heads::rope_backward, no_need),
    fast("rope.forward", heads::rope_forward, no_need),
];

/// The fast version of an op.
pub(super) fn find(name: &str) -> Option<&'static Fast> {
    FAST.iter().find(|fast| fast.name == name)
}
