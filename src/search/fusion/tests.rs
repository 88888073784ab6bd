//! Tests of the fusion.

use super::*;
use crate::page::ManualId;

const SEARCH: Search<'static> = Search {
    query: "",
    text_profile: "text model",
};

fn hit(page: u32, score: f32) -> Hit {
    Hit {
        id: PageId::new(&ManualId::new("m"), page),
        score,
        label: None,
        section: None,
        text: String::new(),
        words_read: String::new(),
        text_profile: Some(SEARCH.text_profile.to_owned()),
        description: None,
    }
}

#[test]
fn fused_scores_equal_those_computed_by_hand() {
    let visual = || vec![hit(1, 0.9), hit(2, 0.8), hit(3, 0.5)];
    let text = || vec![hit(2, 12.0), hit(4, 3.0)];
    let fused = |weight: f32| -> Vec<(u32, f32)> {
        let lists = vec![
            Ranked::by_similarity(Weights::equal(weight), visual()),
            Ranked::by_bm25(Weights::equal(1.0), text()),
        ];
        let fused = fuse(lists, SEARCH, TopK::new(9));
        let rounded = |score: f32| (score * 1000.0).round() / 1000.0;
        fused
            .iter()
            .map(|hit| (hit.id.number, rounded(hit.score)))
            .collect()
    };
    // Page 2: (0.8 - 0.5) / (0.9 - 0.5) = 0.75 and 1; page 4: 3 of 12; page 3 is last in the visual list: zero.
    assert_eq!(fused(1.0), [(2, 0.875), (1, 0.5), (4, 0.125), (3, 0.0)]);
    let third = [(2, 0.938), (1, 0.25), (4, 0.188), (3, 0.0)];
    assert_eq!(fused(1.0 / 3.0), third);
    let full = Weights::equal(1.0);
    let one = vec![Ranked::by_similarity(full, vec![hit(7, -0.2)])];
    let one = fuse(one, SEARCH, TopK::new(9));
    assert_eq!(one[0].score, 1.0, "a single page has the best score");
    let none = vec![Ranked::by_bm25(full, Vec::new())];
    assert!(fuse(none, SEARCH, TopK::new(9)).is_empty());
}

const LONG: &str = "Read this chapter before you work on the machine, and keep the manual near it.";

fn with_text(page: u32, score: f32, text: &str) -> Hit {
    Hit {
        text: format!("{text}. {LONG}"),
        ..hit(page, score)
    }
}

const WEIGHT: VisualWeight = VisualWeight {
    full: 0.7,
    similarity: Some((0.70, 0.75)),
};

#[test]
fn a_list_that_knows_nothing_of_the_query_does_not_outvote_one_that_does() {
    let mute = || with_text(1, 0.6, "press mute to stop the siren");
    let other = || with_text(2, 0.5, "tighten the bolts");
    let first = |images: Vec<Hit>, words: Vec<Hit>, query: &str| {
        let lists = Lists {
            images: Some(images),
            words,
            meaning: Some(vec![mute(), other()]),
            known: 1.0,
            text_profile: SEARCH.text_profile,
        };
        lists.fused(query, WEIGHT, TopK::new(1))[0].id.number
    };
    // Images and BM25 found pages that have no word of the question.
    let images = vec![with_text(2, 0.8, "tighten the bolts"), hit(1, 0.7)];
    let words = vec![with_text(2, 9.0, "tighten the bolts")];
    assert_eq!(
        first(images.clone(), words, "how do I silence the alarm"),
        1
    );
    assert_eq!(first(images, Vec::new(), "how do I silence the alarm"), 1);
    // They found the page that has all of them.
    let images = vec![with_text(2, 0.8, "tighten the bolts"), hit(1, 0.7)];
    let words = vec![with_text(2, 9.0, "tighten the bolts")];
    assert_eq!(first(images, words, "tighten bolts"), 2);
    // A scan that the model reads, and one that it does not; a stamp makes no difference.
    for stamp in ["", ".", "17", "Scanned by CamScanner"] {
        let scan = |score| {
            let scan = Hit {
                text: stamp.to_owned(),
                words_read: LONG.repeat(4),
                ..hit(3, score)
            };
            vec![scan, hit(1, 0.5)]
        };
        assert_eq!(first(scan(0.78), Vec::new(), "pressure test record"), 3);
        assert_eq!(first(scan(0.69), Vec::new(), "pressure test record"), 1);
    }
}

#[test]
fn meaning_of_words_that_its_model_does_not_know_does_not_outvote_bm25() {
    let first = |known| {
        let lists = Lists {
            images: Some(vec![with_text(2, 0.5, "tighten the bolts"), hit(1, 0.4)]),
            words: vec![with_text(1, 4.0, "change the filter")],
            meaning: Some(vec![with_text(2, 0.6, "tighten the bolts"), hit(1, 0.4)]),
            known,
            text_profile: SEARCH.text_profile,
        };
        let found = lists.fused("hoe vervang ik het filter", WEIGHT, TopK::new(1));
        found[0].id.number
    };
    assert_eq!(first(0.2), 1);
    assert_eq!(first(1.0), 2);
}

#[test]
fn a_title_page_is_found_by_its_few_words() {
    let title = |score| Hit {
        text: "Chapter 7: Emergency stop".to_owned(),
        ..hit(1, score)
    };
    let lists = Lists {
        images: Some(vec![with_text(2, 0.6, "mute the siren"), title(0.5)]),
        words: vec![title(9.0), with_text(2, 3.0, "mute the siren")],
        meaning: Some(vec![with_text(2, 0.6, "mute the siren"), title(0.55)]),
        known: 1.0,
        text_profile: SEARCH.text_profile,
    };
    let found = lists.fused("emergency stop", WEIGHT, TopK::new(1));
    assert_eq!(found[0].id.number, 1);
}

#[test]
fn a_page_whose_text_was_not_embedded_keeps_the_weights_of_the_other_lists() {
    let old = |score| Hit {
        text_profile: None,
        id: PageId::new(&ManualId::new("old"), 1),
        ..with_text(1, score, "press mute")
    };
    let other = |page, score| with_text(page, score, "tighten the bolts");
    let lists = |meaning| Lists {
        images: Some(vec![other(1, 0.8), old(0.75), other(2, 0.6)]),
        words: vec![old(9.0), other(1, 3.0)],
        meaning,
        known: 1.0,
        text_profile: SEARCH.text_profile,
    };
    let score = |meaning| {
        let found = lists(meaning).fused("mute the alarm", WEIGHT, TopK::new(9));
        let old = found.iter().find(|hit| hit.id.manual.as_str() == "old");
        old.unwrap().score
    };
    let with = score(Some(vec![other(1, 0.6), other(2, 0.5)]));
    assert_eq!(with, score(None));
    let without = lists(None).without_meaning();
    assert_eq!(without, BTreeSet::from([ManualId::new("old")]));
}
