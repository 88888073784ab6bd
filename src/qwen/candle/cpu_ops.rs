//! [`linalg`](crate::linalg) as operations of candle: what the CPU computes in f32. candle's own packs the same weights in every
//! product, computes element by element on one thread, and keeps all scores of attention in memory.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Error, InplaceOp2, InplaceOp3, Layout,
    Result, Shape, Storage, Tensor, bail,
};
use rayon::prelude::*;

use super::linear_tensors::LinearTensors;
use crate::linalg::{self, Activation, Attention, Epilogue, PackedMatrix, Values};
use crate::qwen::PackedSequences;

/// Whether the CPU computes with `x` by operations of its own.
pub(super) fn has_cpu_ops(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The weights of a linear layer, or of two that are combined, packed.
pub(super) struct Packed {
    weights: PackedMatrix,
    bias: [Option<Vec<f32>>; 2],
    /// The matrices A and B of an adapter that is not merged.
    lora: Option<[PackedMatrix; 2]>,
}

impl Packed {
    /// Packs a layer, whose weights are in bf16 or f32.
    pub(super) fn new(layer: &LinearTensors) -> Result<Self> {
        let pack = |tensor: &Tensor| {
            let inputs = tensor.dim(1)?;
            with_values(tensor, |values| Ok(PackedMatrix::new(values, inputs)))
        };
        let lora = layer.lora.as_ref();
        Ok(Self {
            weights: pack(&layer.weight)?,
            bias: [bias(layer)?, None],
            lora: lora
                .map(|[a, b]| Ok::<_, Error>([pack(a)?, pack(b)?]))
                .transpose()?,
        })
    }

    /// Packs two layers without adapters that are combined by [`Activation::SwiGlu`].
    pub(super) fn pair(first: &LinearTensors, second: &LinearTensors) -> Result<Self> {
        let inputs = first.weight.dim(1)?;
        let weights = with_values(&first.weight, |a| {
            with_values(&second.weight, |b| Ok(PackedMatrix::pair(a, b, inputs)))
        });
        Ok(Self {
            weights: weights?,
            bias: [bias(first)?, bias(second)?],
            lora: None,
        })
    }

    /// The product with rows, (rows, inputs), and an activation.
    pub(super) fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        x.apply_op1_no_bwd(&Product {
            layer: self,
            activation,
        })
    }

    /// The product with rows, added to others, (rows, outputs).
    pub(super) fn forward_add(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        x.apply_op2_no_bwd(addend, &ProductAdd(self))
    }

    fn product(
        &self,
        x: &[f32],
        addend: Option<&[f32]>,
        activation: Activation,
    ) -> (CpuStorage, Shape) {
        let shape = (x.len() / self.weights.inputs(), self.weights.outputs());
        let with = |addend, activation| Epilogue {
            bias: [self.bias[0].as_deref(), self.bias[1].as_deref()],
            addend,
            activation,
        };
        let product = match &self.lora {
            None => linalg::product(x, &self.weights, with(addend, activation)),
            Some([a, b]) => {
                let base = linalg::product(x, &self.weights, with(addend, Activation::Identity));
                let low_rank = linalg::product(x, a, Epilogue::default());
                let epilogue = Epilogue {
                    addend: Some(&base),
                    activation,
                    ..Epilogue::default()
                };
                linalg::product(&low_rank, b, epilogue)
            }
        };
        (CpuStorage::F32(product), shape.into())
    }
}

fn bias(layer: &LinearTensors) -> Result<Option<Vec<f32>>> {
    let bias = layer.bias.as_ref();
    bias.map(|bias| bias.to_dtype(DType::F32)?.to_vec1())
        .transpose()
}

/// Passes the numbers of a contiguous tensor on the CPU to `with`: those of other types in f32.
fn with_values<T>(tensor: &Tensor, with: impl FnOnce(Values<'_>) -> Result<T>) -> Result<T> {
    let tensor = match tensor.dtype() {
        DType::BF16 => tensor.contiguous()?,
        _ => tensor.to_dtype(DType::F32)?.contiguous()?,
    };
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected contiguous weights");
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => with(Values::F32(&values[start..end])),
        Storage::Cpu(CpuStorage::BF16(values)) => with(Values::Bf16(&values[start..end])),
        _ => bail!("expected weights on the CPU"),
    }
}

struct Product<'a> {
    layer: &'a Packed,
    activation: Activation,
}

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self
            .layer
            .product(floats(x, layout)?, None, self.activation))
    }
}

struct ProductAdd<'a>(&'a Packed);

impl CustomOp2 for ProductAdd<'_> {
    fn name(&self) -> &'static str {
        "product-add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        addend: &CpuStorage,
        addend_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let addend = Some(floats(addend, addend_layout)?);
        Ok(self
            .0
            .product(floats(x, layout)?, addend, Activation::Identity))
    }
}

/// Attention of queries, (rows, heads, head_dim), to keys and values, (rows, key_heads, head_dim): (rows, heads * head_dim).
pub(super) struct Attend<'a>(pub(super) &'a PackedSequences);

impl CustomOp3 for Attend<'_> {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, heads, head_dim) = q_layout.shape().dims3()?;
        let (_, key_heads, _) = k_layout.shape().dims3()?;
        let groups = self.0.groups.iter();
        let lengths: Vec<usize> = groups
            .flat_map(|group| std::iter::repeat_n(group.len, group.count))
            .collect();
        let shape = Attention {
            heads,
            key_heads,
            head_dim,
            lengths: &lengths,
            causal: self.0.causal,
        };
        let [q, k, v] = [
            floats(q, q_layout)?,
            floats(k, k_layout)?,
            floats(v, v_layout)?,
        ];
        let output = linalg::attend(q, k, v, shape);
        Ok((CpuStorage::F32(output), (rows, heads * head_dim).into()))
    }
}

/// Replaces gates by `silu(gate) * up`.
pub(super) struct SwiGlu;

impl InplaceOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<()> {
        linalg::swiglu(floats_mut(gate, gate_layout)?, floats(up, up_layout)?);
        Ok(())
    }
}

/// Rotates the halves of each head of (rows, heads, head_dim) by angles of which cosines and sines, (rows, 1, head_dim / 2), are
/// given.
pub(super) struct Rotate;

impl InplaceOp3 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<()> {
        let (_, heads, head_dim) = layout.shape().dims3()?;
        let (cos, sin) = (floats(cos, cos_layout)?, floats(sin, sin_layout)?);
        let half = head_dim / 2;
        let rows = floats_mut(x, layout)?.par_chunks_exact_mut(heads * head_dim);
        let angles = cos.par_chunks_exact(half).zip(sin.par_chunks_exact(half));
        rows.zip(angles).for_each(|(row, (cos, sin))| {
            for head in row.chunks_exact_mut(head_dim) {
                let (first, second) = head.split_at_mut(half);
                for (((x, y), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                }
            }
        });
        Ok(())
    }
}

/// The values of a contiguous f32 tensor.
fn floats<'s>(storage: &'s CpuStorage, layout: &Layout) -> Result<&'s [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("expected contiguous f32 values"),
    }
}

/// The values of a contiguous f32 tensor, to write.
fn floats_mut<'s>(storage: &'s mut CpuStorage, layout: &Layout) -> Result<&'s mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("expected contiguous f32 values"),
    }
}
