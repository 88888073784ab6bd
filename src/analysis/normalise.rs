//! Normal forms of text and of words.

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use super::bigrams::is_unsegmented;

/// Soft hyphen.
const SOFT_HYPHEN: char = '\u{ad}';

/// The compatibility form (NFKC), with one character each for the dashes, slashes, dots and times signs, without
/// invisible characters.
pub(super) fn normalise(text: &str) -> String {
    let normal = if text.is_ascii() {
        text.to_owned()
    } else {
        let visible = without_invisible(text);
        ComposingNormalizerBorrowed::new_nfkc()
            .normalize(&visible)
            .into_owned()
    };
    let mut out = String::with_capacity(normal.len());
    let mut chars = normal.chars().peekable();
    let mut last = ' ';
    while let Some(c) = chars.next() {
        let mut next_is_digit = || chars.peek().is_some_and(char::is_ascii_digit);
        let c = match c {
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2d7}' | '\u{2043}' => '-',
            '\u{2044}' | '\u{2215}' => '/',
            '\u{b7}' | '\u{2027}' | '\u{22c5}' => '.',
            '\u{d7}' | '\u{2715}' | '\u{2716}' | '\u{2a2f}' => 'x',
            '*' if last.is_ascii_digit() && next_is_digit() => 'x',
            other => other,
        };
        out.push(c);
        last = c;
    }
    out
}

/// Removes characters that are not drawn; a soft hyphen joins its word across the line end. Separates `1½` into `1 ½`.
fn without_invisible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            SOFT_HYPHEN => while chars.next_if(|c| matches!(c, '\r' | '\n')).is_some() {},
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{feff}' => {}
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {}
            // The dot between the words of a Japanese compound.
            '\u{30fb}' | '\u{ff65}' => {}
            '\u{bc}'..='\u{be}' | '\u{2150}'..='\u{215f}'
                if out.ends_with(|c: char| c.is_numeric()) =>
            {
                out.extend([' ', c]);
            }
            c => out.push(c),
        }
    }
    out
}

/// The words of a text: runs of letters and digits, with the marks that are combined with them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !is_mark(c))
        .filter(|word| !word.is_empty())
}

/// The words of a text without its characters of scripts that put no spaces between words.
pub(super) fn segmented_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| is_unsegmented(c) || !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// Separates letters and digits from characters of scripts that put no spaces between words.
pub(super) fn split_scripts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut last: Option<char> = None;
    for c in text.chars() {
        let meets =
            |last: char| last.is_alphanumeric() && is_unsegmented(last) != is_unsegmented(c);
        if c.is_alphanumeric() && last.is_some_and(meets) {
            out.push(' ');
        }
        out.push(c);
        last = Some(c);
    }
    out
}

fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// Lower case without diacritics: the form under which a store indexes a word.
pub(super) fn base_form(word: &str) -> String {
    let lower = word.to_lowercase();
    if lower.is_ascii() {
        return lower;
    }
    let decomposed = DecomposingNormalizerBorrowed::new_nfd()
        .normalize(&lower)
        .into_owned();
    let bare: String = decomposed.chars().filter(|&c| !is_mark(c)).collect();
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(&bare)
        .into_owned()
}

/// [`base_form`] with the letters that have no decomposition in ASCII: `straße` is `strasse`.
pub(super) fn folded(word: &str) -> String {
    let base = base_form(word);
    if base.is_ascii() {
        return base;
    }
    let mut out = String::with_capacity(base.len());
    for c in base.chars() {
        match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            'ø' => out.push('o'),
            'ł' => out.push('l'),
            'đ' | 'ð' => out.push('d'),
            'ı' => out.push('i'),
            other => out.push(other),
        }
    }
    out
}

/// The spelling of a word without its umlauts: `gerät` is `geraet`; `None` if it has none.
pub(super) fn expanded(word: &str) -> Option<String> {
    let lower = word.to_lowercase();
    let has = |c: char| matches!(c, 'ä' | 'ö' | 'ü' | 'ø' | 'å');
    if !lower.contains(has) {
        return None;
    }
    let mut out = String::with_capacity(lower.len() + 2);
    for c in lower.chars() {
        match c {
            'ä' => out.push_str("ae"),
            'ö' | 'ø' => out.push_str("oe"),
            'ü' => out.push_str("ue"),
            'å' => out.push_str("aa"),
            other => out.push(other),
        }
    }
    Some(folded(&out))
}
