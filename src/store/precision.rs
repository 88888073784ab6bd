//! How a file keeps the numbers of a multi-vector: as half floats, or smaller and less exact.

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use crate::vectors::MultiVector;

/// How a file keeps the numbers of a multi-vector.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
pub enum Precision {
    /// As half floats, which is how they are made: nothing is lost.
    #[default]
    #[serde(rename = "f16")]
    F16,
    /// 8 bits a number, and a scale for each row.
    #[serde(rename = "int8")]
    Int8,
    /// 1 bit a number, its sign. Questions stay floats: asymmetric, as Jégou, Douze & Schmid 2011 §3 call it.
    #[serde(rename = "1-bit")]
    #[value(name = "1-bit")]
    OneBit,
}

/// The largest whole number of 8 bits; -128 is not used, so that both signs are alike.
const LARGEST: f32 = 127.0;

impl Precision {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::F16, Self::Int8, Self::OneBit];

    /// Its name, as it is written in `config.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::OneBit => "1-bit",
        }
    }

    /// The precision of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Bytes of a row of `dim` numbers.
    pub const fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::F16 => 2 * dim,
            // The numbers, then the scale as a half float.
            Self::Int8 => dim + 2,
            // The lowest bit of a byte is its first number; what is over in the last byte is 0.
            Self::OneBit => dim.div_ceil(8),
        }
    }

    /// The rows, one after another, little-endian.
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

    /// The numbers of such bytes; rows that are cut are left out.
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

    /// What the whole numbers of a row are multiplied by.
    #[inline(always)]
    pub(super) fn scale(self, row: &[u8], dim: usize) -> f32 {
        match self {
            Self::F16 => 1.0,
            Self::Int8 => f16::from_le_bytes([row[dim], row[dim + 1]]).to_f32(),
            Self::OneBit => 1.0 / (dim as f32).sqrt(),
        }
    }

    /// One number of a row.
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

/// The largest number becomes ±127; the scale gives the row length 1 again.
fn encode_int8(row: &[f32], bytes: &mut Vec<u8>) {
    let most = row
        .iter()
        .fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
    let whole: Vec<f32> = row.iter().map(|v| (v / most * LARGEST).round()).collect();
    let length = whole.iter().map(|v| v * v).sum::<f32>().sqrt();
    bytes.extend(whole.iter().map(|&v| (v as i8).cast_unsigned()));
    bytes.extend(f16::from_f32(1.0 / length).to_le_bytes());
}

/// The signs of up to 8 numbers; 1 is not negative.
fn signs(numbers: &[f32]) -> u8 {
    let bit = |(at, v): (usize, &f32)| u8::from(*v >= 0.0) << at;
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
    fn rows_come_back_as_well_as_their_bits_allow() {
        for dim in [5, 24, 128] {
            let rows = rows(dim);
            for precision in Precision::ALL {
                let bytes = precision.encode(&rows);
                assert_eq!(bytes.len(), 9 * precision.row_bytes(dim));
                let back = MultiVector::new(precision.decode(&bytes, dim), rows.width()).unwrap();
                // The cosine of each row with what became of it.
                let least = rows
                    .rows()
                    .zip(back.rows())
                    .map(|(a, b)| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>());
                let least = least.fold(1.0, f32::min);
                let bound = [0.999, 0.999, 0.6][precision as usize];
                assert!(least > bound, "{}: {least}", precision.name());
                // What is kept is kept: a second time changes nothing.
                assert_eq!(precision.encode(&back), bytes, "{}", precision.name());
                assert_eq!(Precision::named(precision.name()), Some(precision));
            }
        }
        assert_eq!(
            Precision::Int8.row_bytes(128) + Precision::OneBit.row_bytes(128),
            130 + 16
        );
    }
}
