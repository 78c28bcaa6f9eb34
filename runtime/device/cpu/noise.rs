//! dropout: Philox on eight rows of four columns at a time, the same words as the definition's.

use pleach_shaders::spec::{Args, words};
use pleach_shaders::{dropout, sink};

use super::elementwise::rows_of;
use super::math::simd;
use super::memory::Room;

/// Counters that are turned into words together.
const GROUP: usize = 16;

/// Philox-4x32-10 (Salmon et al., 2011) of `GROUP` counters {first, from + i, third, fourth}.
#[inline(always)]
fn philox(key: [u32; 2], first: u32, from: u32, third: u32, fourth: u32) -> [[u32; GROUP]; 4] {
    let mut c = [[first; GROUP], [0; GROUP], [third; GROUP], [fourth; GROUP]];
    for i in 0..GROUP {
        c[1][i] = from + i as u32;
    }
    let mut key = key;
    for _ in 0..10 {
        for i in 0..GROUP {
            let left = u64::from(0xD251_1F53_u32) * u64::from(c[0][i]);
            let right = u64::from(0xCD9E_8D57_u32) * u64::from(c[2][i]);
            c[0][i] = (right >> 32) as u32 ^ c[1][i] ^ key[0];
            c[2][i] = (left >> 32) as u32 ^ c[3][i] ^ key[1];
            c[1][i] = right as u32;
            c[3][i] = left as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// dropout.forward and dropout.backward: the derivative is the factor.
pub(super) fn dropout(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: dropout::Params = args.params();
    let c = p.c as usize;
    let (x, keys, tick) = (args.reads[0], words(args.reads[1]), args.tick);
    let add = p.sink == sink::ADD;
    room.team.rows(p.n as usize, rows_of(c * 4), [(&mut *args.writes[0], c)], |range, [y]| {
        simd!({
            for (row, y) in range.zip(y.chunks_exact_mut(c)) {
                let x = &x[row * c..(row + 1) * c];
                let (xs, ys) = (x.chunks(4 * GROUP), y.chunks_mut(4 * GROUP));
                for (at, (x, y)) in xs.zip(ys).enumerate() {
                    let from = (at * GROUP) as u32;
                    let random = philox([tick.seed_lo, tick.seed_hi], keys[row], from, p.site, tick.draw);
                    for i in 0..x.len() {
                        let value = if random[i % 4][i / 4] >= p.threshold { x[i] * p.scale } else { 0.0 };
                        let before = if add { y[i] } else { 0.0 };
                        y[i] = before + value;
                    }
                }
            }
        });
    });
}
