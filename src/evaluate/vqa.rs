//! Answers to questions about pictures, judged as VQA v2 judges them (Antol et al. 2015; `vqaEval.py` of the VQA API).

/// Answers that a question has in VQA v2.
const ANSWERS: usize = 10;
/// So many people who say the same are right.
const AGREED: f64 = 3.0;
/// Marks that are removed beside a blank or around a thousands comma, and else stand for a blank.
const MARKS: &str = ";/[]\"{}()=+\\_-><@`,?!";
const NUMBERS: [&str; 11] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];

/// An answer in the form in which answers are compared: small letters, digits for number words, no articles, no marks.
fn normalised(answer: &str) -> String {
    let text = answer.to_lowercase().replace(['\n', '\t'], " ");
    let text = without_marks(text.trim());
    let words = text.split_whitespace().filter_map(|word| match word {
        "a" | "an" | "the" => None,
        "none" => Some("0".to_owned()),
        word => {
            let number = NUMBERS.iter().position(|name| *name == word);
            // `vqaEval.py` spells `dont` as `don't`; without apostrophes both are the same.
            Some(number.map_or_else(|| word.replace(['\'', '’'], ""), |n| n.to_string()))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn without_marks(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let is_digit = |at: Option<&char>| at.is_some_and(char::is_ascii_digit);
    let mut windows = letters.windows(3);
    let has_thousands =
        windows.any(|w| w[1] == ',' && w[0].is_ascii_digit() && w[2].is_ascii_digit());
    let mut out = String::with_capacity(text.len());
    for (at, &letter) in letters.iter().enumerate() {
        let after = letters.get(at + 1);
        if letter == '.' {
            // A point stays where it is a decimal one.
            if is_digit(after) {
                out.push('.');
            }
        } else if MARKS.contains(letter) {
            let mark = |blank: &str| text.contains(blank);
            let beside = mark(&format!("{letter} ")) || mark(&format!(" {letter}"));
            if !beside && !has_thousands {
                out.push(' ');
            }
        } else {
            out.push(letter);
        }
    }
    out
}

/// Whether an answer equals one of those given, 1, or not, 0.
pub fn simple_accuracy(answer: &str, given: &[String]) -> f64 {
    let answer = normalised(answer);
    f64::from(u8::from(given.iter().any(|one| normalised(one) == answer)))
}

/// The mean over all but one of the answers given of `min(1, matches / 3)`. There are ten; where fewer are given, they
/// stand in turns for ten.
pub fn vqa_accuracy(answer: &str, given: &[String]) -> f64 {
    if given.is_empty() {
        return 0.0;
    }
    let answer = normalised(answer);
    let ten = given.iter().cycle().take(ANSWERS.max(given.len()));
    let matches: Vec<bool> = ten.map(|one| normalised(one) == answer).collect();
    let all = matches.iter().filter(|hit| **hit).count();
    let left_out = |hit: &bool| ((all - usize::from(*hit)) as f64 / AGREED).min(1.0);
    matches.iter().map(left_out).sum::<f64>() / matches.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_as_vqa_compares_them() {
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
    fn accuracy_by_how_many_agree() {
        let ten = |agree: usize| -> Vec<String> {
            let said = |at: usize| match at < agree {
                true => "red".to_owned(),
                false => format!("other {at}"),
            };
            (0..10).map(said).collect()
        };
        for (agree, accuracy) in [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)] {
            let found = vqa_accuracy("Red", &ten(agree));
            assert!((found - accuracy).abs() < 1e-9, "{agree}: {found}");
        }
        let lone = ["24 hours".to_owned()];
        assert_eq!(vqa_accuracy("24 hours.", &lone), 1.0);
        assert_eq!(vqa_accuracy("24", &lone), 0.0);
        assert_eq!(simple_accuracy("24 Hours", &lone), 1.0);
        assert_eq!(vqa_accuracy("x", &[]), 0.0);
    }
}
