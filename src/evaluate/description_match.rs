//! Description match: whether descriptions match the text of their own page, a check of models given several pages at
//! once.

use std::collections::{BTreeMap, BTreeSet};

/// Returns the words of two characters or more, in lower case.
fn word_set(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| word.chars().count() > 1);
    words.map(str::to_lowercase).collect()
}

/// Returns how many descriptions share words with the text layer of their own page and are not more similar to that of
/// another, and how many were evaluated: pages without text are not.
///
/// Similarity is the TF-IDF dot product with binary term frequency, normalised by the page's vector length (Salton
/// 1975).
pub fn description_matches(
    descriptions: &BTreeMap<usize, String>,
    text_layers: &[&str],
) -> (usize, usize) {
    let pages: Vec<BTreeSet<String>> = text_layers.iter().map(|text| word_set(text)).collect();
    let mut document_frequency: BTreeMap<&str, usize> = BTreeMap::new();
    for word in pages.iter().flatten() {
        *document_frequency.entry(word).or_default() += 1;
    }
    let idf = |word: &str| {
        let frequency = document_frequency.get(word).copied().unwrap_or(0);
        ((pages.len() as f64 + 1.0) / (frequency as f64 + 0.5)).ln()
    };
    let norms: Vec<f64> = pages
        .iter()
        .map(|page| page.iter().map(|word| idf(word).powi(2)).sum::<f64>())
        .map(f64::sqrt)
        .collect();
    let (mut matching, mut evaluated) = (0, 0);
    for (&own, description) in descriptions {
        if pages.get(own).is_none_or(BTreeSet::is_empty) {
            continue;
        }
        evaluated += 1;
        let description = word_set(description);
        let similarity = |page: usize| {
            let shared = pages[page].intersection(&description);
            let sum: f64 = shared.map(|word| idf(word).powi(2)).sum();
            sum / norms[page].max(f64::MIN_POSITIVE)
        };
        let best = (0..pages.len()).map(similarity).fold(0.0, f64::max);
        matching += usize::from(best > 0.0 && similarity(own) >= best);
    }
    (matching, evaluated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_match_the_page_with_their_words() {
        let text_layers = [
            "Safety of the pump and its valve",
            "Wiring of the pump: terminal X1",
            "Spare parts of the pump",
            "",
        ];
        let matches = |all: &[(usize, &str)]| {
            let all = all
                .iter()
                .map(|(page, description)| (*page, (*description).to_owned()));
            description_matches(&all.collect(), &text_layers)
        };
        let good = [
            (0, "How the valve is made safe: safety"),
            (1, "Terminal X1"),
        ];
        assert_eq!(matches(&good), (2, 2));
        let swapped = [(0, "Terminal X1"), (1, "safety of the valve")];
        assert_eq!(matches(&swapped), (0, 2));
        assert_eq!(matches(&[(2, "nothing alike"), (3, "spare parts")]), (0, 1));
    }
}
