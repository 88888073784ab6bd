//! Text layers that say something else than the page: wrong `ToUnicode` maps give letters shifted by a constant, other letters
//! throughout, private-use characters or U+FFFD. Such a page is a scan.
//!
//! The tests need positive evidence, so that foreign languages, code and lists of part numbers pass: a shift must turn the
//! text into common words, and other letters must be distributed as in a language, but in none that is written with them.

use std::collections::HashSet;

/// Minimum number of characters to judge, and the share of them that say nothing from which the text is none.
const MIN_CHARACTERS: usize = 8;
const MAX_MEANINGLESS: f64 = 0.3;
/// Number of characters that are tried as something else.
const MAX_CHARACTERS: usize = 4_000;
/// Share of common words from which a text is read as it is.
const COMMON: f64 = 0.05;
/// Evidence for a shift: common words, different ones, and their share of all words.
const MIN_HITS: usize = 3;
const MIN_DIFFERENT_HITS: usize = 3;
const MIN_HIT_SHARE: f64 = 0.15;
/// Evidence for other letters throughout: letters in different words, how many different ones, the index of coincidence
/// (English 0.066, German 0.076, random letters 0.038, a table of few words more), and the most that the frequent letters of
/// languages may have (they have 0.65 to 0.8).
const MIN_LETTERS: usize = 150;
const MIN_DIFFERENT_LETTERS: usize = 15;
const COINCIDENCE: std::ops::Range<f64> = 0.055..0.1;
const FREQUENT_LETTERS: &str = "etaoinsrdlu";
const MAX_FREQUENT_SHARE: f64 = 0.4;

/// Common words of at least three letters of languages written in Latin letters.
const COMMON_WORDS: &str = "the and for are with this that not you from can have use was will has been but any each other \
    may must before after when which into one two all only more than then its your their they should \
    der die das und den von ist mit des auf für ein eine nicht werden sie oder wird vor nach bei nur auch wenn aus bis zur dem \
    les des est dans pour que une par sur pas avec qui vous sont être cette avant après plus ces leur \
    los las del que por con para una como este más antes cuando sin sus esta puede \
    che per con del della una sono non alla dei nel più prima deve essere questo dopo \
    het een van dat niet met voor zijn aan wordt deze bij naar ook uit worden \
    och att som det för med den inte ska till kan när eller från \
    ikke til som kan skal eller ved der fra når før etter efter \
    que não para com uma dos como das você antes deve após \
    nie jest się dla oraz przez jak należy przed lub \
    není pro jako nebo před při musí být \
    vagy nem hogy egy ezt kell csak \
    ile bir için veya olarak önce sonra \
    että olla tämä kun tai ennen sekä \
    sau este pentru care din trebuie înainte";

/// Whether the raw text layer of a page is not what the page says.
pub(super) fn is_unreadable(raw: &str) -> bool {
    if is_meaningless(raw) {
        return true;
    }
    // As much as a page needs: the cost is that of some two hundred readings.
    let end = raw
        .char_indices()
        .nth(MAX_CHARACTERS)
        .map_or(raw.len(), |(at, _)| at);
    let raw = &raw[..end];
    // Only ASCII characters are tried as others.
    if 2 * raw.chars().filter(char::is_ascii).count() < raw.chars().count() {
        return false;
    }
    let common: HashSet<&str> = COMMON_WORDS.split_whitespace().collect();
    let as_it_is = Hits::of(raw, &common);
    if as_it_is.words == 0 || as_it_is.share() >= COMMON {
        return false;
    }
    let shifted = (-94..=94)
        .filter(|shift| *shift != 0)
        .map(|shift| added(raw, shift));
    let rotated = (1..26).map(|by| rotated(raw, by));
    shifted.chain(rotated).any(|text| {
        let hits = Hits::of(&text, &common);
        hits.is_evidence() && hits.count > 3 * as_it_is.count
    }) || (as_it_is.count == 0 && has_other_letters(raw))
}

/// Whether much of the text is in characters without a meaning. Layout characters and PDFium's mark of a hyphen are none.
fn is_meaningless(raw: &str) -> bool {
    let is_layout = |c: &char| matches!(c, '\u{2}' | '\u{feff}' | '\u{fffe}');
    let (mut count, mut without) = (0, 0);
    for word in raw.split_whitespace() {
        let characters = word.chars().filter(|c| !is_layout(c)).count();
        let meaningless = word
            .chars()
            .filter(|c| !is_layout(c) && is_without_meaning(*c))
            .count();
        count += characters;
        // Ticks and bullets of symbol fonts stand alone, or before a word.
        if characters > 1 && 2 * meaningless > characters {
            without += characters;
        }
    }
    count >= MIN_CHARACTERS && without as f64 > MAX_MEANINGLESS * count as f64
}

fn is_without_meaning(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffd}' | '\u{ffff}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..)
}

/// Common words of a text.
struct Hits {
    words: usize,
    count: usize,
    different: usize,
}

impl Hits {
    fn of(text: &str, common: &HashSet<&str>) -> Self {
        let (mut words, mut count, mut different) = (0, 0, HashSet::new());
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
            let word = word
                .trim_matches(|c: char| !c.is_alphabetic())
                .to_lowercase();
            if word.is_empty() {
                continue;
            }
            words += 1;
            if let Some(hit) = common.get(word.as_str()) {
                count += 1;
                different.insert(*hit);
            }
        }
        Self {
            words,
            count,
            different: different.len(),
        }
    }

    fn share(&self) -> f64 {
        self.count as f64 / self.words.max(1) as f64
    }

    fn is_evidence(&self) -> bool {
        self.count >= MIN_HITS
            && self.different >= MIN_DIFFERENT_HITS
            && self.share() >= MIN_HIT_SHARE
    }
}

/// The text with `shift` added to its ASCII characters, where the result is one; spaces stay.
fn added(raw: &str, shift: i32) -> String {
    let shifted = |c: char| {
        let code = u8::try_from(i32::try_from(u32::from(c)).ok()? + shift).ok()?;
        (c.is_ascii() && !matches!(c, ' ' | '\r' | '\n') && (b' '..=b'~').contains(&code))
            .then_some(char::from(code))
    };
    raw.chars().map(|c| shifted(c).unwrap_or(c)).collect()
}

/// The text with its letters moved by `by` places in the alphabet.
fn rotated(raw: &str, by: u8) -> String {
    let from = |c: char, first: u8| char::from(first + (c as u8 - first + by) % 26);
    raw.chars()
        .map(|c| match c {
            'a'..='z' => from(c, b'a'),
            'A'..='Z' => from(c, b'A'),
            _ => c,
        })
        .collect()
}

/// Whether the letters are distributed as in a language, but the frequent letters are not those of one.
fn has_other_letters(raw: &str) -> bool {
    let mut counts = [0_usize; 26];
    let words: HashSet<&str> = raw
        .split_whitespace()
        .filter(|word| word.len() >= 3 && word.bytes().all(|b| b.is_ascii_alphabetic()))
        .collect();
    for letter in words.into_iter().flat_map(str::bytes) {
        counts[usize::from(letter.to_ascii_lowercase() - b'a')] += 1;
    }
    let total: usize = counts.iter().sum();
    let different = counts.iter().filter(|count| **count > 0).count();
    if total < MIN_LETTERS || different < MIN_DIFFERENT_LETTERS {
        return false;
    }
    let share = |count: usize| count as f64 / total as f64;
    let coincidence: f64 = counts.iter().map(|count| share(*count).powi(2)).sum();
    let frequent = FREQUENT_LETTERS
        .bytes()
        .map(|b| counts[usize::from(b - b'a')]);
    COINCIDENCE.contains(&coincidence) && share(frequent.sum()) <= MAX_FREQUENT_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "Calibrate the flowmeter before use.\nThe zero point drifts by two percent, \
        which is not a fault: repeat this with the valve closed and for each range.";

    #[test]
    fn shifted_and_rotated_letters_are_unreadable() {
        for shift in [-31, -29, -1, 3] {
            assert!(is_unreadable(&added(PLAIN, shift)), "{shift}");
        }
        assert!(is_unreadable(&rotated(PLAIN, 13)));
        let german = "Das Ventil und die Pumpe sind nicht dicht: mit der Hand schließen, bis das Wasser steht.";
        assert!(is_unreadable(&added(german, -29)));
    }

    #[test]
    fn other_letters_throughout_are_unreadable() {
        let key = b"qwxzvkjbmfgpyhcuaeionsrtdl";
        let other = |c: char| match c {
            'a'..='z' => char::from(key[(c as u8 - b'a') as usize]),
            c => c,
        };
        let more = "open both drain cocks slowly and wait until no water comes out; clean filter housing, \
            gasket, strainer, impeller, mounting bracket; tighten screws crosswise; write measured values into service log";
        let text = format!("{} {more}", PLAIN.to_lowercase());
        assert!(is_unreadable(&text.chars().map(other).collect::<String>()));
    }

    #[test]
    fn characters_without_meaning_are_unreadable() {
        assert!(is_unreadable(&"\u{fffd}".repeat(20)));
        assert!(is_unreadable(
            "\u{e001}\u{e002}\u{f0041}\u{e004} \u{e005}\u{e006}\u{e007}\u{e008}"
        ));
        assert!(is_unreadable("\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\u{e}\u{f}"));
        assert!(!is_unreadable(
            "\u{f0b7} Open the valve\r\n\u{f0b7} Close it, re\u{2}\r\nopen it"
        ));
    }

    #[test]
    fn plain_text_of_any_kind_is_readable() {
        let ticks = "\u{f0fc} \u{f0fc} \u{f0fc} \u{f0fc}\nPump \u{f0fc} Valve \u{f0fc}";
        for text in [
            PLAIN,
            "",
            ticks,
            "SW1 ON OFF ON OFF OFF ON",
            "FFFF 00A0 FFFE DEAD BEEF CAFE FFFF",
            "日本語の取扱説明書 安全上のご注意",
            "Инструкция по эксплуатации насоса и клапана",
            "WKH 4711-AB, XUV 9200-2741, M8x40, DIN 931; KLM 88, QRS 12",
            "static int strncpy_s(char *dst, size_t n) { while (n--) *dst++ = 0; return -1; }",
            "GND VDD MCLK SCL SDA PWM ADC GPIO RST INT CS MISO MOSI TX RX CTS RTS VBUS VBAT NRST SWD TMS TCK TDI TDO",
        ] {
            assert!(!is_unreadable(text), "{text}");
            assert!(!is_unreadable(&text.repeat(40)), "{text} again and again");
        }
    }
}
