//! Compute device of an engine.

use super::{Config, Device, Engine, Error};
use crate::qwen::candle::{self, CandleDevice, DeviceKind};
use crate::qwen::mlx;
use crate::units::ByteSize;

/// Properties of a compute device that planning a run needs.
pub(super) struct DeviceInfo {
    /// Display name.
    pub(super) name: String,
    /// Bytes of the dtype.
    pub(super) dtype_bytes: u64,
    /// Bytes of a number of a matrix that is stored in bf16.
    pub(super) bf16_matrix_bytes: u64,
    /// Whether the device is a GPU.
    pub(super) is_gpu: bool,
    /// Dedicated memory; `None` if it shares the machine's.
    pub(super) own_memory: Option<ByteSize>,
}

impl DeviceInfo {
    /// Returns the device that the configured engine would use.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        Ok(match config.engine {
            Engine::Candle => {
                let device = candle_device(config.device)?;
                Self {
                    name: device.name(),
                    dtype_bytes: device.bytes(),
                    // The CPU computes in f32, with matrices as they are stored.
                    bf16_matrix_bytes: 2,
                    is_gpu: device.is_gpu(),
                    own_memory: device.own_memory().map(ByteSize),
                }
            }
            Engine::Mlx => {
                let device = mlx_device(config.device)?;
                Self {
                    name: device.name().to_owned(),
                    dtype_bytes: device.bytes(),
                    bf16_matrix_bytes: device.bytes(),
                    is_gpu: device == mlx::Device::Gpu,
                    own_memory: None,
                }
            }
        })
    }
}

/// Opens the device for candle.
pub(crate) fn candle_device(device: Device) -> Result<CandleDevice, candle::Error> {
    CandleDevice::open(match device {
        Device::Auto => None,
        Device::Cpu => Some(DeviceKind::Cpu),
        Device::Cuda => Some(DeviceKind::Cuda),
        Device::Metal => Some(DeviceKind::Metal),
    })
}

/// Opens the device for MLX.
pub(crate) fn mlx_device(device: Device) -> Result<mlx::Device, mlx::Error> {
    mlx::Device::open(match device {
        Device::Auto => None,
        Device::Cpu => Some(mlx::Device::Cpu),
        Device::Metal => Some(mlx::Device::Gpu),
        Device::Cuda => return Err(mlx::Error::Device("CUDA")),
    })
}
