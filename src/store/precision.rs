//! Storage precision of multi-vectors in a file: f16, int8 or 1-bit (scalar and binary quantization).

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use crate::vectors::MultiVector;

/// Storage precision of a multi-vector in a file.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
pub enum Precision {
    /// Half floats, the precision of the model's output: lossless.
    #[default]
    #[serde(rename = "f16")]
    F16,
    /// 8 bits per value, one scale per row.
    #[serde(rename = "int8")]
    Int8,
    /// 1 bit per value, its sign. Queries stay floats: asymmetric comparison (Jégou, Douze & Schmid 2011, §3).
    #[serde(rename = "1-bit")]
    #[value(name = "1-bit")]
    OneBit,
}

/// The largest int8 value; -128 is not used, so that the range is symmetric.
pub(super) const MAX_INT8: f32 = 127.0;

impl Precision {
    /// Precision of text vectors, unless a file has another: an eighth of int8's size, 11 KB a page. By meaning alone the right
    /// page comes first for 0.82 of our questions (mean of six rotations, ± 0.02), with int8 for 0.83.
    pub(super) const OF_TEXT: Self = Self::OneBit;

    /// All variants.
    pub const ALL: [Self; 3] = [Self::F16, Self::Int8, Self::OneBit];

    /// Its name in `config.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::OneBit => "1-bit",
        }
    }

    /// The precision with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Bytes of a row of `dim` values.
    pub const fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::F16 => 2 * dim,
            // The values, then the scale as f16.
            Self::Int8 => dim + 2,
            // The lowest bit of a byte is its first value; unused bits of the last byte are 0.
            Self::OneBit => dim.div_ceil(8),
        }
    }

    /// Encodes the rows, concatenated, little-endian.
    pub fn encode(self, vectors: &MultiVector) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(vectors.len() * self.row_bytes(vectors.dim()));
        for row in vectors.rows() {
            match self {
                Self::F16 => {
                    let mut halves = vec![f16::ZERO; row.len()];
                    halves.convert_from_f32_slice(row);
                    bytes.extend(halves.into_iter().flat_map(f16::to_le_bytes));
                }
                Self::Int8 => encode_int8(row, &mut bytes),
                Self::OneBit => bytes.extend(row.chunks(8).map(signs)),
            }
        }
        bytes
    }

    /// Decodes the values; an incomplete last row is ignored.
    pub fn decode(self, bytes: &[u8], dim: usize) -> Vec<f32> {
        let row = |row| {
            let scale = self.scale(row, dim);
            (0..dim).map(move |d| self.number(row, d, scale))
        };
        bytes
            .chunks_exact(self.row_bytes(dim))
            .flat_map(row)
            .collect()
    }

    /// Scale of the quantized values of a row.
    #[inline(always)]
    pub(super) fn scale(self, row: &[u8], dim: usize) -> f32 {
        match self {
            Self::F16 => 1.0,
            Self::Int8 => f16::from_le_bytes([row[dim], row[dim + 1]]).to_f32(),
            Self::OneBit => 1.0 / (dim as f32).sqrt(),
        }
    }

    /// Value `d` of a row.
    #[inline(always)]
    pub(super) fn number(self, row: &[u8], d: usize, scale: f32) -> f32 {
        match self {
            Self::F16 => f16::from_le_bytes([row[2 * d], row[2 * d + 1]]).to_f32(),
            Self::Int8 => f32::from(row[d].cast_signed()) * scale,
            Self::OneBit if row[d / 8] >> (d % 8) & 1 == 1 => scale,
            Self::OneBit => -scale,
        }
    }
}

/// Appends a row as int8: the largest magnitude maps to ±127, the scale restores length 1.
fn encode_int8(row: &[f32], bytes: &mut Vec<u8>) {
    let max_abs = row
        .iter()
        .fold(f32::MIN_POSITIVE, |max_abs, v| max_abs.max(v.abs()));
    let quantized: Vec<f32> = row
        .iter()
        .map(|v| (v / max_abs * MAX_INT8).round())
        .collect();
    let length = quantized.iter().map(|v| v * v).sum::<f32>().sqrt();
    bytes.extend(quantized.iter().map(|&v| (v as i8).cast_unsigned()));
    bytes.extend(f16::from_f32(1.0 / length).to_le_bytes());
}

/// Sign bits of up to 8 values; 1 means not negative.
fn signs(numbers: &[f32]) -> u8 {
    let bit = |(index, v): (usize, &f32)| u8::from(*v >= 0.0) << index;
    numbers.iter().enumerate().map(bit).sum()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn rows(dim: usize) -> MultiVector {
        let mut random = fastrand::Rng::with_seed(3);
        let mut floats = Vec::new();
        for _ in 0..9 {
            let row: Vec<f32> = (0..dim).map(|_| random.f32() - 0.5).collect();
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            floats.extend(row.iter().map(|v| v / length));
        }
        MultiVector::new(floats, NonZeroUsize::new(dim).unwrap()).unwrap()
    }

    #[test]
    fn decoded_rows_are_close_and_encoding_is_idempotent() {
        for dim in [5, 24, 128] {
            let rows = rows(dim);
            for precision in Precision::ALL {
                let bytes = precision.encode(&rows);
                assert_eq!(bytes.len(), 9 * precision.row_bytes(dim));
                let decoded =
                    MultiVector::new(precision.decode(&bytes, dim), rows.width()).unwrap();
                // The cosine of each row with its decoded row.
                let min_cosine = rows
                    .rows()
                    .zip(decoded.rows())
                    .map(|(a, b)| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>());
                let min_cosine = min_cosine.fold(1.0, f32::min);
                let bound = [0.999, 0.999, 0.6][precision as usize];
                assert!(min_cosine > bound, "{}: {min_cosine}", precision.name());
                // Encoding again changes nothing.
                assert_eq!(precision.encode(&decoded), bytes, "{}", precision.name());
                assert_eq!(Precision::from_name(precision.name()), Some(precision));
            }
        }
        assert_eq!(
            Precision::Int8.row_bytes(128) + Precision::OneBit.row_bytes(128),
            130 + 16
        );
    }
}
