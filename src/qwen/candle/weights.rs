//! Weights as candle layers on their device, with a LoRA adapter.

use candle_core::{DType, Device, Tensor};
use candle_nn::{LayerNorm, RmsNorm};
use safetensors::Dtype;

use super::device::{CandleDevice, Error, failed};
use super::layers::{GatedMlp, Linear};
use super::linear_tensors::LinearTensors;
use crate::checkpoint::{LoraDelta, RawTensor, Weights as Checked};

/// Checked weights, loaded one by one.
pub(super) struct Weights {
    checked: Checked,
    device: CandleDevice,
}

impl Weights {
    /// Weights to load onto a device.
    pub(super) fn new(checked: Checked, device: CandleDevice) -> Self {
        Self { checked, device }
    }

    /// The device that weights are loaded onto.
    pub(super) fn device(&self) -> &CandleDevice {
        &self.device
    }

    /// Loads a tensor onto the device, with the adapter merged in.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let (base, delta) = (self.checked.raw(name)?, self.delta(name)?);
        let load = || {
            let tensor = match delta {
                None => tensor(base)?,
                Some(delta) => merged(base, &delta)?,
            };
            tensor
                .to_dtype(self.device.dtype)?
                .to_device(&self.device.device)
        };
        load().map_err(failed)
    }

    /// Loads a matrix. On the CPU it stays in bf16 if it is stored so: that takes half the memory, and products widen it.
    pub(super) fn matrix(&self, name: &str) -> Result<Tensor, Error> {
        match self.delta(name)? {
            None if self.stays_bf16(name)? => tensor(self.checked.raw(name)?).map_err(failed),
            _ => self.tensor(name),
        }
    }

    /// Whether a tensor stays in bf16 although the CPU computes in f32.
    fn stays_bf16(&self, name: &str) -> Result<bool, Error> {
        Ok(self.device.has_cpu_ops() && self.checked.raw(name)?.dtype == Dtype::BF16)
    }

    fn delta(&self, name: &str) -> Result<Option<LoraDelta<'_>>, Error> {
        let lora = self.checked.lora.as_ref();
        Ok(lora.map(|lora| lora.delta(name)).transpose()?.flatten())
    }

    /// Loads the tensors of a linear layer. An adapter is merged, unless the matrix stays in bf16: that would round it.
    pub(super) fn linear_tensors(&self, name: &str, bias: bool) -> Result<LinearTensors, Error> {
        let matrix = format!("{name}.weight");
        let lora = match self.delta(&matrix)? {
            Some(delta) if self.stays_bf16(&matrix)? => Some(low_rank(delta).map_err(failed)?),
            _ => None,
        };
        let weight = match &lora {
            None => self.matrix(&matrix)?,
            Some(_) => tensor(self.checked.raw(&matrix)?).map_err(failed)?,
        };
        let bias = bias.then(|| self.tensor(&format!("{name}.bias")));
        Ok(LinearTensors {
            weight,
            bias: bias.transpose()?,
            lora,
        })
    }

    /// Loads a linear layer.
    pub(super) fn linear(&self, name: &str, bias: bool) -> Result<Linear, Error> {
        Linear::new(self.linear_tensors(name, bias)?, &self.device).map_err(failed)
    }

    /// Loads an MLP with a gate.
    pub(super) fn gated_mlp(&self, name: &str, bias: bool) -> Result<GatedMlp, Error> {
        let layer = |part: &str| self.linear_tensors(&format!("{name}.{part}_proj"), bias);
        let layers = [layer("gate")?, layer("up")?, layer("down")?];
        GatedMlp::new(layers, &self.device).map_err(failed)
    }

    /// Loads an RMS norm.
    pub(super) fn rms_norm(&self, name: &str, eps: f64) -> Result<RmsNorm, Error> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        Ok(RmsNorm::new(weight, eps))
    }

    /// Loads a layer norm with bias.
    pub(super) fn layer_norm(&self, name: &str, eps: f64) -> Result<LayerNorm, Error> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let bias = self.tensor(&format!("{name}.bias"))?;
        Ok(LayerNorm::new(weight, bias, eps))
    }
}

/// A tensor on the CPU, in the dtype of its file.
fn tensor(raw: RawTensor) -> candle_core::Result<Tensor> {
    let dtype = DType::try_from(raw.dtype)?;
    Tensor::from_raw_buffer(raw.bytes, dtype, raw.shape, &Device::Cpu)
}

/// A tensor on the CPU, in f32.
fn tensor_f32(raw: RawTensor) -> candle_core::Result<Tensor> {
    tensor(raw)?.to_dtype(DType::F32)
}

/// The matrices of a LoRA delta in f32, the second one scaled.
fn low_rank(delta: LoraDelta<'_>) -> candle_core::Result<[Tensor; 2]> {
    Ok([tensor_f32(delta.a)?, (tensor_f32(delta.b)? * delta.scale)?])
}

/// A tensor in f32 with its LoRA delta added.
fn merged(base: RawTensor, delta: &LoraDelta) -> candle_core::Result<Tensor> {
    tensor_f32(base)? + (tensor_f32(delta.b)?.matmul(&tensor_f32(delta.a)?)? * delta.scale)?
}
