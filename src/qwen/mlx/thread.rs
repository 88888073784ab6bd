//! The thread that owns MLX. Arrays may travel between threads, but only this one computes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

use mlx_rs::error::Exception;
use mlx_rs::{Stream, memory as mlx};

use super::{Device, Error, Memory};

type Job = Box<dyn FnOnce() + Send>;

/// The way to the thread, which is started when it is first needed and lives as long as the process.
fn queue() -> &'static Sender<Job> {
    static QUEUE: OnceLock<Sender<Job>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (queue, jobs) = channel::<Job>();
        thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        queue
    })
}

/// Lets the thread do something and waits for the outcome.
pub(super) fn run<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Error> {
    let (tell, told) = sync_channel(1);
    let job = move || {
        // Who asked is waiting, or is gone and does not care.
        let _ = tell.send(catch_unwind(AssertUnwindSafe(work)));
    };
    let gone = || Error::Failed("its thread is gone".to_owned());
    queue().send(Box::new(job)).map_err(|_| gone())?;
    match told.recv().map_err(|_| gone())? {
        Ok(outcome) => Ok(outcome),
        Err(_) => Err(Error::Failed("its thread panicked".to_owned())),
    }
}

/// Lets the thread do something some time; nobody waits for it.
pub(super) fn post(work: impl FnOnce() + Send + 'static) {
    let job = move || drop(catch_unwind(AssertUnwindSafe(work)));
    // The thread ends with the process only.
    let _ = queue().send(Box::new(job));
}

/// A model that lives on the thread: it is made, used and dropped there.
pub(super) struct Kept<M: Send + 'static> {
    /// None while it is used, and for good once that has panicked.
    model: Option<M>,
    device: Device,
}

impl<M: Send + 'static> Kept<M> {
    /// Makes a model.
    pub(super) fn make(
        device: Device,
        make: impl FnOnce() -> Result<M, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let model = run(move || on(device, make))??;
        Ok(Self {
            model: Some(model),
            device,
        })
    }

    /// Uses it.
    pub(super) fn with<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut M) -> Result<R, Exception> + Send + 'static,
    ) -> Result<R, Error> {
        let lost = || Error::Failed("the model is lost since its thread panicked".to_owned());
        let (mut model, device) = (self.model.take().ok_or_else(lost)?, self.device);
        let (model, outcome) = run(move || {
            let outcome = on(device, || work(&mut model));
            // What the pass held is of other sizes than what the next one needs.
            let _ = mlx::clear_cache();
            (model, outcome)
        })?;
        self.model = Some(model);
        outcome.map_err(failed)
    }
}

impl<M: Send + 'static> Drop for Kept<M> {
    fn drop(&mut self) {
        if let Some(model) = self.model.take() {
            let _ = run(move || {
                drop(model);
                mlx::clear_cache()
            });
        }
    }
}

/// Does something on a unit.
pub(super) fn on<R>(device: Device, work: impl FnOnce() -> R) -> R {
    let stream = match device {
        Device::Cpu | Device::CpuBf16 => Stream::cpu(),
        Device::Gpu => Stream::gpu(),
    };
    mlx_rs::with_stream(&stream, work)
}

/// Bytes that MLX may keep for arrays to come: a part of what it may take, and never more than this.
const SPARE: u64 = 2 << 30;

/// Tells MLX how many bytes it may take. On a GPU it waits for memory beyond that; on a CPU it does not heed it.
///
/// # Errors
/// When MLX fails.
pub fn set_memory_limit(bytes: u64) -> Result<(), Error> {
    run(move || {
        mlx::set_memory_limit(bytes as usize)?;
        mlx::set_cache_limit((bytes / 8).min(SPARE) as usize)
    })?
    .map(drop)
    .map_err(failed)
}

/// Forgets the most there ever was.
pub fn reset_peak_memory() {
    // A figure that cannot be reset is still a figure.
    let _ = mlx::reset_peak_memory();
}

/// What MLX holds.
pub fn memory() -> Memory {
    let bytes = |figure: Result<usize, Exception>| figure.map_or(0, |bytes| bytes as u64);
    Memory {
        active: bytes(mlx::active_memory()),
        cache: bytes(mlx::cache_memory()),
        peak: bytes(mlx::peak_memory()),
    }
}

/// A failure of MLX as ours; running out of memory is told apart. Its texts end in the place in its own sources.
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
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        assert!(matches!(
            run(|| panic!("on purpose")),
            Err::<(), _>(Error::Failed(_))
        ));
        assert_eq!(run(|| 7).unwrap(), 7);
    }

    #[test]
    fn running_out_of_memory_is_told_apart() {
        let error = |what: &str| failed(Exception::custom(what));
        assert!(matches!(
            error("[malloc_or_wait] Unable to allocate 137438953472 bytes. at /src/mlx/c/ops.cpp:12"),
            Error::Memory(why) if why.ends_with("bytes.")
        ));
        assert!(matches!(error("[matmul] Last dimension"), Error::Failed(_)));
    }
}
