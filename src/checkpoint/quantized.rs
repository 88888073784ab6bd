//! The layout of mlx-community checkpoints: some layers packed into few bits, the vision kernel with its channels last.
//!
//! Converters leave out the vision tower today and did not always, and may pack single layers otherwise: so the tensors
//! themselves are asked. A layer with `.scales` is packed; their shape tells how.

use std::collections::HashMap;

use super::tensors::{Checkpoint, Schema};

/// How a matrix is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// Bits of a number.
    pub bits: usize,
    /// Numbers of a row that share a scale and a bias.
    pub group_size: usize,
}

/// Bits of a word of a packed matrix.
const WORD: usize = 32;

/// What a checkpoint in this layout must hold where the plain one holds `schema`, and which of its matrices are packed.
pub(super) fn expected(
    checkpoint: &Checkpoint,
    schema: &Schema,
) -> (Schema, HashMap<String, Quantization>) {
    let (mut expected, mut quantizations) = (Schema::new(), HashMap::new());
    for (name, shape) in schema {
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        let scales = checkpoint.shape(&format!("{stem}.scales"));
        match (shape.as_slice(), scales, checkpoint.shape(name)) {
            (&[to, from], Some(&[_, groups]), Some(&[_, words])) => {
                let quantization = quantization(from, groups, words);
                expected.push((name.clone(), vec![to, from * quantization.bits / WORD]));
                for part in ["scales", "biases"] {
                    expected.push((
                        format!("{stem}.{part}"),
                        vec![to, from / quantization.group_size],
                    ));
                }
                quantizations.insert(name.clone(), quantization);
            }
            (&[to, channels, frames, high, wide], _, Some(&[.., last]))
                if last == channels && wide != channels =>
            {
                expected.push((name.clone(), vec![to, frames, high, wide, channels]));
            }
            _ => expected.push((name.clone(), shape.clone())),
        }
    }
    (expected, quantizations)
}

/// A matrix that is packed, if one is.
pub(super) fn any<'s>(checkpoint: &Checkpoint, schema: &'s Schema) -> Option<&'s str> {
    let names = schema.iter().map(|(name, _)| name.as_str());
    names.into_iter().find(|name| {
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        checkpoint.shape(&format!("{stem}.scales")).is_some()
    })
}

/// The packing that makes `from` numbers `words` words and `groups` groups; the most usual one where none does, so that
/// the comparison of shapes says what is wrong.
fn quantization(from: usize, groups: usize, words: usize) -> Quantization {
    let bits = [2, 3, 4, 5, 6, 8]
        .into_iter()
        .find(|bits| from * bits == words * WORD);
    let group = [32, 64, 128]
        .into_iter()
        .find(|group| groups * group == from);
    Quantization {
        bits: bits.unwrap_or(4),
        group_size: group.unwrap_or(64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_tell_the_packing() {
        let found = |from, groups, words| {
            let Quantization { bits, group_size } = quantization(from, groups, words);
            (bits, group_size)
        };
        assert_eq!(found(2048, 32, 256), (4, 64));
        assert_eq!(found(2048, 64, 512), (8, 32));
        assert_eq!(found(2048, 16, 512), (8, 128));
        assert_eq!(found(2048, 32, 384), (6, 64));
        assert_eq!(found(2048, 16, 192), (3, 128));
        assert_eq!(found(100, 3, 7), (4, 64));
    }
}
