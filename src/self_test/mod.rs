//! The self-test of a device, for the first day on a machine: are the vectors of ColQwen models on it those of the CPU in
//! f32, how fast are the operations they consist of, and does it give the memory that a run plans with?
//!
//! It needs no download: the models are tiny, random and built on the spot, with the head widths of the released ones.

mod agreement;
mod checkpoint;
mod device;
mod inputs;
mod speed;

use std::io;

use serde::Serialize;

pub use agreement::{Agreement, compare};
pub use speed::Speed;

use crate::embed::{self, Device, Engine, colqwen};
use crate::qwen::candle::CandleDevice;
use crate::units::ByteSize;
use checkpoint::Family;
use device::Tested;

/// Pages of the batch whose planned memory is allocated.
pub const BATCH: u32 = 32;
/// What to test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfTest {
    /// The backend.
    pub engine: Engine,
    /// The device. On the CPU, candle is tested in bf16, as a GPU would compute.
    pub device: Device,
    /// Memory that a run may use.
    pub memory_limit: ByteSize,
}

/// A finished check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was checked.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Whether it passed.
    pub passed: bool,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Outcome {
    /// Vectors of a model beside the reference.
    Agreement {
        /// The family of the model.
        model: &'static str,
        /// The comparison.
        #[serde(flatten)]
        agreement: Agreement,
    },
    /// The time of an operation.
    Speed(Speed),
    /// Memory that was allocated and freed.
    Memory {
        /// Bytes that were allocated.
        allocated: ByteSize,
        /// Bytes of the plan of a batch of [`BATCH`] pages with the largest model.
        planned: ByteSize,
    },
    /// A check that could not be made.
    Failed {
        /// The check.
        what: String,
        /// Why.
        error: String,
    },
}

/// The outcome of a self-test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The tested device.
    pub device: String,
    /// The device of the reference.
    pub reference: String,
    /// All checks.
    pub checks: Vec<Check>,
    /// Whether all passed.
    pub passed: bool,
}

/// An error of a self-test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoints cannot be written.
    #[error("the checkpoints of the self-test cannot be written: {0}")]
    Io(#[from] io::Error),
    /// A checkpoint cannot be read back.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::Error),
    /// A model cannot be opened or fails.
    #[error(transparent)]
    Embed(#[from] embed::Error),
}

impl SelfTest {
    /// Runs all checks; `on_check` is called after each.
    ///
    /// # Errors
    /// [`Error::Embed`] when the device cannot be used, [`Error::Io`] when the temporary folder cannot be used. Anything
    /// that fails later is a failed check.
    pub fn run(&self, on_check: &mut dyn FnMut(&Check)) -> Result<Report, Error> {
        let tested = Tested::open(self.engine, self.device)?;
        let folder = tempfile::tempdir()?;
        let mut checks = Vec::new();
        let mut push = |check: Check| {
            on_check(&check);
            checks.push(check);
        };
        for family in Family::ALL {
            let folder = folder.path().join(family.name());
            std::fs::create_dir(&folder)?;
            family.write(&folder)?;
            match tested.compare(family, &folder, self) {
                Ok(agreements) => agreements
                    .into_iter()
                    .map(|agreement| Check {
                        passed: agreement.passed(tested.least_cosine()),
                        outcome: Outcome::Agreement {
                            model: family.name(),
                            agreement,
                        },
                    })
                    .for_each(&mut push),
                Err(error) => push(failed(family.name(), &error)),
            }
        }
        for (name, operation) in speed::operations(tested.is_gpu()) {
            push(match tested.speed(name, &operation) {
                Ok(speed) => Check {
                    outcome: Outcome::Speed(speed),
                    passed: true,
                },
                Err(error) => failed(name, &error),
            });
        }
        let planned = colqwen::plan_of_colqwen2_5(BATCH, tested.bytes_of_a_run(), tested.is_gpu());
        let planned = ByteSize(planned);
        let allocated = planned.min(tested.memory_limit(self.memory_limit));
        push(match tested.allocate(allocated) {
            Ok(()) => Check {
                outcome: Outcome::Memory { allocated, planned },
                passed: true,
            },
            Err(error) => failed("memory", &error),
        });
        Ok(Report {
            device: tested.name(),
            reference: CandleDevice::cpu().name(),
            passed: checks.iter().all(|check| check.passed),
            checks,
        })
    }
}

fn failed(what: &str, error: &Error) -> Check {
    Check {
        outcome: Outcome::Failed {
            what: what.to_owned(),
            error: error.to_string(),
        },
        passed: false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use safetensors::SafeTensors;
    use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

    use super::device::{LEAST_COSINE_BF16, LEAST_COSINE_F32};
    use super::*;
    use crate::embed::colqwen::EncodeOnce;
    use crate::embed::{Config, Embedder, QueryWord};
    use crate::page::PageError;
    use crate::patch::Prepared;
    use crate::vectors::{MultiVector, PageVectors, ShapeError};

    fn open(folder: &Path) -> colqwen::ColQwen {
        let config = Config {
            model: folder.display().to_string(),
            engine: Engine::Candle,
            device: Device::Cpu,
            max_visual_tokens: None,
            pool_factor: 1,
            width: None,
            meaning: None,
        };
        colqwen::open_on(&config, CandleDevice::cpu()).unwrap()
    }

    /// Multiplies the queries of the attention of all layers, as a wrong scale of its scores would.
    fn scale_queries(folder: &Path, factor: f32) {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let scaled: HashMap<String, (Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, tensor)| {
                let is_query = ["q_proj", "attn.qkv", "q_norm"]
                    .iter()
                    .any(|part| name.contains(part));
                let factor = if is_query { factor } else { 1.0 };
                let values = tensor
                    .data()
                    .chunks_exact(4)
                    .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
                let values = values.flat_map(|value| (value * factor).to_le_bytes());
                (name.to_owned(), (tensor.shape().to_vec(), values.collect()))
            })
            .collect();
        let views = scaled.iter().map(|(name, (shape, bytes))| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        serialize_to_file(views, None, &path).unwrap();
    }

    #[test]
    fn wrong_scale_of_attention_is_found() {
        for family in Family::ALL {
            let [right, wrong] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            family.write(right.path()).unwrap();
            family.write(wrong.path()).unwrap();
            let agree = |wrong: &Path| {
                let (mut wrong, mut right) = (open(wrong), open(right.path()));
                compare(&mut wrong, &mut right, family.patch_size(), &|| Ok(())).unwrap()
            };
            let agreements = agree(wrong.path());
            assert!(
                agreements
                    .iter()
                    .all(|agreement| agreement.passed(LEAST_COSINE_F32)),
                "{agreements:?}"
            );
            // As if heads were half as wide.
            scale_queries(wrong.path(), std::f32::consts::SQRT_2);
            let agreements = agree(wrong.path());
            assert!(
                agreements
                    .iter()
                    .all(|agreement| !agreement.passed(LEAST_COSINE_BF16)),
                "{agreements:?}"
            );
        }
    }

    /// A model whose causal attention takes in a NaN from behind the last value, where candle's kernel reads past it.
    struct NanBehind(colqwen::ColQwen);

    fn spoiled(vectors: MultiVector) -> Result<MultiVector, ShapeError> {
        match vectors.len() % 32 {
            1..=16 => Err(ShapeError::NotFinite {
                row: vectors.len() - 1,
            }),
            _ => Ok(vectors),
        }
    }

    impl EncodeOnce for NanBehind {
        fn encode_once(
            &mut self,
            pages: &[Prepared],
        ) -> Result<Vec<Result<MultiVector, ShapeError>>, embed::Error> {
            let pages = self.0.encode_once(pages)?.into_iter();
            Ok(pages.map(|page| spoiled(page?)).collect())
        }
    }

    impl Embedder for NanBehind {
        // As the pipeline sees it: encoded once more, a page is finite.
        fn embed_pages(
            &mut self,
            pages: &[Prepared],
        ) -> Result<Vec<Result<PageVectors, PageError>>, embed::Error> {
            self.0.embed_pages(pages)
        }

        fn embed_query(&mut self, text: &str) -> Result<MultiVector, embed::Error> {
            Ok(spoiled(self.0.embed_query(text)?)?)
        }

        fn query_words(&self, text: &str) -> Result<Vec<QueryWord>, embed::Error> {
            self.0.query_words(text)
        }
    }

    #[test]
    fn nan_behind_the_values_is_found() {
        let folder = tempfile::tempdir().unwrap();
        Family::ColQwen25.write(folder.path()).unwrap();
        let (mut tested, mut reference) = (NanBehind(open(folder.path())), open(folder.path()));
        let patch_size = Family::ColQwen25.patch_size();
        let agreements = compare(&mut tested, &mut reference, patch_size, &|| Ok(()));
        let [pages, queries] = agreements.unwrap();
        // Two pages of each length; the causal kernel is right for the others.
        let wrong = [33, 40, 47, 48, 65, 97, 112, 129, 745];
        assert_eq!(pages.not_finite, wrong.map(|rows| [rows; 2]).concat());
        assert!(!pages.passed(LEAST_COSINE_F32) && !queries.passed(LEAST_COSINE_F32));
        let cosine = pages.least_cosine.unwrap();
        assert!(cosine > LEAST_COSINE_F32, "{cosine}");
        assert!(queries.not_finite.contains(&48) && !queries.not_finite.contains(&49));
    }
}
