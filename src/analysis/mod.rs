//! Text analysis for BM25: one text to the variants of its words, in the index and in a query alike.
//!
//! A store tokenizes text by itself: at every character that is no letter or digit. Next to the text it indexes the
//! *variants* made here, so that other spellings of a word or code find it, and ordinary words rank as without them:
//!
//! - codes and quantities without their separators: `E-409`, `E 409` and `E409` share `e409`
//! - words in compatibility form (full-width letters, ligatures, soft hyphens), `ß` as `ss`, `ä` also as `ae`
//! - pairs of characters (bigrams) of scripts that put no spaces between words: Chinese, Japanese, Korean, Thai, Lao, Khmer

mod bigrams;
mod codes;
mod coverage;
mod normalise;
mod terms;

use std::collections::HashSet;

pub use coverage::coverage;
use normalise::{base_form, expanded, folded, normalise, words};
pub use terms::is_stop_word;

/// Version of the variants: pages of a Weaviate collection that were stored with another one are indexed again; for a file,
/// its schema version must rise too.
pub const VERSION: u32 = 1;

/// Weight of a code in a query, relative to a word: a page with the code counts more than one with its pieces.
const CODE_WEIGHT: usize = 4;

/// A query, analysed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Its words as typed, lower case, without stop words, each followed by its parts.
    pub terms: Vec<String>,
    /// Its codes, as [`variants`] has them.
    pub codes: Vec<String>,
    /// Other variants of its words and of parts of its codes.
    pub variants: Vec<String>,
}

impl Query {
    /// Whether it has no word.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.codes.is_empty()
    }

    /// What to look for in the text of a page; a term that counts more than another is repeated.
    pub fn in_text(&self) -> impl Iterator<Item = &str> {
        let codes = self.codes.iter().flat_map(|code| [code; CODE_WEIGHT]);
        self.terms
            .iter()
            .chain(codes)
            .chain(&self.variants)
            .map(String::as_str)
    }

    /// What to look for in the variants of a page: the same without terms that have punctuation.
    pub fn in_variants(&self) -> impl Iterator<Item = &str> {
        let is_whole = |term: &&str| !term.contains(|c: char| c.is_ascii_punctuation());
        self.in_text().filter(is_whole)
    }
}

/// The variants of a text for the index, separated by spaces; the words of the text itself are not among them.
pub fn variants(text: &str) -> String {
    let normal = normalise(text);
    let mut all: Vec<String> = normal.lines().flat_map(codes::in_text).collect();
    if !text.is_ascii() {
        let indexed: HashSet<String> = words(text).map(base_form).collect();
        for word in normalise::segmented_words(&normal) {
            let plain = folded(word);
            all.extend(expanded(word));
            if !indexed.contains(&plain) {
                all.push(plain);
            }
        }
        all.extend(bigrams::in_text(&normal));
    }
    all.join(" ")
}

/// Analyses a query.
pub fn query(text: &str) -> Query {
    let normal = normalise::split_scripts(&normalise(text));
    let mut seen = HashSet::new();
    let mut unseen = |all: Vec<String>| -> Vec<String> {
        let all = all.into_iter().filter(|term| seen.insert(term.clone()));
        all.take(terms::MAX_TERMS).collect()
    };
    let codes::QueryCodes { whole, parts, rest } = codes::in_query(&normal);
    let codes = unseen(whole);
    // Without its codes, a query may have nothing but stop words.
    let terms = match codes.is_empty() || terms::has_content_word(&rest) {
        true => unseen(terms::terms(&rest)),
        false => Vec::new(),
    };
    let forms = terms.iter().flat_map(|term| forms(term)).collect();
    let variants = [parts, forms, bigrams::in_query(&normal)].concat();
    Query {
        codes,
        variants: unseen(variants),
        terms,
    }
}

/// All words of a line and their variants, for comparison with [`Query::in_variants`].
pub fn line_words(line: &str) -> HashSet<String> {
    let normal = normalise(line);
    let mut all: HashSet<String> = words(line).map(base_form).collect();
    all.extend(words(&normal).map(str::to_lowercase));
    all.extend(words(&normal).map(folded));
    all.extend(variants(line).split(' ').map(str::to_owned));
    all
}

/// The other forms of a word of a query.
fn forms(term: &str) -> Vec<String> {
    if !term.chars().all(char::is_alphanumeric) {
        return Vec::new();
    }
    [Some(folded(term)), expanded(term)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Whether a query finds a text by its codes, or without codes by its words.
    fn finds(question: &str, text: &str) -> bool {
        let page = line_words(text);
        let query = query(question);
        match query.codes.is_empty() {
            false => query.codes.iter().any(|code| page.contains(code)),
            true => query
                .in_variants()
                .any(|term| page.contains(&base_form(term))),
        }
    }

    #[test]
    fn spellings_of_a_code_find_each_other() {
        for spellings in [
            &[
                "E-409",
                "E409",
                "E 409",
                "e409",
                "E.409",
                "E/409",
                "E_409",
                "E\u{2011}409",
                "E–409",
                "E\u{ad}409",
                "E\u{a0}409",
                "E\u{2009}409",
                "E\u{200b}409",
                "Ｅ－４０９",
                "Ｅ４０９",
                "e-409",
            ][..],
            &["3.3V", "3.3 V", "3,3 V", "3.3\u{202f}V", "３．３Ｖ"],
            &[
                "9200-2741",
                "92002741",
                "9200 2741",
                "9200.2741",
                "9200/2741",
                "9200–2741",
            ],
            &[
                "M8x40", "M8×40", "M8 x 40", "M8 × 40", "M8X40", "M8 ×40", "M8*40",
            ],
            &["−20 °C", "-20°C", "-20 °C", "–20 ℃", "-20\u{202f}°C"],
            &["½", "1/2", "1⁄2", "１／２"],
            &["1½", "1 1/2", "1 ½"],
            &["AB-12-CD", "AB12CD", "AB 12 CD", "ab/12/cd"],
            &["P1.07", "P1-07", "P107", "P 1.07"],
            &["12 kΩ", "12kΩ", "12 k\u{2126}"],
            &["40 m²", "40m2", "40 m2"],
        ] {
            for question in spellings {
                for text in spellings {
                    assert!(finds(question, text), "{question:?} finds {text:?}");
                }
            }
        }
    }

    #[test]
    fn long_chains_take_linear_time() {
        for chain in [
            "A-1-B-2-",
            "A 1 B 2 ",
            "1.2.",
            "1,234,",
            "3x4x",
            "9200 2741 ",
            "-1 -2 ",
            "1/2/",
            "日1本2",
        ] {
            let line = chain.repeat(100_000 / chain.len());
            let start = Instant::now();
            std::hint::black_box((variants(&line), query(&line)));
            let time = start.elapsed();
            assert!(time < Duration::from_secs(1), "{chain}: {time:?}");
        }
    }

    #[test]
    fn spellings_of_a_word_find_each_other() {
        for spellings in [
            &["Gerät", "Geraet", "GERÄT", "Gera\u{308}t"][..],
            &["Straße", "Strasse", "STRASSE", "STRAẞE"],
            &["Größe", "Groesse", "Größe"],
            &["Ölstand", "Oelstand"],
            &[
                "filter",
                "ﬁlter",
                "ｆｉｌｔｅｒ",
                "fil\u{ad}ter",
                "fil\u{ad}\nter",
            ],
        ] {
            for question in spellings {
                for text in spellings {
                    assert!(finds(question, text), "{question:?} finds {text:?}");
                }
            }
        }
        assert!(finds("Olstand", "Ölstand"));
        assert!(finds("Ölstand", "Olstand"));
    }

    #[test]
    fn other_codes_stay_apart() {
        for (question, text) in [
            ("E-409", "E-408"),
            ("3.3 V", "33 V"),
            ("3.3 V", "3 V"),
            ("1/2", "12"),
            ("9200-2741", "9200-2742"),
            ("M8x40", "M8x45"),
        ] {
            assert!(!finds(question, text), "{question:?} finds {text:?}");
        }
    }

    #[test]
    fn ordinary_text_has_no_variants() {
        let text = "Check the heat-pump and the inlet valve (see page 12). Press for five seconds, in 3 steps: 1. reset.";
        assert_eq!(variants(text), "");
        let query = query("How do I reset the heat-pump in 3 steps?");
        assert_eq!(
            query.terms,
            ["reset", "heat-pump", "heat", "pump", "3", "steps"]
        );
        assert!(query.variants.is_empty(), "{:?}", query.variants);
    }

    #[test]
    fn words_without_spaces_are_found_by_their_parts() {
        for (text, parts) in [
            (
                "日本語の取扱説明書",
                &["説明書", "日本語", "取扱", "説明", "書"][..],
            ),
            ("取扱説\n明書", &["説明書"]),
            (
                "E-108エラー",
                &["エラー", "E108", "E-108", "108", "E-108エラー"],
            ),
            ("ﾎﾟﾝﾌﾟの交換", &["ポンプ", "交換"]),
            ("펌프의 고장 진단", &["펌프", "고장", "진단"]),
            ("更换水泵过滤器", &["水泵", "过滤器", "泵"]),
            ("คู่มือการใช้งานเครื่องปั๊มน้ำ", &["คู่มือ", "การใช้งาน", "ปั๊มน้ำ"]),
            ("សៀវភៅណែនាំ", &["ណែនាំ"]),
            ("ຄູ່ມືການນໍາໃຊ້", &["ການນໍາໃຊ້"]),
        ] {
            let page = line_words(text);
            for part in parts {
                let query = query(part);
                let is_code = part.is_ascii();
                let found = query
                    .in_variants()
                    .filter(|term| page.contains(*term))
                    .count();
                let bigrams = query.variants.len();
                assert!(
                    found >= if is_code { 1 } else { bigrams.max(1) },
                    "{part} in {text}: {query:?}"
                );
            }
        }
    }
}
