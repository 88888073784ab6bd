//! The weights of a model on their device, with an adapter merged in, as candle's layers.

use candle_core::{DType, Device, Tensor};
use candle_nn::{LayerNorm, Linear, RmsNorm};

use super::device::{CandleDevice, Error, failed};
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

    /// The device that they are loaded onto.
    pub(super) fn device(&self) -> &CandleDevice {
        &self.device
    }

    /// A tensor, with the adapter merged in, on its device.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let base = self.checked.checkpoint.raw(name)?;
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

    /// A linear layer.
    pub(super) fn linear(&self, name: &str, bias: bool) -> Result<Linear, Error> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let bias = bias.then(|| self.tensor(&format!("{name}.bias")));
        Ok(Linear::new(weight, bias.transpose()?))
    }

    /// A root-mean-square norm.
    pub(super) fn rms_norm(&self, name: &str, eps: f64) -> Result<RmsNorm, Error> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        Ok(RmsNorm::new(weight, eps))
    }

    /// A layer norm with bias.
    pub(super) fn layer_norm(&self, name: &str, eps: f64) -> Result<LayerNorm, Error> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let bias = self.tensor(&format!("{name}.bias"))?;
        Ok(LayerNorm::new(weight, bias, eps))
    }
}

/// A tensor as it is in its file, on the CPU.
fn tensor(raw: RawTensor) -> candle_core::Result<Tensor> {
    let dtype = DType::try_from(raw.dtype)?;
    Tensor::from_raw_buffer(raw.bytes, dtype, raw.shape, &Device::Cpu)
}

/// The same in f32.
fn wide(raw: RawTensor) -> candle_core::Result<Tensor> {
    tensor(raw)?.to_dtype(DType::F32)
}

fn merged(base: RawTensor, delta: &LoraDelta) -> candle_core::Result<Tensor> {
    wide(base)? + (wide(delta.b)?.matmul(&wide(delta.a)?)? * delta.scale)?
}
