//! The weights of a model on their device: a checkpoint, checked, with an adapter merged in.

use std::path::PathBuf;

use candle_core::Tensor;
use candle_nn::{LayerNorm, Linear, RmsNorm};

use super::Error;
use super::checkpoint::Checkpoint;
use super::device::{self, Place};
use super::json::Json;
use super::lora::Lora;

/// Where the weights of a model are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The shards of the base.
    pub(super) base: Vec<PathBuf>,
    /// `adapter_config.json` and the adapter's tensors.
    pub(super) adapter: Option<(Json, PathBuf)>,
}

/// Checked weights, loaded one by one.
pub(super) struct Weights {
    checkpoint: Checkpoint,
    lora: Option<Lora>,
    place: Place,
}

impl Weights {
    /// Opens the files and compares them with what the model needs, before anything is loaded.
    pub(super) fn open(
        model: &str,
        files: &Files,
        schema: &[(String, Vec<usize>)],
        place: Place,
    ) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(&files.base)?;
        checkpoint.check(model, schema)?;
        let lora = files
            .adapter
            .clone()
            .map(|(config, tensors)| Lora::open(model, &config, tensors, schema))
            .transpose()?;
        Ok(Self {
            checkpoint,
            lora,
            place,
        })
    }

    /// Where the weights go.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A tensor, with the adapter merged in, on its device.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let mut tensor = self.checkpoint.load(name)?;
        if let Some(lora) = &self.lora {
            tensor = lora.merge(name, tensor)?;
        }
        tensor
            .to_dtype(self.place.dtype)
            .and_then(|tensor| tensor.to_device(&self.place.device))
            .map_err(device::failed)
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
