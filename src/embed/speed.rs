//! How fast the configured device embeds pages, computed from the operations of a page and the time of a matrix product.

use super::{Config, Engine, Error, candle_device, mlx_device};
use crate::qwen::{Operation, candle, mlx};

/// Rows of the product on a CPU and on a GPU.
const ROWS: (usize, usize) = (128, 4096);
/// Seconds that a GPU, which takes a while to raise its clock, repeats the product.
const GPU_SECONDS: f64 = 0.2;
/// Times that a CPU computes the product. The best one counts: other programs make some of them slow.
const CPU_ROUNDS: usize = 5;
/// Share of the product's speed that whole pages reach on a CPU (measured, `benches/README.md`) and on a GPU (not measured).
const EFFICIENCY: (f64, f64) = (0.8, 0.5);

/// Floating-point operations per second of whole pages on the configured device: the speed of a matrix product of ColQwen3-2B,
/// reduced by what attention, norms and copies cost. Takes less than a second.
///
/// # Errors
/// [`Error::Device`] or [`Error::Mlx`] if the device is not available or not built in, [`Error::OutOfMemory`] if not even the
/// product fits.
pub fn flops_per_second(config: &Config) -> Result<f64, Error> {
    let product = |rows| Operation::Linear {
        rows,
        from: 2048,
        to: 6144,
    };
    let of = |is_gpu: bool| match is_gpu {
        true => (product(ROWS.1), GPU_SECONDS, EFFICIENCY.1, 1),
        false => (product(ROWS.0), 0.0, EFFICIENCY.0, CPU_ROUNDS),
    };
    let mut best = f64::INFINITY;
    let (operation, efficiency) = match config.engine {
        Engine::Candle => {
            let device = candle_device(config.device)?;
            let (operation, seconds, efficiency, rounds) = of(device.is_gpu());
            for _ in 0..rounds {
                best = best.min(candle::time(&device, &operation, seconds)?);
            }
            (operation, efficiency)
        }
        Engine::Mlx => {
            let device = mlx_device(config.device)?;
            let (operation, seconds, efficiency, rounds) = of(device == mlx::Device::Gpu);
            for _ in 0..rounds {
                best = best.min(mlx::time(device, &operation, seconds)?);
            }
            (operation, efficiency)
        }
    };
    Ok(operation.flops() as f64 / best * efficiency)
}
