//! Weighting by font size: large type counts more, since a page is about what its headings say.
//!
//! The page tower estimates the type size of every cell. The vector of body text is scaled down a little; the rest of
//! its length goes into one extra float, where the vectors of words are zero. So a word in a heading scores higher than
//! the same word in a paragraph, and rows still have length 1.

/// Share of its similarity that body text loses. Chosen on circuit-macros and octave, as a compromise between section
/// titles, which gain, and words from paragraphs, which lose.
const BODY_ATTENUATION: f32 = 0.06;
/// Type at least this many times as large as the page's body text counts in full.
const HEADING_RATIO: f32 = 1.3;
/// Largest size of body text, in pixels per em; applies to pages with little other text than headings.
const MAX_BODY_SIZE: f32 = 18.0;

/// The attenuated vector and the extra float, together of length 1; the score is 0 in a heading, 1 in body text.
pub(super) fn attenuated(vector: &[f32], body_text_score: f32) -> impl Iterator<Item = f32> {
    let scale = 1.0 - BODY_ATTENUATION * body_text_score;
    let rest = (1.0 - scale * scale).sqrt();
    vector.iter().map(move |v| v * scale).chain([rest])
}

/// Body-text score of each cell, from 0 (heading) to 1 (body text or smaller); `sizes` are logarithms of type sizes.
pub(super) fn body_text_scores(sizes: &[f32]) -> Vec<f32> {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let body = median.min(MAX_BODY_SIZE.ln());
    sizes
        .iter()
        .map(|size| (1.0 - (size - body) / HEADING_RATIO.ln()).clamp(0.0, 1.0))
        .collect()
}

/// Moving average of type sizes over adjacent cells of a line, since one cell's size is uncertain. `cells` ascend.
pub(super) fn smoothed(sizes: &[f32], cells: &[usize], columns: usize) -> Vec<f32> {
    let is_adjacent =
        |a: usize, b: usize| cells[a] + 1 == cells[b] && !cells[b].is_multiple_of(columns);
    (0..cells.len())
        .map(|i| {
            let start = i - usize::from(i > 0 && is_adjacent(i - 1, i));
            let end = i + usize::from(i + 1 < cells.len() && is_adjacent(i, i + 1));
            let window = &sizes[start..=end];
            window.iter().sum::<f32>() / window.len() as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_smoothed_within_a_line_only() {
        // In rows of three cells, cells 2 and 3 are on different lines.
        assert_eq!(
            smoothed(&[3.0, 0.0, 6.0, 1.0], &[0, 1, 2, 3], 3),
            [1.5, 3.0, 3.0, 1.0]
        );
        assert_eq!(smoothed(&[1.0, 2.0], &[0, 2], 3), [1.0, 2.0]);
    }

    #[test]
    fn body_text_scores_1_and_headings_score_0() {
        let sizes = [30.0, 15.0, 15.0, 15.0, 12.0].map(f32::ln);
        assert_eq!(body_text_scores(&sizes), [0.0, 1.0, 1.0, 1.0, 1.0]);
        let cover = [40.0, 40.0].map(f32::ln);
        assert_eq!(body_text_scores(&cover), [0.0, 0.0]);
    }

    #[test]
    fn attenuated_rows_have_length_1() {
        let row: Vec<f32> = attenuated(&[0.6, 0.8], 1.0).collect();
        assert!((row[0] - 0.6 * (1.0 - BODY_ATTENUATION)).abs() < 1e-6);
        assert!((row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(
            attenuated(&[0.6, 0.8], 0.0).collect::<Vec<_>>(),
            [0.6, 0.8, 0.0]
        );
    }
}
