//! Element-wise functions that MLX compiles into one kernel each.
//!
//! Only on a GPU (`thread.rs`): on a CPU, MLX would call the system's C++ compiler while the program runs.

use std::cell::RefCell;

use mlx_rs::Array;
use mlx_rs::error::Exception;
use mlx_rs::ops::sigmoid;
use mlx_rs::transforms::compile::compile;

type Result<T> = std::result::Result<T, Exception>;
type Compiled = Box<dyn FnMut(&[Array]) -> Result<Vec<Array>>>;

thread_local! {
    // A compiled function belongs to its thread; one compilation serves all sizes of a dtype.
    static SWIGLU: RefCell<Compiled> = compiled(swiglu_of);
    static ROTATE: RefCell<Compiled> = compiled(rotate_of);
}

fn compiled(function: fn(&[Array]) -> Result<Vec<Array>>) -> RefCell<Compiled> {
    RefCell::new(Box::new(compile(function, true)))
}

/// `silu(gate) * up` (SwiGLU, Shazeer 2020).
pub(super) fn swiglu(gate: &Array, up: &Array) -> Result<Array> {
    let [gated] = call(&SWIGLU, [gate.clone(), up.clone()])?;
    Ok(gated)
}

fn swiglu_of(inputs: &[Array]) -> Result<Vec<Array>> {
    let [gate, up] = inputs else {
        return Err(wrong_count());
    };
    Ok(vec![gate.multiply(sigmoid(gate)?)?.multiply(up)?])
}

/// Rotates both halves of heads: `a * cos - b * sin` and `b * cos + a * sin`.
pub(super) fn rotate(halves: [&Array; 2], cos: &Array, sin: &Array) -> Result<[Array; 2]> {
    let [a, b] = halves.map(Array::clone);
    call(&ROTATE, [a, b, cos.clone(), sin.clone()])
}

fn rotate_of(inputs: &[Array]) -> Result<Vec<Array>> {
    let [a, b, cos, sin] = inputs else {
        return Err(wrong_count());
    };
    let first = a.multiply(cos)?.subtract(b.multiply(sin)?)?;
    let second = b.multiply(cos)?.add(a.multiply(sin)?)?;
    Ok(vec![first, second])
}

/// Calls a function with `N` inputs and `M` outputs.
fn call<const N: usize, const M: usize>(
    function: &'static std::thread::LocalKey<RefCell<Compiled>>,
    inputs: [Array; N],
) -> Result<[Array; M]> {
    let outputs = function.with(|function| (function.borrow_mut())(&inputs))?;
    outputs.try_into().map_err(|_| wrong_count())
}

fn wrong_count() -> Exception {
    Exception::custom("a fused function has another number of inputs or outputs")
}

#[cfg(test)]
mod tests {
    use mlx_rs::Dtype;
    use mlx_rs::ops::concatenate;
    use mlx_rs::transforms::compile::{disable_compile, enable_compile};
    use mlx_rs::transforms::eval;

    use super::super::Device;
    use super::super::thread::{call as on_thread, with_device};
    use super::*;

    /// The outputs of both functions for inputs of `rows` rows and `heads` heads, joined.
    fn outputs([rows, heads]: [i32; 2], dtype: Dtype) -> Result<Vec<f32>> {
        let array = |count: i32, shape: &[i32]| {
            let values: Vec<f32> = (0..count)
                .map(|i| (i * 37 % 101) as f32 / 25.0 - 2.0)
                .collect();
            Array::from_slice(&values, shape).as_dtype(dtype)
        };
        // Halves of heads are strided, as in a model.
        let halves = array(rows * heads * 8, &[rows, heads, 8])?.split_equal(2, 2)?;
        let angles = array(rows * 4, &[rows, 1, 4])?;
        let [first, second] = rotate(
            [&halves[0], &halves[1]],
            &angles,
            &angles.multiply(&angles)?,
        )?;
        let gated = swiglu(&halves[0], &first)?;
        let joined = concatenate(&[&gated, &first, &second], 0)?.as_dtype(Dtype::Float32)?;
        eval([&joined])?;
        Ok(joined.as_slice::<f32>().to_vec())
    }

    #[test]
    fn compiled_functions_compute_the_same() {
        let both = || -> Result<Vec<[Vec<f32>; 2]>> {
            // Several sizes: one compilation serves all, also where the first one had nothing to broadcast.
            let sizes = [[3, 1], [8, 3], [1, 2]];
            let cases =
                [Dtype::Float32, Dtype::Bfloat16].map(|dtype| sizes.map(|size| (size, dtype)));
            let compare = |(size, dtype)| {
                disable_compile();
                let plain = outputs(size, dtype)?;
                enable_compile();
                let compiled = outputs(size, dtype);
                disable_compile();
                Ok([plain, compiled?])
            };
            cases.into_iter().flatten().map(compare).collect()
        };
        for [plain, compiled] in on_thread(move || with_device(Device::Cpu, both))
            .unwrap()
            .unwrap()
        {
            let pairs = plain.iter().zip(&compiled);
            // bf16 rounds once where it is compiled, and after each operation where it is not.
            assert!(
                pairs
                    .map(|(a, b)| (a - b).abs() / a.abs().max(1.0))
                    .fold(0.0, f32::max)
                    < 0.02
            );
            assert_eq!(plain.len(), compiled.len());
        }
    }
}
