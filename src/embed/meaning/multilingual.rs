//! The multilingual model, multilingual-e5-small (Wang et al. 2024), downloaded from the hub when it is first used: search by
//! meaning for questions in other languages than the manual's.
//!
//! Its sequences begin with `query: ` or `passage: `, as it was trained; the rows of these words are not kept. The bias of the last
//! layer norm is left out: all rows have it in common, and without it their signs alone (1-bit) tell more.

use std::path::PathBuf;

use super::model::HUB_ID;
use super::{HEADS, WIDTH};
use crate::checkpoint::{Checkpoint, Error, Json, Progress, Source};

/// What is read of it.
pub(super) struct Files {
    pub(super) tokenizer: PathBuf,
    pub(super) weights: Checkpoint,
    pub(super) layers: usize,
}

/// Downloads the missing files, and opens them.
pub(super) fn open(on_progress: Progress) -> Result<Files, Error> {
    open_from(&Source::find(HUB_ID)?, on_progress)
}

fn open_from(source: &Source, on_progress: Progress) -> Result<Files, Error> {
    let config = Json::read(&source.file("config.json", on_progress)?)?;
    for (field, expected) in [("hidden_size", WIDTH), ("num_attention_heads", HEADS)] {
        let found = config.need(&[field])?;
        if found != expected {
            return Err(config.unsupported(format!("`{field}` = {found}")));
        }
    }
    let layers = config.need(&["num_hidden_layers"])?;
    if layers == 0 {
        return Err(config.unsupported("a model without layers"));
    }
    let tokenizer = source.file("tokenizer.json", on_progress)?;
    let weights = source.file("model.safetensors", on_progress)?;
    Ok(Files {
        tokenizer,
        weights: Checkpoint::open(HUB_ID, &[weights])?,
        layers,
    })
}

#[cfg(test)]
#[path = "../../../tests/support/multilingual.rs"]
mod checkpoint;

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::super::bert;
    use super::super::rows::normalize;
    use super::super::unigram::Unigram;
    use super::super::weights::Weights;
    use super::super::windows::windows;
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/meaning/multilingual.safetensors");

    fn opened() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        checkpoint::write(folder.path());
        let source = Source::Folder(folder.path().to_owned());
        let files = open_from(&source, &mut |_, _, _| ()).unwrap();
        (folder, files)
    }

    /// The tokens and the rows of a random checkpoint equal those of transformers, the rows to 1e-5.
    #[test]
    fn rows_equal_those_of_the_reference() {
        let (_folder, files) = opened();
        let tokenizer = Unigram::open(&files.tokenizer).unwrap();
        let weights = Weights::of_checkpoint(files.weights, files.layers).unwrap();
        let golden = SafeTensors::deserialize(GOLDEN).unwrap();
        for (name, text, frame) in [
            (
                "page",
                "Press mute to stop the siren.",
                &tokenizer.page_frame,
            ),
            (
                "query",
                "Hoe zet ik het alarm stil?",
                &tokenizer.query_frame,
            ),
        ] {
            let ids = golden.tensor(&format!("{name}.ids")).unwrap();
            let (words, _) = ids.data().as_chunks::<8>();
            let ids: Vec<u32> = words
                .iter()
                .map(|w| i64::from_le_bytes(*w) as u32)
                .collect();
            let words = tokenizer.words(text).unwrap();
            let window = windows(&words, frame).remove(0);
            assert_eq!(window.ids, ids, "{name}");
            let kept: Vec<usize> = (0..ids.len()).collect();
            let sequence = bert::Sequence {
                ids: &ids,
                kept: &kept,
            };
            let mut rows = bert::forward(&weights, &[sequence]);
            rows.chunks_exact_mut(WIDTH).for_each(normalize);
            let expected = golden.tensor(&format!("{name}.rows")).unwrap();
            let (expected, _) = expected.data().as_chunks::<4>();
            assert_eq!(rows.len(), expected.len());
            let pairs = rows.iter().zip(expected);
            let difference = pairs.map(|(a, b)| (a - f32::from_le_bytes(*b)).abs());
            let largest = difference.fold(0.0, f32::max);
            assert!(largest < 1e-5, "{name}: {largest}");
        }
    }

    #[test]
    fn words_are_kept_but_not_prefixes_and_stop_words() {
        let (_folder, files) = opened();
        let tokenizer = Unigram::open(&files.tokenizer).unwrap();
        let words = tokenizer.words("Hoe zet ik het alarm stil? 取扱").unwrap();
        let found: Vec<(usize, bool)> = words.iter().map(|w| (w.ids.len(), w.is_content)).collect();
        let expected = [
            (1, false),
            (1, true),
            (1, false),
            (1, false),
            (1, true),
            (5, true),
            (1, false),
            (2, false),
        ];
        assert_eq!(found, expected);
        let window = windows(&words, &tokenizer.query_frame).remove(0);
        assert_eq!(window.kept, [4, 7, 8, 9, 10, 11, 12]);
        assert_eq!(tokenizer.word(11).as_deref(), Some("alarm"));
        assert_eq!(tokenizer.word(37), None);
    }

    #[test]
    fn another_model_is_refused() {
        let (folder, _) = opened();
        let config = folder.path().join("config.json");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("384", "768")).unwrap();
        let source = Source::Folder(folder.path().to_owned());
        let refused = open_from(&source, &mut |_, _, _| ()).map(drop);
        let why = refused.unwrap_err().to_string();
        assert!(
            why.contains("`hidden_size` = 768 is not supported"),
            "{why}"
        );
    }
}
