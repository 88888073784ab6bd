//! Layers of both towers: matrix product, linear, gated MLP.

use candle_core::{DType, Device, Result, Tensor};

use super::cpu_ops::{Packed, SwiGlu, has_cpu_ops};
use super::device::CandleDevice;
use super::linear_tensors::LinearTensors;
use crate::linalg;

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
pub(super) enum Linear {
    /// On a device of candle.
    Tensors(LinearTensors),
    /// On the CPU, in f32.
    Packed(Box<Packed>),
}

impl Linear {
    /// The layer of these tensors on a device.
    pub(super) fn new(tensors: LinearTensors, device: &CandleDevice) -> Result<Self> {
        Ok(match device.has_cpu_ops() {
            true => Self::Packed(Box::new(Packed::new(&tensors)?)),
            false => Self::Tensors(tensors),
        })
    }

    /// From (rows, in) to (rows, out).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => packed.forward(x, linalg::Activation::Identity),
            Self::Tensors(LinearTensors { weight, bias, .. }) => {
                let y = matmul(x, &weight.t()?)?;
                bias.as_ref()
                    .map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
            }
        }
    }

    /// As [`Linear::forward`], added to `addend`, (rows, out).
    pub(super) fn forward_add(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => packed.forward_add(x, addend),
            Self::Tensors(_) => addend + self.forward(x)?,
        }
    }

    /// As [`Linear::forward`], followed by an activation.
    pub(super) fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match (self, activation) {
            (Self::Packed(packed), _) => packed.forward(x, activation.on_cpu()),
            (Self::Tensors(_), Activation::GeluTanh) => self.forward(x)?.gelu(),
            (Self::Tensors(_), Activation::QuickGelu) => {
                let x = self.forward(x)?;
                &x * candle_nn::ops::sigmoid(&(&x * QUICK_GELU)?)?
            }
        }
    }
}

/// Factor of the sigmoid approximation of GELU.
const QUICK_GELU: f64 = 1.702;

/// Both approximations of GELU (Hendrycks & Gimpel 2016, §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x * sigmoid(1.702 x)`, which Qwen2-VL was trained with.
    QuickGelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
}

impl Activation {
    fn on_cpu(self) -> linalg::Activation {
        match self {
            Self::QuickGelu => linalg::Activation::Gelu {
                linear: QUICK_GELU as f32,
                cubic: 0.0,
            },
            // (1 + tanh y) / 2 is sigmoid(2 y).
            Self::GeluTanh => {
                let linear = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                linalg::Activation::Gelu {
                    linear: linear as f32,
                    cubic: (linear * 0.044_715) as f32,
                }
            }
        }
    }
}

/// An MLP with a gate: `down(silu(gate(x)) * up(x))` (SwiGLU, Shazeer 2020).
pub(super) struct GatedMlp {
    gate_up: GateUp,
    down: Linear,
}

enum GateUp {
    Apart(Linear, Linear),
    /// On the CPU, without adapters.
    Packed(Box<Packed>),
}

impl GatedMlp {
    /// The MLP of the tensors of gate, up and down on a device.
    pub(super) fn new([gate, up, down]: [LinearTensors; 3], device: &CandleDevice) -> Result<Self> {
        let is_plain = gate.lora.is_none() && up.lora.is_none();
        let gate_up = match device.has_cpu_ops() && is_plain {
            true => GateUp::Packed(Box::new(Packed::pair(&gate, &up)?)),
            false => GateUp::Apart(Linear::new(gate, device)?, Linear::new(up, device)?),
        };
        Ok(Self {
            gate_up,
            down: Linear::new(down, device)?,
        })
    }

    /// From (rows, hidden_size) to (rows, hidden_size), added to `addend`.
    pub(super) fn forward_add(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        let gated = match &self.gate_up {
            GateUp::Packed(packed) => packed.forward(x, linalg::Activation::SwiGlu)?,
            GateUp::Apart(gate, up) if has_cpu_ops(x) => {
                let gate = gate.forward(x)?;
                gate.inplace_op2(&up.forward(x)?, &SwiGlu)?;
                gate
            }
            GateUp::Apart(gate, up) => (gate.forward(x)?.silu()? * up.forward(x)?)?,
        };
        self.down.forward_add(&gated, addend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(shape: &[usize]) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn tensors(from: usize, to: usize, bias: bool) -> LinearTensors {
        LinearTensors {
            weight: noise(&[to, from]),
            bias: bias.then(|| noise(&[to])),
            lora: None,
        }
    }

    /// The same layer on a device.
    fn on(device: &CandleDevice, tensors: &LinearTensors) -> LinearTensors {
        let moved = |x: &Tensor| x.to_dtype(device.dtype).unwrap();
        LinearTensors {
            weight: moved(&tensors.weight),
            bias: tensors.bias.as_ref().map(moved),
            lora: None,
        }
    }

    /// The CPU with its own operations, and with candle's, which GPUs take as well.
    fn devices() -> [CandleDevice; 2] {
        let candle = CandleDevice {
            device: Device::Cpu,
            dtype: DType::F64,
        };
        [CandleDevice::cpu(), candle]
    }

    fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
        let [a, b] = [a, b].map(|x| x.to_dtype(DType::F64).unwrap());
        let difference = (a - b).unwrap().abs().unwrap();
        difference
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar()
            .unwrap()
    }

    /// What a layer computes on both devices is the same.
    fn assert_same(forward: impl Fn(&CandleDevice, &Tensor) -> Tensor, inputs: usize) {
        let x = noise(&[40, inputs]);
        let [own, candle] =
            devices().map(|device| forward(&device, &x.to_dtype(device.dtype).unwrap()));
        let difference = max_difference(&own, &candle);
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn linear_layers_equal_those_of_candle() {
        for bias in [false, true] {
            let (layer, addend) = (tensors(24, 70, bias), noise(&[40, 70]));
            let linear = |device: &CandleDevice| Linear::new(on(device, &layer), device).unwrap();
            assert_same(|device, x| linear(device).forward(x).unwrap(), 24);
            let sum = |device: &CandleDevice, x: &Tensor| {
                let addend = addend.to_dtype(device.dtype).unwrap();
                linear(device).forward_add(x, &addend).unwrap()
            };
            assert_same(sum, 24);
            for activation in [Activation::QuickGelu, Activation::GeluTanh] {
                assert_same(
                    |device, x| linear(device).forward_activated(x, activation).unwrap(),
                    24,
                );
            }
        }
    }

    #[test]
    fn weights_in_bf16_are_those_of_the_file() {
        let layer = on(
            &CandleDevice {
                device: Device::Cpu,
                dtype: DType::BF16,
            },
            &tensors(24, 70, true),
        );
        let (cpu, x) = (CandleDevice::cpu(), noise(&[40, 24]));
        let product = Linear::new(on(&cpu, &layer), &cpu)
            .unwrap()
            .forward(&x)
            .unwrap();
        let packed = Linear::new(layer, &cpu).unwrap().forward(&x).unwrap();
        assert!(max_difference(&product, &packed) < 1e-6);
    }

    #[test]
    fn split_layers_compute_parts_of_the_output() {
        let (layer, x, cpu) = (tensors(5, 6, true), noise(&[4, 5]), CandleDevice::cpu());
        let forward = |part: LinearTensors| Linear::new(part, &cpu).unwrap().forward(&x).unwrap();
        let parts: Vec<Tensor> = layer.split(3).unwrap().into_iter().map(forward).collect();
        let whole = forward(on(&cpu, &layer));
        assert!(max_difference(&Tensor::cat(&parts, 1).unwrap(), &whole) < 1e-6);
        let first = forward(layer.first(2).unwrap());
        assert!(max_difference(&first, &whole.narrow(1, 0, 2).unwrap()) < 1e-6);
    }

    #[test]
    fn adapters_are_added() {
        let cpu = CandleDevice::cpu();
        let (x, addend) = (noise(&[40, 24]), noise(&[40, 70]));
        let mut layer = tensors(24, 70, true);
        let [a, b] = [noise(&[4, 24]), noise(&[70, 4])];
        let merged = LinearTensors {
            weight: (&layer.weight + b.matmul(&a).unwrap()).unwrap(),
            ..on(&cpu, &layer)
        };
        layer.lora = Some([a, b]);
        let part = layer.first(33).unwrap();
        let [layer, merged] = [layer, merged].map(|layer| Linear::new(layer, &cpu).unwrap());
        let outputs = |layer: &Linear| {
            let gelu = layer.forward_activated(&x, Activation::GeluTanh);
            [layer.forward(&x), layer.forward_add(&x, &addend), gelu].map(Result::unwrap)
        };
        for (got, want) in outputs(&layer).iter().zip(&outputs(&merged)) {
            assert!(max_difference(got, want) < 1e-4);
        }
        let part = Linear::new(part, &cpu).unwrap().forward(&x).unwrap();
        let whole = merged.forward(&x).unwrap().narrow(1, 0, 33).unwrap();
        assert!(max_difference(&part, &whole) < 1e-4);
    }

    #[test]
    fn gated_mlps_equal_those_of_candle() {
        for bias in [false, true] {
            let layers = [
                tensors(8, 12, bias),
                tensors(8, 12, bias),
                tensors(12, 8, bias),
            ];
            let addend = noise(&[40, 8]);
            let forward = |device: &CandleDevice, x: &Tensor| {
                let mlp = GatedMlp::new(layers.each_ref().map(|layer| on(device, layer)), device)
                    .unwrap();
                mlp.forward_add(x, &addend.to_dtype(device.dtype).unwrap())
                    .unwrap()
            };
            assert_same(forward, 8);
        }
    }
}
