//! Whether descriptions fit the pages they were given to: the check on models that were shown several pages at once.

use std::collections::{BTreeMap, BTreeSet};

/// Words of two letters or more, small.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| word.chars().count() > 1);
    words.map(str::to_lowercase).collect()
}

/// How many of some descriptions share more with the text layer of their own page than with that of any other, and how
/// many could be judged: pages without text cannot.
///
/// Words count by their inverse document frequency, pages by the length of their vector of these (Salton 1975).
pub fn mapping(descriptions: &BTreeMap<usize, String>, layers: &[&str]) -> (usize, usize) {
    let pages: Vec<BTreeSet<String>> = layers.iter().map(|text| words(text)).collect();
    let mut within: BTreeMap<&str, usize> = BTreeMap::new();
    for word in pages.iter().flatten() {
        *within.entry(word).or_default() += 1;
    }
    let weight = |word: &str| {
        let pages_with = within.get(word).copied().unwrap_or(0);
        ((pages.len() as f64 + 1.0) / (pages_with as f64 + 0.5)).ln()
    };
    let lengths: Vec<f64> = pages
        .iter()
        .map(|page| page.iter().map(|word| weight(word).powi(2)).sum::<f64>())
        .map(f64::sqrt)
        .collect();
    let (mut right, mut judged) = (0, 0);
    for (&own, said) in descriptions {
        if pages.get(own).is_none_or(BTreeSet::is_empty) {
            continue;
        }
        judged += 1;
        let said = words(said);
        let fit = |page: usize| {
            let shared = pages[page].intersection(&said);
            let sum: f64 = shared.map(|word| weight(word).powi(2)).sum();
            sum / lengths[page].max(f64::MIN_POSITIVE)
        };
        let best = (0..pages.len()).map(fit).fold(0.0, f64::max);
        right += usize::from(best > 0.0 && fit(own) >= best);
    }
    (right, judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_belongs_where_its_words_are() {
        let layers = [
            "Safety of the pump and its valve",
            "Wiring of the pump: terminal X1",
            "Spare parts of the pump",
            "",
        ];
        let told = |all: &[(usize, &str)]| {
            let all = all.iter().map(|(page, said)| (*page, (*said).to_owned()));
            mapping(&all.collect(), &layers)
        };
        let good = [
            (0, "How the valve is made safe: safety"),
            (1, "Terminal X1"),
        ];
        assert_eq!(told(&good), (2, 2));
        let swapped = [(0, "Terminal X1"), (1, "safety of the valve")];
        assert_eq!(told(&swapped), (0, 2));
        assert_eq!(told(&[(2, "nothing alike"), (3, "spare parts")]), (0, 1));
    }
}
