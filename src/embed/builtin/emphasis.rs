//! Large print counts more: what stands in a heading is what a page is about.
//!
//! The tower estimates the type size of every cell. Body text keeps a little less of its vector; the rest of its length
//! goes into one more float, where the vectors of words are zero. So a word in a heading beats the same word in a
//! paragraph by a margin, and rows still have length 1.

/// Share of its similarity that plain print loses. Chosen on circuit-macros and octave, between their section titles,
/// which gain, and words taken from their paragraphs, which lose.
const FADE: f32 = 0.06;
/// From this ratio to the page's body text on, print counts in full.
const HEADING: f32 = 1.3;
/// Body text of a page that has little else than headings, in pixels an em.
const LARGEST_BODY: f32 = 18.0;

/// A vector and one more float, together of length 1; `plain` is 0 in a heading, 1 in body text.
pub(super) fn faded(vector: &[f32], plain: f32) -> impl Iterator<Item = f32> {
    let keep = 1.0 - FADE * plain;
    let rest = (1.0 - keep * keep).sqrt();
    vector.iter().map(move |v| v * keep).chain([rest])
}

/// How plain the print of cells is, 0 a heading to 1 body text or smaller, from the logarithms of type sizes.
pub(super) fn plain(sizes: &[f32]) -> Vec<f32> {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let body = median.min(LARGEST_BODY.ln());
    sizes
        .iter()
        .map(|size| (1.0 - (size - body) / HEADING.ln()).clamp(0.0, 1.0))
        .collect()
}

/// Each cell's size and those of the cells beside it, averaged: one cell alone is a guess. `cells` ascend.
pub(super) fn even(sizes: &[f32], cells: &[usize], columns: usize) -> Vec<f32> {
    let joined = |a: usize, b: usize| cells[a] + 1 == cells[b] && !cells[b].is_multiple_of(columns);
    (0..cells.len())
        .map(|i| {
            let from = i - usize::from(i > 0 && joined(i - 1, i));
            let to = i + usize::from(i + 1 < cells.len() && joined(i, i + 1));
            let near = &sizes[from..=to];
            near.iter().sum::<f32>() / near.len() as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_evened_out_along_a_line_only() {
        // Cells 2 and 3 of rows of three cells stand on two lines.
        assert_eq!(
            even(&[3.0, 0.0, 6.0, 1.0], &[0, 1, 2, 3], 3),
            [1.5, 3.0, 3.0, 1.0]
        );
        assert_eq!(even(&[1.0, 2.0], &[0, 2], 3), [1.0, 2.0]);
    }

    #[test]
    fn body_text_is_plain_and_headings_are_not() {
        let sizes = [30.0, 15.0, 15.0, 15.0, 12.0].map(f32::ln);
        assert_eq!(plain(&sizes), [0.0, 1.0, 1.0, 1.0, 1.0]);
        let cover = [40.0, 40.0].map(f32::ln);
        assert_eq!(plain(&cover), [0.0, 0.0]);
    }

    #[test]
    fn faded_rows_keep_their_length() {
        let row: Vec<f32> = faded(&[0.6, 0.8], 1.0).collect();
        assert!((row[0] - 0.6 * (1.0 - FADE)).abs() < 1e-6);
        assert!((row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(faded(&[0.6, 0.8], 0.0).collect::<Vec<_>>(), [0.6, 0.8, 0.0]);
    }
}
