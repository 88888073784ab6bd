//! Devices and errors of the candle backend.

use candle_core::utils::cuda_is_available;
use candle_core::{DType, Device};

use crate::checkpoint;

/// An error of the candle backend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The weights are missing or invalid.
    #[error(transparent)]
    Files(#[from] checkpoint::Error),
    /// The device is not available or not compiled in.
    #[error("device `{0}` cannot be used: {1}")]
    Device(&'static str, String),
    /// Out of memory; a smaller batch may fit.
    #[error("out of memory on {0}")]
    OutOfMemory(String),
    /// The computation failed.
    #[error("the model failed: {0}")]
    Failed(String),
}

/// The kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CPU, in f32.
    Cpu,
    /// The CPU, in bf16: rounds as a GPU does, to compare with one. Slow.
    CpuBf16,
    /// An NVIDIA GPU, in bf16 (feature `cuda`).
    Cuda,
    /// An Apple GPU, in bf16.
    Metal,
}

/// A device with the dtype to compute in.
#[derive(Clone, Debug)]
pub struct CandleDevice {
    /// The device.
    pub(super) device: Device,
    /// The dtype of weights and activations.
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

    /// Opens the device `wanted`; `None`: Metal or CUDA where available, otherwise the CPU.
    ///
    /// # Errors
    /// [`Error::Device`] when it is not available or not compiled in; never for `None`.
    pub fn open(wanted: Option<DeviceKind>) -> Result<Self, Error> {
        let in_bf16 = |device| Self {
            device,
            dtype: DType::BF16,
        };
        let refused = |name, error: candle_core::Error| Error::Device(name, short(&error));
        match wanted {
            Some(DeviceKind::Cpu) => Ok(Self::cpu()),
            Some(DeviceKind::CpuBf16) => Ok(in_bf16(Device::Cpu)),
            Some(DeviceKind::Cuda) => Device::new_cuda(0)
                .map(in_bf16)
                .map_err(|error| refused("cuda", error)),
            Some(DeviceKind::Metal) => match obstacle_to_metal() {
                Some(why) => Err(Error::Device("metal", why.to_owned())),
                None => Device::new_metal(0)
                    .map(in_bf16)
                    .map_err(|error| refused("metal", error)),
            },
            None => Ok(Self::best()),
        }
    }

    fn best() -> Self {
        let metal = obstacle_to_metal().is_none();
        let metal = metal.then(|| Self::open(Some(DeviceKind::Metal)));
        let cuda = cuda_is_available().then(|| Self::open(Some(DeviceKind::Cuda)));
        let first = metal.into_iter().chain(cuda).find_map(Result::ok);
        first.unwrap_or_else(Self::cpu)
    }

    /// Bytes of an element of its dtype.
    pub fn bytes(&self) -> u64 {
        self.dtype.size_in_bytes() as u64
    }

    /// Whether it computes with [`crate::linalg`], whose weights are packed.
    pub(super) fn has_cpu_ops(&self) -> bool {
        self.device.is_cpu() && self.dtype == DType::F32
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        !self.device.is_cpu()
    }

    /// Display name, such as `cpu (f32)`.
    pub fn name(&self) -> String {
        let device = match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        };
        format!("{device} ({})", self.dtype.as_str())
    }

    /// Bytes of dedicated memory; `None` where the device shares the machine's.
    pub fn own_memory(&self) -> Option<u64> {
        if !matches!(self.device, Device::Cuda(_)) {
            return None;
        }
        // The driver's own tool needs neither a feature of ours nor a library.
        let output = std::process::Command::new("nvidia-smi")
            .args(["--query-gpu=memory.total", "--format=csv,noheader,nounits"])
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mebibytes: u64 = text.lines().next()?.trim().parse().ok()?;
        Some(mebibytes << 20)
    }
}

/// Why Metal cannot be used here. candle only says whether it is compiled in, and panics where it has no device or is too old.
#[cfg(target_os = "macos")]
fn obstacle_to_metal() -> Option<&'static str> {
    if objc2::runtime::AnyClass::get(c"MTLResidencySetDescriptor").is_none() {
        return Some("it needs macOS 15 or newer");
    }
    let devices = candle_metal_kernels::metal::Device::all();
    devices
        .is_empty()
        .then_some("this machine has no GPU that Metal can use, like some virtual machines")
}

/// Why Metal cannot be used here.
#[cfg(not(target_os = "macos"))]
fn obstacle_to_metal() -> Option<&'static str> {
    Some("Metal exists on macOS only")
}

/// Runs work and frees what Apple's libraries leave to the thread's autorelease pool. candle 0.11 drains none: some 0.5 KB per
/// kernel would pile up (huggingface/candle#2271).
#[cfg(target_os = "macos")]
pub(super) fn autoreleased<T>(work: impl FnOnce() -> T) -> T {
    objc2::rc::autoreleasepool(|_| work())
}

/// Runs work; only Apple's libraries have an autorelease pool.
#[cfg(not(target_os = "macos"))]
pub(super) fn autoreleased<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Converts an error of candle: out of memory is [`Error::OutOfMemory`], any other is [`Error::Failed`].
pub(super) fn failed(error: candle_core::Error) -> Error {
    let why = short(&error);
    let lower = why.to_ascii_lowercase().replace('_', " ");
    let memory = [
        "out of memory",
        "insufficient memory",
        "outofmemory",
        // Metal, when it refuses an allocation.
        "failed to create metal resource: buffer",
        // Metal, of what follows a failure; that is most often lack of memory, and fewer pages cost little to try.
        "submissionsignored",
    ];
    if memory.iter().any(|sign| lower.contains(sign)) {
        return Error::OutOfMemory(why);
    }
    Error::Failed(why)
}

/// The first line of an error: candle may append a backtrace.
fn short(error: &candle_core::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_is_an_error_of_its_own() {
        let error = |text: &str| failed(candle_core::Error::Msg(text.to_owned()));
        for text in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "Metal: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
            "Failed to create metal resource: Buffer",
            "Ignored (for causing prior/excessive GPU errors) (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)",
        ] {
            assert!(matches!(error(text), Error::OutOfMemory(_)), "{text}");
        }
        assert!(matches!(error("shape mismatch"), Error::Failed(_)));
    }

    #[test]
    fn auto_always_opens_a_device() {
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
