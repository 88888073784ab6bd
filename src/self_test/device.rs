//! The tested device, of candle or MLX.

use std::path::Path;

use super::{Agreement, Error, SelfTest, Speed, compare, speed};
use crate::embed::{self, Config, Device, Embedder, Engine, colqwen};
use crate::qwen::candle::{self, CandleDevice, DeviceKind};
use crate::qwen::{Operation, mlx};
use crate::units::ByteSize;

/// Least cosine of a row with its reference in f32: rounding in another order.
pub(super) const LEAST_COSINE_F32: f32 = 0.9999;
/// Least cosine in bf16, which has 8 bits of precision.
pub(super) const LEAST_COSINE_BF16: f32 = 0.995;

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

    /// What a run may use of the device's dedicated memory.
    pub(super) fn own_memory(&self) -> ByteSize {
        match self {
            Self::Candle(device) => {
                ByteSize(device.own_memory().map_or(u64::MAX, |own| own / 5 * 4))
            }
            Self::Mlx(_) => ByteSize(u64::MAX),
        }
    }

    pub(super) fn least_cosine(&self) -> f32 {
        match self.bytes() {
            2 => LEAST_COSINE_BF16,
            _ => LEAST_COSINE_F32,
        }
    }

    /// Compares the checkpoint in a folder on this device with the CPU in f32.
    pub(super) fn compare(&self, folder: &Path, test: &SelfTest) -> Result<[Agreement; 2], Error> {
        let config = Config {
            model: folder.display().to_string(),
            engine: test.engine,
            device: test.device,
            max_visual_tokens: None,
            pool_factor: 1,
        };
        let mut reference = colqwen::open_on(&config, CandleDevice::cpu())?;
        let mut tested: Box<dyn Embedder> = match self {
            Self::Candle(device) => {
                candle::leave_nan(device).map_err(embed::Error::from)?;
                Box::new(colqwen::open_on(&config, device.clone())?)
            }
            Self::Mlx(_) => Box::new(colqwen::open_mlx(&config)?),
        };
        compare(tested.as_mut(), &mut reference)
    }

    /// Times an operation. On a CPU, candle computes it in f32: nobody would use bf16 there.
    pub(super) fn speed(&self, name: &'static str, operation: &Operation) -> Result<Speed, Error> {
        let rounds = match self.is_gpu() {
            true => speed::GPU_ROUNDS,
            false => speed::CPU_ROUNDS,
        };
        let (seconds, bytes) = match self {
            Self::Candle(device) => {
                let device = match device.is_gpu() {
                    true => device.clone(),
                    false => CandleDevice::cpu(),
                };
                (
                    candle::time(&device, operation, rounds).map_err(embed::Error::from)?,
                    device.bytes(),
                )
            }
            Self::Mlx(device) => (
                mlx::time(*device, operation, rounds).map_err(embed::Error::from)?,
                device.bytes(),
            ),
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
