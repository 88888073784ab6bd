//! Manuals by name, as people type it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use icu_normalizer::ComposingNormalizerBorrowed;

use super::Error;
use crate::pipeline::EXTENSIONS;
use crate::store::{ManualCard, Store};

/// Shortest part of a name that is suggested for.
const MIN_PART: usize = 3;

/// The manual of that name, or whose file has that path. The suffix `.pdf` may be omitted, and that of a picture if no other
/// manual has the name; composed and decomposed letters are equal; upper and lower case are equal if only one manual has the
/// name. A file that is not stored, with the bytes of a stored one, is that manual.
///
/// # Errors
/// [`Error::NoManual`] with the most similar stored name, if one is close; [`Error::Store`] when the store fails.
pub fn find_manual(store: &dyn Store, name: impl AsRef<OsStr>) -> Result<ManualCard, Error> {
    let cards = store.cards()?;
    let name = name.as_ref();
    match find(&cards, name).or_else(|| find_copy(&cards, Path::new(name))) {
        Some(card) => Ok(card.clone()),
        None => Err(Error::NoManual {
            name: name.to_string_lossy().into_owned(),
            nearest: nearest(&cards, &name.to_string_lossy()),
        }),
    }
}

/// The manual of exactly that name. Unlike [`find_manual`] it looks at no file: names may come from other machines.
///
/// # Errors
/// As [`find_manual`].
pub fn manual_named(store: &dyn Store, name: &str) -> Result<ManualCard, Error> {
    let cards = store.cards()?;
    match cards.iter().find(|card| card.id.as_str() == name) {
        Some(card) => Ok(card.clone()),
        None => Err(Error::NoManual {
            name: name.to_owned(),
            nearest: nearest(&cards, name),
        }),
    }
}

/// The manual by the first rule that exactly one manual fulfils; the rules go from strict to lenient.
fn find<'a>(cards: &'a [ManualCard], name: &OsStr) -> Option<&'a ManualCard> {
    let typed = name.to_string_lossy();
    let path = std::path::absolute(name).unwrap_or_else(|_| name.into());
    let shown = path.display().to_string();
    // A name that is no UTF-8 is displayed like others: only its bytes tell them apart.
    let raw = |card: &ManualCard| name.to_str().is_none() && card.path.ends_with(name);
    let named = |equal: fn(&str, &str) -> bool| {
        let typed = typed.as_ref();
        move |card: &ManualCard| equal(card.id.as_str(), typed)
    };
    let without_suffix = |equal: fn(&str, &str) -> bool, is_pdf: bool| {
        let typed = typed.as_ref();
        move |card: &ManualCard| {
            let (stem, suffix) = split_suffix(card.id.as_str());
            let suffix = suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("pdf") == is_pdf);
            suffix && equal(stem, typed)
        }
    };
    let at = |equal: fn(&str, &str) -> bool| {
        let shown = shown.as_str();
        move |card: &ManualCard| card.path == path || equal(&card.path.display().to_string(), shown)
    };
    let exact: fn(&str, &str) -> bool = |a, b| a == b;
    let composed: fn(&str, &str) -> bool = |a, b| nfc(a) == nfc(b);
    let folded: fn(&str, &str) -> bool = |a, b| fold(a) == fold(b);
    let only = |fits: &dyn Fn(&ManualCard) -> bool| {
        let mut found = cards.iter().filter(|card| fits(card));
        found.next().filter(|_| found.next().is_none())
    };
    only(&raw).or_else(|| {
        [exact, composed, folded].into_iter().find_map(|equal| {
            only(&named(equal))
                .or_else(|| only(&without_suffix(equal, true)))
                .or_else(|| only(&at.clone()(equal)))
                .or_else(|| only(&without_suffix(equal, false)))
        })
    })
}

/// The manual with the bytes of a file that lies at that path, or under that name beside the file of a manual.
fn find_copy<'a>(cards: &'a [ManualCard], path: &Path) -> Option<&'a ManualCard> {
    let beside = cards.iter().filter_map(|card| card.path.parent());
    let mut places: Vec<PathBuf> = beside.map(|folder| folder.join(path)).collect();
    places.push(path.to_owned());
    places.sort();
    places.dedup();
    places
        .iter()
        .filter(|place| place.is_file())
        .find_map(|place| {
            let digest = ManualCard::digest(place).ok()?;
            cards.iter().find(|card| card.file == digest)
        })
}

/// The name to suggest: one that is equal but for upper and lower case, one that contains what was typed, or the one with
/// the fewest typing errors, at most a third of its letters.
fn nearest(cards: &[ManualCard], typed: &str) -> Option<String> {
    let stem = |name: &str| split_suffix(&fold(name)).0.to_owned();
    let typed = stem(typed);
    let length = typed.chars().count();
    let rank = |card: &ManualCard| {
        let name = stem(card.id.as_str());
        let errors = strsim::damerau_levenshtein(&name, &typed);
        match length >= MIN_PART && name.contains(&typed) {
            true => Some(0),
            false => (errors <= (length / 3).max(1) && errors < length).then_some(errors),
        }
    };
    let ranked = cards.iter().filter_map(|card| Some((rank(card)?, card)));
    let (_, best) = ranked.min_by_key(|(rank, card)| (*rank, card.id.as_str().len()))?;
    Some(best.id.to_string())
}

/// A name and its suffix, if it is one of the files that are indexed, in upper or lower case.
fn split_suffix(name: &str) -> (&str, Option<&str>) {
    let is_known = |suffix: &str| {
        EXTENSIONS
            .iter()
            .any(|known| suffix.eq_ignore_ascii_case(known))
    };
    match name.rsplit_once('.') {
        Some((stem, suffix)) if is_known(suffix) => (stem, Some(suffix)),
        _ => (name, None),
    }
}

/// The composed form (NFC).
fn nfc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(text)
        .into_owned()
}

/// The composed form without upper case; by way of it, so that `ß` equals `SS`.
fn fold(text: &str) -> String {
    nfc(&nfc(text).to_uppercase().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ManualId;

    const DECOMPOSED: &str = "Gera\u{308}t.pdf";
    const COMPOSED: &str = "Ger\u{e4}t.pdf";

    fn cards(names: &[&str]) -> Vec<ManualCard> {
        let card = |name: &&str| ManualCard {
            id: ManualId::new(name),
            path: Path::new("/manuals").join(name),
            file: String::new(),
            render: String::new(),
            pages: 1,
        };
        names.iter().map(card).collect()
    }

    fn found(stored: &[&str], typed: &str) -> Option<String> {
        let cards = cards(stored);
        find(&cards, typed.as_ref()).map(|card| card.id.to_string())
    }

    #[test]
    fn manuals_are_found_as_their_names_are_typed() {
        for (stored, typed) in [
            ("pump.pdf", "pump.pdf"),
            ("pump.pdf", "pump"),
            ("b/pump.pdf", "b/pump"),
            ("pump.pdf", "/manuals/pump.pdf"),
            (DECOMPOSED, COMPOSED),
            (COMPOSED, DECOMPOSED),
            (DECOMPOSED, "ger\u{e4}t.PDF"),
            (DECOMPOSED, "GER\u{c4}T"),
            (DECOMPOSED, "/manuals/Ger\u{e4}t.pdf"),
            ("\u{212b}ngstr\u{f6}m.pdf", "\u{e5}ngstr\u{f6}m"),
            (
                "\u{d55c}\u{ae00}.pdf",
                "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}.pdf",
            ),
            ("UPPER.PDF", "upper.pdf"),
            ("UPPER.PDF", "upper"),
            ("Stra\u{df}e.pdf", "STRASSE.PDF"),
            ("plate.tif", "plate"),
            ("plate.jpeg", "PLATE"),
            ("b/plate.PNG", "b/plate"),
        ] {
            let others = [stored, "other.pdf", "scan.png", "note.docx"];
            assert_eq!(found(&others, typed).as_deref(), Some(stored), "{typed}");
        }
        let pictures = ["scan.png", "scan.tiff", "note.docx"];
        assert_eq!(found(&pictures, "scan"), None, "either");
        assert_eq!(found(&pictures, "note"), None, "no suffix of a picture");
        let with_pdf = ["scan.png", "scan.pdf", "scan.tiff"];
        assert_eq!(found(&with_pdf, "scan").as_deref(), Some("scan.pdf"));
        assert_eq!(
            found(&["scan", "scan.png"], "scan").as_deref(),
            Some("scan")
        );
    }

    #[test]
    fn names_that_only_differ_so_stay_two() {
        let both = [DECOMPOSED, COMPOSED, "Pump.pdf", "pump.pdf"];
        for name in both {
            assert_eq!(found(&both, name).as_deref(), Some(name));
        }
        assert_eq!(found(&both, "PUMP.pdf"), None, "either");
        assert_eq!(nearest(&cards(&both), "PUMP").as_deref(), Some("Pump.pdf"));
    }

    #[cfg(unix)]
    #[test]
    fn bytes_tell_names_that_are_no_utf8_apart() {
        use std::os::unix::ffi::OsStrExt;
        let mut cards = cards(&["bad\u{fffd}.pdf", "manuals/bad\u{fffd}.pdf"]);
        let names = [&b"bad\xff.pdf"[..], b"bad\xfe.pdf"].map(OsStr::from_bytes);
        for (card, name) in cards.iter_mut().zip(names) {
            card.path = Path::new("/manuals").join(name);
        }
        for (card, name) in cards.iter().zip(names) {
            assert_eq!(find(&cards, name), Some(card));
        }
        let shown = find(&cards, "bad\u{fffd}.pdf".as_ref());
        assert_eq!(shown, Some(&cards[0]));
    }

    #[test]
    fn suggestions_are_similar() {
        let stored = cards(&[
            "-rf.pdf",
            "UPPER.PDF",
            "heat-pump-service-manual.pdf",
            "ab.pdf",
        ]);
        for (typed, suggested) in [
            ("uper.pdf", Some("UPPER.PDF")),
            ("heat-pump", Some("heat-pump-service-manual.pdf")),
            (
                "heat-pmup-service-manual",
                Some("heat-pump-service-manual.pdf"),
            ),
            ("x.pdf", None),
            ("valve.pdf", None),
            ("lower.pdf", None),
        ] {
            assert_eq!(nearest(&stored, typed).as_deref(), suggested, "{typed}");
        }
    }
}
