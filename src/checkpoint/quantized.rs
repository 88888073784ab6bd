//! Quantized checkpoints in the layout of mlx-community: affine-quantized matrices, vision kernel channels last.
//!
//! Converters skip the vision tower today but did not always, and may quantize single layers differently. So parameters
//! are inferred from the tensors: a layer with `.scales` is quantized, and their shape implies how.

use std::collections::HashMap;

use super::tensors::{Checkpoint, Schema};

/// Quantization parameters of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// Bits per element.
    pub bits: usize,
    /// Elements of a row that share a scale and a bias.
    pub group_size: usize,
}

/// Bits of the integers that hold quantized elements.
const WORD_BITS: usize = 32;

/// The schema of a checkpoint in this layout, given the plain `schema`, and the quantization of its matrices.
pub(super) fn expected(
    checkpoint: &Checkpoint,
    schema: &Schema,
) -> (Schema, HashMap<String, Quantization>) {
    let (mut expected, mut quantizations) = (Schema::new(), HashMap::new());
    for (name, shape) in schema {
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        let scales = checkpoint.shape(&format!("{stem}.scales"));
        match (shape.as_slice(), scales, checkpoint.shape(name)) {
            (&[outputs, inputs], Some(&[_, groups]), Some(&[_, words])) => {
                let quantization = infer_quantization(inputs, groups, words);
                expected.push((
                    name.clone(),
                    vec![outputs, inputs * quantization.bits / WORD_BITS],
                ));
                for suffix in ["scales", "biases"] {
                    expected.push((
                        format!("{stem}.{suffix}"),
                        vec![outputs, inputs / quantization.group_size],
                    ));
                }
                quantizations.insert(name.clone(), quantization);
            }
            (&[outputs, channels, frames, height, width], _, Some(&[.., last]))
                if last == channels && width != channels =>
            {
                expected.push((name.clone(), vec![outputs, frames, height, width, channels]));
            }
            _ => expected.push((name.clone(), shape.clone())),
        }
    }
    (expected, quantizations)
}

/// The first quantized matrix of the schema; `None` if there is none.
pub(super) fn find_quantized<'s>(checkpoint: &Checkpoint, schema: &'s Schema) -> Option<&'s str> {
    let names = schema.iter().map(|(name, _)| name.as_str());
    names.into_iter().find(|name| {
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        checkpoint.shape(&format!("{stem}.scales")).is_some()
    })
}

/// Infers the quantization that stores `inputs` elements as `words` integers and `groups` groups; 4 bits in groups of
/// 64, the most common, if none matches, so that the comparison of shapes reports the mismatch.
fn infer_quantization(inputs: usize, groups: usize, words: usize) -> Quantization {
    let bits = [2, 3, 4, 5, 6, 8]
        .into_iter()
        .find(|bits| inputs * bits == words * WORD_BITS);
    let group = [32, 64, 128]
        .into_iter()
        .find(|group| groups * group == inputs);
    Quantization {
        bits: bits.unwrap_or(4),
        group_size: group.unwrap_or(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantization_is_inferred_from_shapes() {
        let inferred = |inputs, groups, words| {
            let Quantization { bits, group_size } = infer_quantization(inputs, groups, words);
            (bits, group_size)
        };
        assert_eq!(inferred(2048, 32, 256), (4, 64));
        assert_eq!(inferred(2048, 64, 512), (8, 32));
        assert_eq!(inferred(2048, 16, 512), (8, 128));
        assert_eq!(inferred(2048, 32, 384), (6, 64));
        assert_eq!(inferred(2048, 16, 192), (3, 128));
        assert_eq!(inferred(100, 3, 7), (4, 64));
    }
}
