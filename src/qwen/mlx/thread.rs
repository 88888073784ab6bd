//! The MLX thread: arrays may move between threads, but only this one computes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

use mlx_rs::error::Exception;
use mlx_rs::transforms::compile::{disable_compile, enable_compile};
use mlx_rs::{Stream, memory as mlx};

use super::{Device, Error, Memory};

type Job = Box<dyn FnOnce() + Send>;

/// The sender of jobs to the thread, which starts at the first call and lives as long as the process.
fn jobs() -> &'static Sender<Job> {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    JOBS.get_or_init(|| {
        let (sender, receiver) = channel::<Job>();
        thread::spawn(move || receiver.into_iter().for_each(|job| job()));
        sender
    })
}

/// Runs `work` on the thread and waits for its result; a panic is [`Error::Failed`].
pub(super) fn call<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Error> {
    let (sender, receiver) = sync_channel(1);
    let job = move || {
        // The caller waits below, unless it is gone.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    };
    let exited = || Error::Failed("its thread has exited".to_owned());
    jobs().send(Box::new(job)).map_err(|_| exited())?;
    match receiver.recv().map_err(|_| exited())? {
        Ok(result) => Ok(result),
        Err(_) => Err(Error::Failed("its thread panicked".to_owned())),
    }
}

/// Runs `work` on the thread without waiting for it.
pub(super) fn spawn(work: impl FnOnce() + Send + 'static) {
    let job = move || drop(catch_unwind(AssertUnwindSafe(work)));
    // The thread lives as long as the process.
    let _ = jobs().send(Box::new(job));
}

/// A value that is created, used and dropped on the MLX thread.
pub(super) struct OnThread<T: Send + 'static> {
    /// `None` while it is used, and for ever after a panic.
    value: Option<T>,
    device: Device,
}

impl<T: Send + 'static> OnThread<T> {
    /// Creates the value on the thread, with `device` as MLX's default.
    pub(super) fn new(
        device: Device,
        create: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let value = call(move || with_device(device, create))??;
        Ok(Self {
            value: Some(value),
            device,
        })
    }

    /// Runs `work` with the value on the thread.
    pub(super) fn with<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut T) -> Result<R, Exception> + Send + 'static,
    ) -> Result<R, Error> {
        let lost = || Error::Failed("the model is lost since its thread panicked".to_owned());
        let (mut value, device) = (self.value.take().ok_or_else(lost)?, self.device);
        let (value, result) = call(move || {
            let result = with_device(device, || work(&mut value));
            // Cached buffers have other sizes than the next pass needs.
            let _ = mlx::clear_cache();
            (value, result)
        })?;
        self.value = Some(value);
        result.map_err(failed)
    }
}

impl<T: Send + 'static> Drop for OnThread<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            let _ = call(move || {
                drop(value);
                mlx::clear_cache()
            });
        }
    }
}

/// Runs `work` with `device` as MLX's default.
pub(super) fn with_device<R>(device: Device, work: impl FnOnce() -> R) -> R {
    choose_compilation(device);
    let stream = match device {
        Device::Cpu | Device::CpuBf16 => Stream::cpu(),
        Device::Gpu => Stream::gpu(),
    };
    mlx_rs::with_stream(&stream, work)
}

/// Sets whether MLX compiles functions (`fused.rs`) or runs them as they are: it has one switch for all threads.
fn choose_compilation(device: Device) {
    // MLX's own switch, for a machine where compiled functions fail.
    let is_disabled = std::env::var_os("MLX_DISABLE_COMPILE").is_some();
    match device {
        Device::Gpu if !is_disabled => enable_compile(),
        _ => disable_compile(),
    }
}

/// Maximum bytes of MLX's buffer cache, which gets an eighth of the memory limit.
const MAX_CACHE: u64 = 2 << 30;

/// Sets MLX's memory limit. On a GPU, allocations beyond it wait for memory to be freed; on a CPU it has no effect.
///
/// # Errors
/// [`Error::Failed`] when MLX fails.
pub fn set_memory_limit(bytes: u64) -> Result<(), Error> {
    call(move || {
        mlx::set_memory_limit(bytes as usize)?;
        mlx::set_cache_limit((bytes / 8).min(MAX_CACHE) as usize)
    })?
    .map(drop)
    .map_err(failed)
}

/// Resets [`Memory::peak`].
pub fn reset_peak_memory() {
    // If it fails, the peak of the whole process is reported.
    let _ = mlx::reset_peak_memory();
}

/// Memory that MLX holds.
pub fn memory() -> Memory {
    let bytes = |figure: Result<usize, Exception>| figure.map_or(0, |bytes| bytes as u64);
    Memory {
        active: bytes(mlx::active_memory()),
        cache: bytes(mlx::cache_memory()),
        peak: bytes(mlx::peak_memory()),
    }
}

/// Converts an exception of MLX: out of memory is [`Error::Memory`], any other is [`Error::Failed`]. The source location at
/// the end of its text is cut off.
pub(super) fn failed(error: Exception) -> Error {
    let why = error.what().lines().next().unwrap_or_default();
    let why = why.split(" at /").next().unwrap_or_default().to_owned();
    let lower = why.to_ascii_lowercase();
    let memory = [
        "unable to allocate",
        "out of memory",
        "outofmemory",
        "insufficient memory",
    ];
    match memory.iter().any(|sign| lower.contains(sign)) {
        true => Error::Memory(why),
        false => Error::Failed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_an_error_and_the_thread_keeps_running() {
        assert!(matches!(
            call(|| panic!("on purpose")),
            Err::<(), _>(Error::Failed(_))
        ));
        assert_eq!(call(|| 7).unwrap(), 7);
    }

    #[test]
    fn out_of_memory_is_an_error_of_its_own() {
        let error = |what: &str| failed(Exception::custom(what));
        assert!(matches!(
            error("[malloc_or_wait] Unable to allocate 137438953472 bytes. at /src/mlx/c/ops.cpp:12"),
            Error::Memory(why) if why.ends_with("bytes.")
        ));
        assert!(matches!(error("[matmul] Last dimension"), Error::Failed(_)));
    }
}
