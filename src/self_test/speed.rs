//! The operations that a page spends its time on, at the sizes of the released models.

use serde::Serialize;

use crate::qwen::Operation;

/// Patches of five large pages, which a GPU computes at a time.
const PATCHES: usize = 14_720;
/// Tokens of five large pages.
const TOKENS: usize = 3_735;
/// The pages of these.
const PAGES: usize = 5;
/// On a CPU, the same with fewer rows, and attention of one page.
const CPU_ROWS: usize = 64;

/// How fast a device computes an operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// The operation in a model.
    pub name: &'static str,
    /// Its sizes.
    pub sizes: String,
    /// Element type of its inputs.
    pub dtype: &'static str,
    /// Seconds that it takes.
    pub seconds: f64,
    /// Floating-point operations per second; 0 for a copy.
    pub flops: f64,
    /// Bytes read and written per second by a copy; 0 for others.
    pub bytes_per_second: f64,
}

impl Speed {
    pub(super) fn new(name: &'static str, operation: &Operation, seconds: f64, bytes: u64) -> Self {
        Self {
            name,
            sizes: sizes(operation),
            dtype: if bytes == 2 { "bf16" } else { "f32" },
            seconds,
            flops: operation.flops() as f64 / seconds,
            bytes_per_second: (operation.copied_values() * bytes) as f64 / seconds,
        }
    }
}

fn sizes(operation: &Operation) -> String {
    match *operation {
        Operation::Linear { rows, from, to } => format!("{rows} x {from} x {to}"),
        Operation::Attention {
            count,
            len,
            heads,
            key_heads,
            head_dim,
            ..
        } => format!("{count} x {len} rows, {heads}/{key_heads} heads of {head_dim}"),
        Operation::Copy { values } => format!("{} M values", values / 1_000_000),
    }
}

/// The operations to time: those of ColQwen2.5-3B, and of the language model of Qwen3-VL-4B.
pub(super) fn operations(is_gpu: bool) -> [(&'static str, Operation); 10] {
    let rows = |rows: usize| if is_gpu { rows } else { CPU_ROWS };
    let linear = |count, from, to| Operation::Linear {
        rows: rows(count),
        from,
        to,
    };
    let attention = |count, len, heads, key_heads, head_dim, causal| Operation::Attention {
        count: if is_gpu { count } else { count / PAGES },
        len,
        heads,
        key_heads,
        head_dim,
        causal,
    };
    // On a CPU, a quarter of a large page.
    let page = if is_gpu { 2944 } else { 736 };
    let values = if is_gpu { 256_000_000 } else { 32_000_000 };
    [
        ("3B vision q, k, v", linear(PATCHES, 1280, 1280)),
        ("3B vision qkv, MLX", linear(PATCHES, 1280, 3840)),
        ("3B vision MLP", linear(PATCHES, 1280, 3420)),
        ("3B text MLP up", linear(TOKENS, 2048, 11_008)),
        ("3B text MLP down", linear(TOKENS, 11_008, 2048)),
        ("4B text MLP up", linear(TOKENS, 2560, 9728)),
        ("3B window attention", attention(230, 64, 16, 16, 80, false)),
        ("3B full attention", attention(5, page, 16, 16, 80, false)),
        ("3B causal attention", attention(5, 747, 16, 2, 128, true)),
        ("copy", Operation::Copy { values }),
    ]
}
