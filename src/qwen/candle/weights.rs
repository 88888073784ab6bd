//! Weights as candle layers on their device, with a LoRA adapter merged in.

use candle_core::{DType, Device, Tensor};
use candle_nn::{LayerNorm, RmsNorm};

use super::device::{CandleDevice, Error, failed};
use super::layers::Linear;
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
        let base = self.checked.raw(name)?;
        let delta = match &self.checked.lora {
            None => None,
            Some(lora) => lora.delta(name)?,
        };
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

    /// Loads a linear layer.
    pub(super) fn linear(&self, name: &str, bias: bool) -> Result<Linear, Error> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let bias = bias.then(|| self.tensor(&format!("{name}.bias")));
        Ok(Linear {
            weight,
            bias: bias.transpose()?,
        })
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

/// A tensor in f32 with its LoRA delta added.
fn merged(base: RawTensor, delta: &LoraDelta) -> candle_core::Result<Tensor> {
    tensor_f32(base)? + (tensor_f32(delta.b)?.matmul(&tensor_f32(delta.a)?)? * delta.scale)?
}
