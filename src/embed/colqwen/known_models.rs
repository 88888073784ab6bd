//! Known models: those with a built-in card, and what it costs to use them.

use super::super::KnownModel;
use super::model_card::{ModelCard, Projection, known_cards};
use super::shapes;
use crate::page::Size;
use crate::patch::PatchSpec;
use crate::qwen::{Config, flops, schema};
use crate::units::ByteSize;

/// Pixels of an A4 page at 150 dpi.
const A4: Size = Size {
    width: 1240,
    height: 1754,
};
/// Rows of the prompt around the visual tokens of a page.
const PROMPT_ROWS: usize = 11;

/// The models with built-in cards.
pub(in crate::embed) fn models() -> Vec<KnownModel> {
    known_cards().map(known_model).collect()
}

fn known_model(card: ModelCard) -> KnownModel {
    let dim = card.dim.unwrap_or(0);
    let shape = card.shape.as_deref().and_then(shapes::known);
    let shape = shape.map(|shape| (projection(&card, &shape), shape));
    let parameters = shape.as_ref().map(|(projection, shape)| {
        schema::parameters(&schema::embedding_model(shape, *projection))
    });
    let parameters = parameters.or(card.parameters).unwrap_or(0);
    let page = shape.as_ref().and_then(|(projection, shape)| {
        let tokens = u64::from(card.max_visual_tokens?);
        let side = (shape.vision.patch_size * shape.vision.spatial_merge_size) as u64;
        let spec = PatchSpec {
            patch: shape.vision.patch_size as u32,
            ..PatchSpec::qwen(0, tokens * side * side)
        };
        let grid = spec.grid_from_px(A4).ok()?;
        let rows = grid.tokens() + PROMPT_ROWS;
        Some((rows as u64, flops::page(shape, grid, rows, *projection)))
    });
    KnownModel {
        licence: card.licences(),
        commercial: card.commercial.unwrap_or(true),
        model: card.model.unwrap_or_default(),
        dim,
        parameters,
        download: ByteSize(parameters * 2),
        // Stores keep vectors in f16.
        page_bytes: page.map(|(rows, _)| ByteSize(rows * u64::from(dim) * 2)),
        page_teraflops: page.map(|(_, flops)| flops as f64 / 1e12),
        vidore_v1: card.vidore_v1,
        nano_vidore_v3: card.nano_vidore_v3,
    }
}

/// The width of the projection: a square one keeps the width of the hidden states, none is needed for vectors that wide.
fn projection(card: &ModelCard, shape: &Config) -> Option<usize> {
    let hidden = shape.text.hidden_size;
    match card.projection.unwrap_or_default() {
        Projection::None => None,
        Projection::Square => Some(hidden),
        Projection::Narrow => card.dim.map(|dim| dim as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_complete() {
        for card in known_cards() {
            let name = card.model.as_deref().unwrap();
            assert!(
                card.dim.is_some() && card.max_visual_tokens.is_some(),
                "{name}"
            );
            assert!(card.licence.is_some(), "{name}");
            let shape = card.shape.as_deref().map(shapes::known);
            assert!(
                matches!(shape, Some(Some(_))) || card.parameters.is_some(),
                "{name}"
            );
            // A licence that forbids commercial use says so, and nothing else does.
            let forbids = card.licences().contains("no commercial use");
            assert_eq!(card.commercial == Some(false), forbids, "{name}");
        }
        assert!(known_cards().count() > 20);
    }

    /// Operations of a page, in 10^12, and kilobytes of its vectors, worked out apart from this code.
    #[test]
    fn pages_cost_what_their_shapes_say() {
        for (model, teraflops, kilobytes) in [
            ("vidore/colqwen2.5-v0.2", 8.2, 191),
            ("VAGOsolutions/SauerkrautLM-ColQwen3-2b-v0.1", 3.6, 146),
            ("VAGOsolutions/SauerkrautLM-ColQwen3-4b-v0.1", 6.2, 146),
            ("TomoroAI/tomoro-colqwen3-embed-4b", 15.5, 813),
            ("TomoroAI/tomoro-colqwen3-embed-8b", 25.9, 813),
            ("nomic-ai/colnomic-embed-multimodal-7b", 13.8, 191),
        ] {
            let models = models();
            let known = models.iter().find(|known| known.model == model).unwrap();
            let found = known.page_teraflops.unwrap();
            assert!((found / teraflops - 1.0).abs() < 0.06, "{model}: {found}");
            assert_eq!(known.page_bytes.unwrap().0 / 1000, kilobytes, "{model}");
        }
    }
}
