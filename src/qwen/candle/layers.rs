//! Layers of both towers: matrix product, linear, gated MLP.

use candle_core::{DType, Device, Result, Tensor};

use super::cpu_ops::{AddBias, SwiGlu, has_cpu_ops};

/// Product of two matrices, or of batches of them. candle has none in bf16 on the CPU: there it is computed in f32, which is
/// what GPUs accumulate in.
pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match (a.device(), a.dtype()) {
        (Device::Cpu, DType::BF16) => a
            .to_dtype(DType::F32)?
            .matmul(&b.to_dtype(DType::F32)?)?
            .to_dtype(DType::BF16),
        _ => a.matmul(b),
    }
}

/// A linear layer.
pub(super) struct Linear {
    /// (out, in).
    pub(super) weight: Tensor,
    /// (out).
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    /// From (rows, in) to (rows, out).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.product(x)?;
        match &self.bias {
            None => Ok(y),
            Some(bias) if has_cpu_ops(&y) => {
                y.inplace_op2(bias, &AddBias)?;
                Ok(y)
            }
            Some(bias) => y.broadcast_add(bias),
        }
    }

    /// The layer that computes the first `count` numbers of the output.
    pub(super) fn first(&self, count: usize) -> Result<Self> {
        let bias = self.bias.as_ref().map(|bias| bias.narrow(0, 0, count));
        Ok(Self {
            weight: self.weight.narrow(0, 0, count)?,
            bias: bias.transpose()?,
        })
    }

    /// The layers that compute `count` equal parts of the output.
    pub(super) fn split(&self, count: usize) -> Result<Vec<Self>> {
        let part = |x: &Tensor, index: usize| {
            let rows = x.dim(0)? / count;
            x.narrow(0, index * rows, rows)
        };
        let split = |index| {
            let bias = self.bias.as_ref().map(|bias| part(bias, index));
            Ok(Self {
                weight: part(&self.weight, index)?,
                bias: bias.transpose()?,
            })
        };
        (0..count).map(split).collect()
    }

    /// The product with the weight, without bias.
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        matmul(x, &self.weight.t()?)
    }
}

/// An MLP with a gate: `down(silu(gate(x)) * up(x))` (SwiGLU, Shazeer 2020).
pub(super) struct GatedMlp {
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

impl GatedMlp {
    /// From (rows, hidden_size) to (rows, hidden_size).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !has_cpu_ops(x) {
            let gated = (self.gate.forward(x)?.silu()? * self.up.forward(x)?)?;
            return self.down.forward(&gated);
        }
        let values = |bias: &Option<Tensor>| bias.as_ref().map(Tensor::to_vec1::<f32>).transpose();
        let swiglu = SwiGlu {
            gate_bias: values(&self.gate.bias)?,
            up_bias: values(&self.up.bias)?,
        };
        let gated = self.gate.product(x)?;
        gated.inplace_op2(&self.up.product(x)?, &swiglu)?;
        self.down.forward(&gated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(shape: &[usize]) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn linear(from: usize, to: usize, bias: bool) -> Linear {
        Linear {
            weight: noise(&[to, from]),
            bias: bias.then(|| noise(&[to])),
        }
    }

    /// The same in bf16, which takes candle's own operations.
    fn in_bf16(linear: &Linear) -> Linear {
        let bf16 = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
        Linear {
            weight: bf16(&linear.weight),
            bias: linear.bias.as_ref().map(bf16),
        }
    }

    fn max_difference(a: &Tensor, b: &Tensor) -> f32 {
        let b = b.to_dtype(DType::F32).unwrap();
        let difference = (a - b).unwrap().abs().unwrap();
        difference
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar()
            .unwrap()
    }

    #[test]
    fn linear_adds_its_bias_to_each_row() {
        let (layer, x) = (linear(5, 3, true), noise(&[4, 5]));
        let product = x.matmul(&layer.weight.t().unwrap()).unwrap();
        let want = product.broadcast_add(layer.bias.as_ref().unwrap()).unwrap();
        assert!(max_difference(&layer.forward(&x).unwrap(), &want) < 1e-6);
    }

    #[test]
    fn split_layers_compute_parts_of_the_output() {
        let (layer, x) = (linear(5, 6, true), noise(&[4, 5]));
        let parts: Vec<Tensor> = layer
            .split(3)
            .unwrap()
            .iter()
            .map(|part| part.forward(&x).unwrap())
            .collect();
        let joined = Tensor::cat(&parts, 1).unwrap();
        assert!(max_difference(&joined, &layer.forward(&x).unwrap()) < 1e-6);
    }

    #[test]
    fn gated_mlp_equals_its_definition() {
        for bias in [false, true] {
            let mlp = GatedMlp {
                gate: linear(8, 12, bias),
                up: linear(8, 12, bias),
                down: linear(12, 8, bias),
            };
            let x = noise(&[6, 8]);
            let gated = mlp.gate.forward(&x).unwrap().silu().unwrap() * mlp.up.forward(&x).unwrap();
            let want = mlp.down.forward(&gated.unwrap()).unwrap();
            let got = mlp.forward(&x).unwrap();
            assert!(max_difference(&got, &want) < 1e-5);
            let bf16 = GatedMlp {
                gate: in_bf16(&mlp.gate),
                up: in_bf16(&mlp.up),
                down: in_bf16(&mlp.down),
            };
            let rounded = bf16.forward(&x.to_dtype(DType::BF16).unwrap()).unwrap();
            let largest = max_difference(&got, &got.zeros_like().unwrap());
            assert!(max_difference(&got, &rounded) < 0.05 * largest);
        }
    }
}
