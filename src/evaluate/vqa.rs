//! VQA accuracy: answers to questions about images, scored as in VQA v2 (Antol et al. 2015; `vqaEval.py` of the VQA
//! API).

/// Answers per question in VQA v2.
const ANSWERS: usize = 10;
/// Number of matching answers that gives the full score.
const FULL_SCORE_MATCHES: f64 = 3.0;
/// Punctuation that is removed beside a blank or in a text with a thousands comma, and replaced by a blank otherwise.
const PUNCTUATION: &str = ";/[]\"{}()=+\\_-><@`,?!";
/// The number words that answers may have instead of digits.
pub(super) const NUMBER_WORDS: [&str; 11] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];

/// Normalises an answer for comparison: lower case, digits for number words, no articles, no punctuation.
fn normalised(answer: &str) -> String {
    let text = answer.to_lowercase().replace(['\n', '\t'], " ");
    let text = without_punctuation(text.trim());
    let words = text.split_whitespace().filter_map(|word| match word {
        "a" | "an" | "the" => None,
        "none" => Some("0".to_owned()),
        word => {
            let number = NUMBER_WORDS.iter().position(|name| *name == word);
            // `vqaEval.py` spells `dont` as `don't`; without apostrophes both are the same.
            Some(number.map_or_else(|| word.replace(['\'', '’'], ""), |n| n.to_string()))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn without_punctuation(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let is_digit = |index: Option<&char>| index.is_some_and(char::is_ascii_digit);
    let mut windows = letters.windows(3);
    let has_thousands =
        windows.any(|w| w[1] == ',' && w[0].is_ascii_digit() && w[2].is_ascii_digit());
    let mut out = String::with_capacity(text.len());
    for (index, &letter) in letters.iter().enumerate() {
        let next = letters.get(index + 1);
        if letter == '.' {
            // A decimal point stays.
            if is_digit(next) {
                out.push('.');
            }
        } else if PUNCTUATION.contains(letter) {
            let occurs = |blank: &str| text.contains(blank);
            let beside_blank = occurs(&format!("{letter} ")) || occurs(&format!(" {letter}"));
            if !beside_blank && !has_thousands {
                out.push(' ');
            }
        } else {
            out.push(letter);
        }
    }
    out
}

/// Returns 1 if the answer equals one of `answers`, else 0.
pub fn simple_accuracy(answer: &str, answers: &[String]) -> f64 {
    let answer = normalised(answer);
    f64::from(u8::from(
        answers.iter().any(|other| normalised(other) == answer),
    ))
}

/// Returns the VQA accuracy: the mean of `min(1, matches / 3)` over all subsets that leave out one answer. There should
/// be ten answers; fewer are repeated in turn up to ten.
pub fn vqa_accuracy(answer: &str, answers: &[String]) -> f64 {
    if answers.is_empty() {
        return 0.0;
    }
    let answer = normalised(answer);
    let ten_answers = answers.iter().cycle().take(ANSWERS.max(answers.len()));
    let matches: Vec<bool> = ten_answers
        .map(|other| normalised(other) == answer)
        .collect();
    let all = matches.iter().filter(|hit| **hit).count();
    let score_without =
        |hit: &bool| ((all - usize::from(*hit)) as f64 / FULL_SCORE_MATCHES).min(1.0);
    matches.iter().map(score_without).sum::<f64>() / matches.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_normalised_as_in_vqa_v2() {
        for (answer, same) in [
            ("The Valve.", "valve"),
            ("two pumps", "2 pumps"),
            ("1,348 kg", "1348 kg"),
            ("1.348 kg", "1.348 kg"),
            ("don't open", "dont open"),
            ("red, black", "red black"),
            ("service/valve", "service valve"),
            ("none", "0"),
        ] {
            assert_eq!(normalised(answer), same, "{answer}");
        }
    }

    #[test]
    fn vqa_accuracy_depends_on_the_number_of_matching_answers() {
        let ten_answers = |agree: usize| -> Vec<String> {
            let answer = |index: usize| match index < agree {
                true => "red".to_owned(),
                false => format!("other {index}"),
            };
            (0..10).map(answer).collect()
        };
        for (agree, accuracy) in [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)] {
            let score = vqa_accuracy("Red", &ten_answers(agree));
            assert!((score - accuracy).abs() < 1e-9, "{agree}: {score}");
        }
        let single = ["24 hours".to_owned()];
        assert_eq!(vqa_accuracy("24 hours.", &single), 1.0);
        assert_eq!(vqa_accuracy("24", &single), 0.0);
        assert_eq!(simple_accuracy("24 Hours", &single), 1.0);
        assert_eq!(vqa_accuracy("x", &[]), 0.0);
    }
}
