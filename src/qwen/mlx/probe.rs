//! Probes of a device: the time of single operations, and how much memory it gives.

use std::time::Instant;

use mlx_rs::ops::ones;
use mlx_rs::transforms::eval;
use mlx_rs::{Array, memory};

use super::attention::attend;
use super::layers::{Result, scalar};
use super::thread::{call, failed, with_device};
use super::weights::dtype;
use super::{Device, Error};
use crate::qwen::{Operation, PackedSequences, operation_values};

/// Repetitions that a GPU gets at a time.
const ROUNDS: u32 = 8;

/// Seconds that an operation takes on a device, mean of repetitions for at least `seconds`, after one to warm up.
///
/// # Errors
/// [`Error::Memory`] when its inputs do not fit; [`Error::Failed`] for any other failure.
pub fn time(
    device: Device,
    operation: &Operation,
    seconds: f64,
) -> std::result::Result<f64, Error> {
    let operation = *operation;
    let measure = move || {
        let run = prepare(device, &operation)?;
        eval([&run()?])?;
        let rounds = if device == Device::Gpu { ROUNDS } else { 1 };
        let (start, mut count) = (Instant::now(), 0);
        loop {
            let outputs = (0..rounds).map(|_| run()).collect::<Result<Vec<Array>>>()?;
            eval(&outputs)?;
            count += rounds;
            let elapsed = start.elapsed().as_secs_f64();
            if elapsed >= seconds {
                return Ok(elapsed / f64::from(count));
            }
        }
    };
    call(move || with_device(device, measure))?.map_err(failed)
}

/// Makes the inputs of an operation; the result runs it once, lazily.
fn prepare(device: Device, operation: &Operation) -> Result<Box<dyn Fn() -> Result<Array>>> {
    let array = |shape: &[i32]| {
        let count = shape.iter().map(|&size| size as usize).product();
        Array::from_slice(&operation_values(count), shape).as_dtype(dtype(device))
    };
    let size = |size: usize| size as i32;
    let (inputs, run): (Vec<Array>, Box<dyn Fn() -> Result<Array>>) = match *operation {
        Operation::Linear { rows, from, to } => {
            let x = array(&[size(rows), size(from)])?;
            let weight = array(&[size(to), size(from)])?;
            let inputs = vec![x.clone(), weight.clone()];
            (inputs, Box::new(move || x.matmul(weight.transpose()?)))
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
            let q = array(&[size(count * len), size(heads), size(head_dim)])?;
            let k = array(&[size(count * len), size(key_heads), size(head_dim)])?;
            let inputs = vec![q.clone(), k.clone()];
            (inputs, Box::new(move || attend([&q, &k, &k], &sequences)))
        }
        Operation::Copy { values } => {
            let x = array(&[size(values)])?;
            // An addition reads and writes each value once.
            let one = scalar(1.0, &x)?;
            (vec![x.clone()], Box::new(move || x.add(&one)))
        }
    };
    eval(&inputs)?;
    Ok(run)
}

/// Bytes that are allocated at a time.
const BLOCK: u64 = 1 << 30;

/// Allocates memory on a device, writes to all of it, and frees it again.
///
/// # Errors
/// [`Error::Memory`] when the device does not give it; [`Error::Failed`] for any other failure.
pub fn allocate(device: Device, bytes: u64) -> std::result::Result<(), Error> {
    let allocate = move || {
        let mut blocks = Vec::new();
        let mut rest = bytes;
        while rest > 0 {
            let block = rest.min(BLOCK);
            let values = (block as usize / size_of::<f32>()).max(1) as i32;
            let array = ones::<f32>(&[values])?;
            eval([&array])?;
            blocks.push(array);
            rest -= block;
        }
        drop(blocks);
        memory::clear_cache()
    };
    call(move || with_device(device, allocate))?.map_err(failed)
}
