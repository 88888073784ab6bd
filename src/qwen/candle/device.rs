//! Devices of candle, and its errors.

use candle_core::utils::{cuda_is_available, metal_is_available};
use candle_core::{DType, Device};

use crate::checkpoint;

/// Why candle cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The weights are not as they should be.
    #[error(transparent)]
    Files(#[from] checkpoint::Error),
    /// The device is not there or not built in.
    #[error("device `{0}` cannot be used: {1}")]
    Device(&'static str, String),
    /// It ran out of memory; a smaller batch may fit.
    #[error("out of memory on {0}")]
    OutOfMemory(String),
    /// It failed.
    #[error("the model failed: {0}")]
    Failed(String),
}

/// The kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CPU, in f32.
    Cpu,
    /// An NVIDIA GPU, in bf16 (feature `cuda`).
    Cuda,
    /// An Apple GPU, in bf16.
    Metal,
}

/// A device, and the type of numbers that suits it.
#[derive(Clone, Debug)]
pub struct CandleDevice {
    /// The device.
    pub(super) device: Device,
    /// The type of weights and activations.
    pub(super) dtype: DType,
}

impl CandleDevice {
    /// The CPU, in f32.
    pub fn cpu() -> Self {
        Self {
            device: Device::Cpu,
            dtype: DType::F32,
        }
    }

    /// Opens the device asked for; `None`: Metal or CUDA where there is one, else the CPU.
    ///
    /// # Errors
    /// [`Error::Device`] when it is not there or not built in; never for `None`.
    pub fn open(wanted: Option<DeviceKind>) -> Result<Self, Error> {
        let gpu = |device| Self {
            device,
            dtype: DType::BF16,
        };
        let refused = |name, error: candle_core::Error| Error::Device(name, short(&error));
        match wanted {
            Some(DeviceKind::Cpu) => Ok(Self::cpu()),
            Some(DeviceKind::Cuda) => Device::new_cuda(0)
                .map(gpu)
                .map_err(|error| refused("cuda", error)),
            Some(DeviceKind::Metal) => Device::new_metal(0)
                .map(gpu)
                .map_err(|error| refused("metal", error)),
            None => Ok(Self::best()),
        }
    }

    fn best() -> Self {
        let metal = metal_is_available().then(|| Self::open(Some(DeviceKind::Metal)));
        let cuda = cuda_is_available().then(|| Self::open(Some(DeviceKind::Cuda)));
        let first = metal.into_iter().chain(cuda).find_map(Result::ok);
        first.unwrap_or_else(Self::cpu)
    }

    /// Bytes of a number.
    pub fn bytes(&self) -> u64 {
        self.dtype.size_in_bytes() as u64
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        !self.device.is_cpu()
    }

    /// For people: `cpu (f32)`.
    pub fn name(&self) -> String {
        let device = match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        };
        format!("{device} ({})", self.dtype.as_str())
    }

    /// Bytes of memory that the device has to itself; `None` where it shares the machine's.
    pub fn own_memory(&self) -> Option<u64> {
        if !matches!(self.device, Device::Cuda(_)) {
            return None;
        }
        // Asked of the driver's own tool: no feature of ours, and no library, is needed for it.
        let answer = std::process::Command::new("nvidia-smi")
            .args(["--query-gpu=memory.total", "--format=csv,noheader,nounits"])
            .output()
            .ok()?;
        let text = String::from_utf8(answer.stdout).ok()?;
        let mebibytes: u64 = text.lines().next()?.trim().parse().ok()?;
        Some(mebibytes << 20)
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
    Error::Failed(why)
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
        assert!(matches!(error("shape mismatch"), Error::Failed(_)));
    }

    #[test]
    fn auto_always_finds_a_device() {
        assert!(CandleDevice::open(None).is_ok());
        assert_eq!(
            CandleDevice::open(Some(DeviceKind::Cpu)).unwrap().name(),
            "cpu (f32)"
        );
        if !cuda_is_available() {
            assert!(matches!(
                CandleDevice::open(Some(DeviceKind::Cuda)),
                Err(Error::Device("cuda", _))
            ));
        }
    }
}
