//! Model folders in the layout of mlx-community: quantized matrices, channels last, other names.

use candle_core::{Device as Candle, Tensor};
use ingest::checkpoint::Error;

use super::folder::{Folder, Tensors};

/// Bits and group size of a matrix; `None` for tensors that converters do not quantize. Layers may differ.
fn quantization(name: &str, from: usize) -> Option<(usize, usize)> {
    if !name.starts_with("language_model.") || !name.ends_with(".weight") || name.contains("norm") {
        return None;
    }
    match from.is_multiple_of(64) {
        true if name.contains("layers.1.") => Some((8, 64)),
        true => Some((4, 64)),
        false => Some((4, 32)),
    }
}

/// Affine quantization between the minimum and maximum of each group: packed integers, scales, biases, and the
/// dequantized matrix.
fn quantize(matrix: &Tensor, bits: usize, group: usize) -> [Tensor; 4] {
    let (to, from) = matrix.dims2().unwrap();
    let values: Vec<f32> = matrix.flatten_all().unwrap().to_vec1().unwrap();
    let (mut numbers, mut scales, mut biases) = (Vec::new(), Vec::new(), Vec::new());
    for group in values.chunks(group) {
        let min = group.iter().copied().fold(f32::INFINITY, f32::min);
        let max = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let step = (max - min) / ((1 << bits) - 1) as f32;
        numbers.extend(
            group
                .iter()
                .map(|value| ((value - min) / step).round() as u32),
        );
        scales.push(step);
        biases.push(min);
    }
    let dequantized = numbers
        .iter()
        .enumerate()
        .map(|(i, &number)| number as f32 * scales[i / group] + biases[i / group]);
    let dequantized = Tensor::from_vec(dequantized.collect::<Vec<f32>>(), (to, from), &Candle::Cpu);
    // The first element of a packed integer is in its lowest bits.
    let word = |numbers: &[u32]| {
        numbers
            .iter()
            .rev()
            .fold(0, |word, number| (word << bits) | number)
    };
    let words: Vec<u32> = numbers.chunks(32 / bits).map(word).collect();
    let shaped = |values: Vec<f32>| Tensor::from_vec(values, (to, from / group), &Candle::Cpu);
    [
        Tensor::from_vec(words, (to, from * bits / 32), &Candle::Cpu),
        shaped(scales),
        shaped(biases),
        dequantized,
    ]
    .map(Result::unwrap)
}

/// MLX's name of a tensor.
fn mlx_name(name: &str) -> String {
    match name.strip_prefix("language_model.") {
        Some(rest) => format!("language_model.model.{rest}"),
        None => name.replace("visual.", "vision_tower."),
    }
}

/// The golden model in MLX's layout, and in the plain layout with the dequantized weights.
pub(crate) fn converted_folders() -> [Folder; 2] {
    let quantized = |tensors: &mut Tensors| {
        for (name, tensor) in tensors.drain().collect::<Vec<_>>() {
            let new = mlx_name(&name);
            match quantization(&name, *tensor.dims().last().unwrap()) {
                Some((bits, group)) => {
                    let stem = new.strip_suffix("weight").unwrap();
                    let [words, scales, biases, _] = quantize(&tensor, bits, group);
                    tensors.insert(format!("{stem}scales"), scales);
                    tensors.insert(format!("{stem}biases"), biases);
                    tensors.insert(new, words);
                }
                None if tensor.rank() == 5 => {
                    let last = tensor.permute((0, 2, 3, 4, 1)).unwrap().contiguous();
                    tensors.insert(new, last.unwrap());
                }
                None => drop(tensors.insert(new, tensor)),
            }
        }
    };
    let plain = |tensors: &mut Tensors| {
        for (name, tensor) in tensors.iter_mut() {
            if let Some((bits, group)) = quantization(name, *tensor.dims().last().unwrap()) {
                let [.., dequantized] = quantize(tensor, bits, group);
                *tensor = dequantized;
            }
        }
    };
    [
        Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", quantized),
        Folder::copy("colqwen2.5-tiny").tensors("model.safetensors", plain),
    ]
}

/// Error of opening a folder with mismatched weights.
pub(crate) fn weights_error(folder: &Folder) -> String {
    match folder.open_error() {
        Error::Weights { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn candle_rejects_quantized_matrices() {
    let [quantized, _] = converted_folders();
    assert!(
        weights_error(&quantized).contains("is quantized, which only MLX supports"),
        "{}",
        weights_error(&quantized)
    );
}
