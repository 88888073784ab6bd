//! The tested device, of candle or MLX.

use std::path::Path;

use super::checkpoint::Family;
use super::{Agreement, Error, SelfTest, Speed, compare};
use crate::embed::{self, Config, Device, Engine, colqwen};
use crate::qwen::candle::{self, CandleDevice, DeviceKind};
use crate::qwen::{Operation, mlx};
use crate::units::ByteSize;

/// Least cosine of a row with its reference in f32: rounding in another order.
pub(super) const LEAST_COSINE_F32: f32 = 0.9999;
/// Least cosine in bf16, which has 8 bits of precision.
pub(super) const LEAST_COSINE_BF16: f32 = 0.995;

/// Patches of a chunk: the pages make several, one of them with two pages of A4.
const CHUNK_SIZE: usize = 6000;
/// Seconds that an operation is repeated on a GPU, which takes a while to raise its clock.
const GPU_SECONDS: f64 = 0.3;

/// The device that a [`SelfTest`] runs on.
#[derive(Clone, Debug)]
pub(super) enum Tested {
    Candle(CandleDevice),
    Mlx(mlx::Device),
}

impl Tested {
    pub(super) fn open(engine: Engine, device: Device) -> Result<Self, embed::Error> {
        Ok(match engine {
            Engine::Candle => {
                let wanted = embed::candle_device(device)?;
                Self::Candle(match wanted.is_gpu() {
                    true => wanted,
                    false => CandleDevice::open(Some(DeviceKind::CpuBf16))?,
                })
            }
            Engine::Mlx => Self::Mlx(embed::mlx_device(device)?),
        })
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Candle(device) => device.name(),
            Self::Mlx(device) => device.name().to_owned(),
        }
    }

    pub(super) fn is_gpu(&self) -> bool {
        match self {
            Self::Candle(device) => device.is_gpu(),
            Self::Mlx(device) => *device == mlx::Device::Gpu,
        }
    }

    /// Bytes of an element of its dtype.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Candle(device) => device.bytes(),
            Self::Mlx(device) => device.bytes(),
        }
    }

    /// Memory that may be allocated, where `machine` is what the machine has to spare.
    pub(super) fn memory_limit(&self, machine: ByteSize) -> ByteSize {
        match self {
            Self::Candle(device) => device
                .own_memory()
                .map_or(machine, |own| ByteSize(own / 5 * 4)),
            Self::Mlx(_) => machine,
        }
    }

    /// Bytes of an element in a run on this device: candle computes in f32 on a CPU.
    pub(super) fn bytes_of_a_run(&self) -> u64 {
        match self {
            Self::Candle(device) if !device.is_gpu() => CandleDevice::cpu().bytes(),
            _ => self.bytes(),
        }
    }

    pub(super) fn least_cosine(&self) -> f32 {
        match self.bytes() {
            2 => LEAST_COSINE_BF16,
            _ => LEAST_COSINE_F32,
        }
    }

    /// Compares the checkpoint of a family in a folder on this device with the CPU in f32.
    pub(super) fn compare(
        &self,
        family: Family,
        folder: &Path,
        test: &SelfTest,
    ) -> Result<[Agreement; 2], Error> {
        let config = Config {
            model: folder.display().to_string(),
            engine: test.engine,
            device: test.device,
            max_visual_tokens: None,
            pool_factor: 1,
            width: None,
            meaning: None,
        };
        let mut reference = colqwen::open_on(&config, CandleDevice::cpu())?;
        match self {
            Self::Candle(device) => {
                let mut tested = colqwen::open_on(&config, device.clone())?;
                tested.set_chunk_size(CHUNK_SIZE);
                let leave_nan = || match device.is_gpu() {
                    true => Ok(candle::leave_nan(device).map_err(embed::Error::from)?),
                    false => Ok(()),
                };
                compare(&mut tested, &mut reference, family.patch_size(), &leave_nan)
            }
            Self::Mlx(_) => {
                let mut tested = colqwen::open_mlx(&config)?;
                tested.set_chunk_size(CHUNK_SIZE);
                compare(&mut tested, &mut reference, family.patch_size(), &|| Ok(()))
            }
        }
    }

    /// Times an operation. On a CPU, candle computes it in f32: nobody would use bf16 there.
    pub(super) fn speed(&self, name: &'static str, operation: &Operation) -> Result<Speed, Error> {
        let seconds = if self.is_gpu() { GPU_SECONDS } else { 0.0 };
        let (seconds, bytes) = match self {
            Self::Candle(device) => {
                let device = match device.is_gpu() {
                    true => device.clone(),
                    false => CandleDevice::cpu(),
                };
                let time = candle::time(&device, operation, seconds);
                (time.map_err(embed::Error::from)?, device.bytes())
            }
            Self::Mlx(device) => {
                let time = mlx::time(*device, operation, seconds);
                (time.map_err(embed::Error::from)?, device.bytes())
            }
        };
        Ok(Speed::new(name, operation, seconds, bytes))
    }

    pub(super) fn allocate(&self, bytes: ByteSize) -> Result<(), Error> {
        let allocated = match self {
            Self::Candle(device) => candle::allocate(device, bytes.0).map_err(embed::Error::from),
            Self::Mlx(device) => mlx::allocate(*device, bytes.0).map_err(embed::Error::from),
        };
        Ok(allocated?)
    }
}
