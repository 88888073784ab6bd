//! Where tensors live, and what the tensor library says when it fails.

use candle_core::utils::{cuda_is_available, metal_is_available};
use candle_core::{DType, Device as Candle};

use super::{Config, Device, Engine, Error};
use crate::mlx::{self, Unit};
use crate::units::ByteSize;

/// Where an engine computes, as far as the plan of a run must know.
pub(super) struct Site {
    /// For people.
    pub(super) name: String,
    /// Bytes of a number.
    pub(super) bytes: u64,
    /// Whether it is a GPU.
    pub(super) on_gpu: bool,
    /// Memory that it has to itself.
    pub(super) own_memory: Option<ByteSize>,
}

impl Site {
    /// Looks where the configuration's engine would compute.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        Ok(match config.engine {
            Engine::Candle => {
                let place = Place::open(config.device)?;
                Self {
                    name: place.name(),
                    bytes: place.dtype.size_in_bytes() as u64,
                    on_gpu: !place.device.is_cpu(),
                    own_memory: place.own_memory(),
                }
            }
            Engine::Mlx => {
                let unit = unit(config.device)?;
                Self {
                    name: unit.name().to_owned(),
                    bytes: unit.bytes(),
                    on_gpu: unit == Unit::Gpu,
                    own_memory: None,
                }
            }
        })
    }
}

/// What MLX calls a device.
pub(super) fn unit(device: Device) -> Result<Unit, mlx::Error> {
    Unit::open(match device {
        Device::Auto => None,
        Device::Cpu => Some(Unit::Cpu),
        Device::Metal => Some(Unit::Gpu),
        Device::Cuda => return Err(mlx::Error::Device("CUDA")),
    })
}

/// A device, and the type of numbers that suits it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The device.
    pub(super) device: Candle,
    /// The type of weights and activations.
    pub(super) dtype: DType,
}

impl Place {
    /// The CPU, in f32.
    pub(super) fn cpu() -> Self {
        Self {
            device: Candle::Cpu,
            dtype: DType::F32,
        }
    }

    /// Opens the device asked for.
    ///
    /// # Errors
    /// When it is not there or not built in; never for [`Device::Auto`].
    pub(super) fn open(device: Device) -> Result<Self, Error> {
        let gpu = |device| Self {
            device,
            dtype: DType::BF16,
        };
        let refused = |name, error: candle_core::Error| Error::Device(name, short(&error));
        match device {
            Device::Cpu => Ok(Self::cpu()),
            Device::Cuda => Candle::new_cuda(0)
                .map(gpu)
                .map_err(|error| refused("cuda", error)),
            Device::Metal => Candle::new_metal(0)
                .map(gpu)
                .map_err(|error| refused("metal", error)),
            Device::Auto => Ok(Self::best()),
        }
    }

    fn best() -> Self {
        let metal = metal_is_available().then(|| Self::open(Device::Metal));
        let cuda = cuda_is_available().then(|| Self::open(Device::Cuda));
        let first = metal.into_iter().chain(cuda).find_map(Result::ok);
        first.unwrap_or_else(Self::cpu)
    }

    /// For people: `cpu (f32)`.
    pub(super) fn name(&self) -> String {
        let device = match self.device {
            Candle::Cpu => "cpu",
            Candle::Cuda(_) => "cuda",
            Candle::Metal(_) => "metal",
        };
        format!("{device} ({})", self.dtype.as_str())
    }

    /// Memory that the device has to itself; none where it shares the machine's.
    pub(super) fn own_memory(&self) -> Option<ByteSize> {
        if !matches!(self.device, Candle::Cuda(_)) {
            return None;
        }
        // Asked of the driver's own tool: no feature of ours, and no library, is needed for it.
        let answer = std::process::Command::new("nvidia-smi")
            .args(["--query-gpu=memory.total", "--format=csv,noheader,nounits"])
            .output()
            .ok()?;
        let text = String::from_utf8(answer.stdout).ok()?;
        let mebibytes: u64 = text.lines().next()?.trim().parse().ok()?;
        Some(ByteSize(mebibytes << 20))
    }
}

/// Turns a failure of the tensor library into ours; running out of memory is told apart.
pub(super) fn failed(error: candle_core::Error) -> Error {
    let why = short(&error);
    let lower = why.to_ascii_lowercase().replace('_', " ");
    let memory = ["out of memory", "insufficient memory", "outofmemory"];
    if memory.iter().any(|sign| lower.contains(sign)) {
        return Error::OutOfMemory(why);
    }
    Error::Model(why)
}

/// The first line: the library may append a backtrace.
fn short(error: &candle_core::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_is_told_apart() {
        let error = |text: &str| failed(candle_core::Error::Msg(text.to_owned()));
        for text in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "Metal: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
        ] {
            assert!(matches!(error(text), Error::OutOfMemory(_)), "{text}");
        }
        assert!(matches!(error("shape mismatch"), Error::Model(_)));
    }

    #[test]
    fn auto_always_finds_a_device() {
        assert!(Place::open(Device::Auto).is_ok());
        assert_eq!(Place::open(Device::Cpu).unwrap().name(), "cpu (f32)");
        if !cuda_is_available() {
            assert!(matches!(
                Place::open(Device::Cuda),
                Err(Error::Device("cuda", _))
            ));
        }
    }
}
