//! Probes of a device: the time of single operations, and how much memory it gives.

use std::time::Instant;

use candle_core::{DType, Result, Tensor};

use super::attention::attend;
use super::device::{CandleDevice, Error, autoreleased, failed};
use super::layers::Linear;
use super::linear_tensors::LinearTensors;
use crate::qwen::{Operation, PackedSequences, operation_values};

/// Repetitions that a GPU gets at a time.
const ROUNDS: u32 = 8;

/// Seconds that an operation takes on a device, mean of repetitions for at least `seconds`, after one to warm up.
///
/// # Errors
/// [`Error::OutOfMemory`] when its inputs do not fit; [`Error::Failed`] for any other failure.
pub fn time(
    device: &CandleDevice,
    operation: &Operation,
    seconds: f64,
) -> std::result::Result<f64, Error> {
    let measure = || {
        let run = prepare(device, operation)?;
        // Kept, so that its buffer is not freed and allocated again in the measured time.
        let warm_up = run()?;
        device.device.synchronize()?;
        drop(warm_up);
        let rounds = if device.is_gpu() { ROUNDS } else { 1 };
        let (start, mut count) = (Instant::now(), 0);
        loop {
            for _ in 0..rounds {
                run()?;
            }
            device.device.synchronize()?;
            count += rounds;
            let elapsed = start.elapsed().as_secs_f64();
            if elapsed >= seconds {
                return Ok(elapsed / f64::from(count));
            }
        }
    };
    autoreleased(measure).map_err(failed)
}

/// Makes the inputs of an operation on the device; the result runs it once.
fn prepare(
    device: &CandleDevice,
    operation: &Operation,
) -> Result<Box<dyn Fn() -> Result<Tensor>>> {
    let tensor = |shape: &[usize]| {
        Tensor::from_vec(
            operation_values(shape.iter().product()),
            shape,
            &candle_core::Device::Cpu,
        )?
        .to_dtype(device.dtype)?
        .to_device(&device.device)
    };
    Ok(match *operation {
        Operation::Linear { rows, from, to } => {
            let (x, weight) = (tensor(&[rows, from])?, tensor(&[to, from])?);
            let layer = Linear::new(
                LinearTensors {
                    weight,
                    bias: None,
                    lora: None,
                },
                device,
            )?;
            Box::new(move || layer.forward(&x))
        }
        Operation::Attention {
            count,
            len,
            heads,
            key_heads,
            head_dim,
            causal,
        } => {
            let sequences = PackedSequences::new(std::iter::repeat_n(len, count), causal);
            let q = tensor(&[count * len, heads, head_dim])?;
            let k = tensor(&[count * len, key_heads, head_dim])?;
            let v = k.copy()?;
            Box::new(move || attend([&q, &k, &v], &sequences))
        }
        Operation::Copy { values } => {
            let x = tensor(&[values])?;
            Box::new(move || x.copy())
        }
    })
}

/// Leaves NaN in buffers that are free for what is computed next, so that a kernel that reads past its inputs is found. Lasts
/// until the device is waited for.
///
/// # Errors
/// [`Error::OutOfMemory`] or [`Error::Failed`].
pub fn leave_nan(device: &CandleDevice) -> std::result::Result<(), Error> {
    let fill = || {
        let sizes = (10..=22).map(|power| 1usize << power);
        let nan = sizes.map(|values| {
            let nan = Tensor::full(f32::NAN, values, &device.device)?;
            nan.to_dtype(device.dtype)
        });
        nan.collect::<Result<Vec<_>>>().map(drop)
    };
    autoreleased(fill).map_err(failed)
}

/// Bytes that are allocated at a time.
const BLOCK: u64 = 1 << 30;

/// Allocates memory on a device, writes to all of it, and frees it again.
///
/// # Errors
/// [`Error::OutOfMemory`] when the device does not give it; [`Error::Failed`] for any other failure.
pub fn allocate(device: &CandleDevice, bytes: u64) -> std::result::Result<(), Error> {
    let allocate = || {
        let mut blocks = Vec::new();
        let mut rest = bytes;
        while rest > 0 {
            let block = rest.min(BLOCK);
            let values = (block as usize / size_of::<f32>()).max(1);
            blocks.push(Tensor::ones(values, DType::F32, &device.device)?);
            rest -= block;
        }
        device.device.synchronize()?;
        drop(blocks);
        // Metal frees them when it is waited for once more.
        device.device.synchronize()
    };
    autoreleased(allocate).map_err(failed)
}
