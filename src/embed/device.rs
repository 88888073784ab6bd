//! Where an engine computes.

use super::{Config, Device, Engine, Error};
use crate::qwen::candle::{self, CandleDevice, DeviceKind};
use crate::qwen::mlx;
use crate::units::ByteSize;

/// Where an engine computes, as far as the plan of a run must know.
pub(super) struct DeviceInfo {
    /// For people.
    pub(super) name: String,
    /// Bytes of a number.
    pub(super) bytes: u64,
    /// Whether it is a GPU.
    pub(super) on_gpu: bool,
    /// Memory that it has to itself.
    pub(super) own_memory: Option<ByteSize>,
}

impl DeviceInfo {
    /// Looks where the configuration's engine would compute.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        Ok(match config.engine {
            Engine::Candle => {
                let device = candle_device(config.device)?;
                Self {
                    name: device.name(),
                    bytes: device.bytes(),
                    on_gpu: device.is_gpu(),
                    own_memory: device.own_memory().map(ByteSize),
                }
            }
            Engine::Mlx => {
                let device = mlx_device(config.device)?;
                Self {
                    name: device.name().to_owned(),
                    bytes: device.bytes(),
                    on_gpu: device == mlx::Device::Gpu,
                    own_memory: None,
                }
            }
        })
    }
}

/// The device that candle computes on.
pub(super) fn candle_device(device: Device) -> Result<CandleDevice, candle::Error> {
    CandleDevice::open(match device {
        Device::Auto => None,
        Device::Cpu => Some(DeviceKind::Cpu),
        Device::Cuda => Some(DeviceKind::Cuda),
        Device::Metal => Some(DeviceKind::Metal),
    })
}

/// The device that MLX computes on.
pub(super) fn mlx_device(device: Device) -> Result<mlx::Device, mlx::Error> {
    mlx::Device::open(match device {
        Device::Auto => None,
        Device::Cpu => Some(mlx::Device::Cpu),
        Device::Metal => Some(mlx::Device::Gpu),
        Device::Cuda => return Err(mlx::Error::Device("CUDA")),
    })
}
