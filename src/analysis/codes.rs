//! Codes and quantities: the spelling without separators that all their spellings share.

use super::bigrams::is_unsegmented;
use super::normalise::folded;
use super::terms::is_stop_word;

/// Longest prefix (`DIN 912`) or unit (`12 kWh`) that a space separates from its digits.
const MAX_SPACED_LETTERS: usize = 3;
/// Shortest group of digits that a space separates from the next one (`9200 2741`).
const MIN_SPACED_DIGITS: usize = 3;
/// Shortest number that is a code (`92002741`).
const MIN_CODE_DIGITS: usize = 5;
/// Most pieces of a chain whose parts are variants too.
const MAX_PIECES: usize = 6;
/// Marks in a joined form that keep `3.3 V` apart from `33 V`, `1/2` from `12`, and -20 °C from 20 °C.
const DECIMAL: char = '·';
const FRACTION: char = '⁄';
const MINUS: char = '−';

/// What stands between two pieces.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gap {
    /// One separator.
    Tight(char),
    Space,
    /// Anything else: the pieces do not belong together.
    Break,
}

/// A run of letters and digits.
#[derive(Debug)]
struct Piece<'a> {
    text: &'a str,
    /// Its position in the line.
    start: usize,
    /// The gap before it.
    gap: Gap,
    /// Whether a minus sign precedes it.
    is_negative: bool,
}

impl Piece<'_> {
    fn is_digits(&self) -> bool {
        self.text.bytes().all(|b| b.is_ascii_digit())
    }

    fn starts_with_digit(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_digit())
    }

    fn ends_with_digit(&self) -> bool {
        self.text.ends_with(|c: char| c.is_ascii_digit())
    }

    /// Letters that may stand before or after digits with a space between: not a stop word, except a capital letter.
    fn is_short_letters(&self) -> bool {
        let mut letters = self.text.chars();
        !self.text.is_empty()
            && letters.all(char::is_alphabetic)
            && self.text.chars().count() <= MAX_SPACED_LETTERS
            && (!is_stop_word(self.text) || (self.text.len() == 1 && self.has_capital()))
    }

    /// A unit that a space separates from its number: `V`, `kWh`, `m2`.
    fn is_unit(&self) -> bool {
        let letters = self.text.strip_suffix(['2', '3']).unwrap_or(self.text);
        Piece {
            text: letters,
            ..*self
        }
        .is_short_letters()
    }

    fn has_capital(&self) -> bool {
        self.text.chars().any(char::is_uppercase)
    }

    /// Whether it is a code by itself: letters and digits, or many digits.
    fn is_code(&self) -> bool {
        match self.is_digits() {
            true => self.text.len() >= MIN_CODE_DIGITS,
            false => self.text.bytes().any(|b| b.is_ascii_digit()),
        }
    }

    /// Number of digits it begins with.
    fn leading_digits(&self) -> usize {
        self.text.bytes().take_while(u8::is_ascii_digit).count()
    }

    /// Whether it is the `x` of dimensions, alone or before digits.
    fn is_times(&self) -> bool {
        let rest = self.text.strip_prefix(['x', 'X']);
        rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// The codes of a line of a page: the joined forms of the parts of each chain.
pub(super) fn in_text(line: &str) -> Vec<String> {
    // In running text a word before a number is a prefix only with a capital, or as a single letter.
    let is_prefix = |piece: &Piece<'_>| piece.has_capital() || piece.text.chars().count() == 1;
    let mut all = Vec::new();
    for chain in chains(line, is_prefix) {
        joined_parts(&chain, &mut all);
    }
    all
}

/// The codes of a query.
#[derive(Debug, Default)]
pub(super) struct QueryCodes {
    /// Their joined forms.
    pub(super) whole: Vec<String>,
    /// The joined forms of parts of them, and their pieces of two characters or more.
    pub(super) parts: Vec<String>,
    /// The query without them.
    pub(super) rest: String,
}

/// Finds the codes of a query, where capitals are not expected.
pub(super) fn in_query(text: &str) -> QueryCodes {
    let mut codes = QueryCodes::default();
    let mut from = 0;
    for chain in chains(text, |_| true) {
        let (first, last) = (&chain[0], &chain[chain.len() - 1]);
        if chain.len() == 1 && !first.is_code() {
            continue;
        }
        let mut parts = Vec::new();
        joined_parts(&chain, &mut parts);
        let whole = joined(&chain);
        let is_whole = |form: &&String| form.trim_start_matches(MINUS) == whole;
        codes.whole.push(whole.clone());
        codes.whole.extend(parts.iter().filter(is_whole).cloned());
        parts.retain(|form| !is_whole(&form));
        let pieces = chain.iter().map(|piece| folded(piece.text));
        parts.extend(pieces.filter(|piece| chain.len() > 1 && piece.chars().count() > 1));
        codes.parts.extend(parts);
        codes.rest.push_str(&text[from..first.start]);
        codes.rest.push(' ');
        from = last.start + last.text.len();
    }
    codes.rest.push_str(&text[from..]);
    codes
}

/// The chains of pieces of a line that belong together, and its other pieces, each alone.
fn chains<'a>(line: &'a str, is_prefix: impl Fn(&Piece<'_>) -> bool) -> Vec<Vec<Piece<'a>>> {
    if !line.bytes().any(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    let mut chains: Vec<Vec<Piece<'a>>> = Vec::new();
    let mut after_unit = false;
    for piece in pieces(line) {
        let last = chains.last_mut();
        let link = match last.as_ref().and_then(|chain| chain.last()) {
            Some(last) => link(last, &piece, after_unit, &is_prefix),
            None => Link::None,
        };
        after_unit = link == Link::Unit;
        match last {
            Some(chain) if link != Link::None => chain.push(piece),
            _ => chains.push(vec![piece]),
        }
    }
    let has_digit = |piece: &Piece<'_>| piece.text.bytes().any(|b| b.is_ascii_digit());
    chains.retain(|chain| chain.iter().any(has_digit));
    chains
}

/// Splits a line into pieces.
fn pieces(line: &str) -> Vec<Piece<'_>> {
    let is_letter = |c: char| c.is_alphanumeric() && !is_unsegmented(c);
    let mut pieces = Vec::new();
    let mut end = 0;
    while let Some(next) = line[end..].find(is_letter) {
        let (between, tail) = (&line[end..end + next], &line[end + next..]);
        let text = &tail[..tail.find(|c| !is_letter(c)).unwrap_or(tail.len())];
        let is_negative = between.strip_suffix('-').is_some_and(|outside| {
            outside.is_empty() && end == 0 || outside.ends_with([' ', '\t', '(', '~'])
        });
        let gap = match end {
            0 => Gap::Break,
            _ => gap(between),
        };
        pieces.push(Piece {
            text,
            start: end + next,
            gap,
            is_negative,
        });
        end += next + text.len();
    }
    pieces
}

fn gap(between: &str) -> Gap {
    let is_spaced = between.contains(char::is_whitespace);
    let mut marks = between.chars().filter(|c| !c.is_whitespace());
    match (marks.next(), marks.next()) {
        (None, _) if !between.contains('\t') => Gap::Space,
        (Some('°'), None) if is_spaced => Gap::Space,
        (Some(mark @ ('-' | '.' | '/' | '_' | ',' | '°')), None) if !is_spaced => Gap::Tight(mark),
        _ => Gap::Break,
    }
}

/// How a piece belongs to the one before it.
#[derive(Clone, Copy, PartialEq)]
enum Link {
    None,
    Part,
    /// It is the unit of the digits before it.
    Unit,
}

fn link(
    last: &Piece<'_>,
    next: &Piece<'_>,
    after_unit: bool,
    is_prefix: impl Fn(&Piece<'_>) -> bool,
) -> Link {
    let yes = |linked: bool| if linked { Link::Part } else { Link::None };
    match next.gap {
        Gap::Break => Link::None,
        Gap::Tight(',') => yes(last.is_digits() && next.starts_with_digit()),
        Gap::Tight(_) => Link::Part,
        Gap::Space if last.ends_with_digit() && next.is_times() => Link::Part,
        Gap::Space if next.starts_with_digit() => {
            let times = last.text.strip_suffix(['x', 'X']).is_some_and(|rest| {
                rest.is_empty() || rest.ends_with(|c: char| c.is_ascii_digit())
            });
            let groups =
                |piece: &Piece<'_>| piece.is_digits() && piece.text.len() >= MIN_SPACED_DIGITS;
            let prefix = !after_unit && last.is_short_letters() && is_prefix(last);
            yes(times || prefix || groups(last) && groups(next))
        }
        Gap::Space if last.ends_with_digit() && next.is_unit() => Link::Unit,
        Gap::Space => Link::None,
    }
}

/// Adds the joined forms of all parts of a chain that have two pieces or more and a digit; of a long chain, of its pairs,
/// threes and the whole.
fn joined_parts(chain: &[Piece<'_>], all: &mut Vec<String>) {
    for start in 0..chain.len() {
        if start > 0 && is_decimal(chain, start) {
            continue;
        }
        let is_long = chain.len() > MAX_PIECES;
        let last = if is_long {
            chain.len().min(start + 3)
        } else {
            chain.len()
        };
        let whole = (is_long && start == 0).then_some(chain.len());
        for end in (start + 2..=last).chain(whole) {
            let part = &chain[start..end];
            let cuts_number = end < chain.len() && is_decimal(chain, end);
            let has_digit = part
                .iter()
                .any(|piece| piece.text.bytes().any(|b| b.is_ascii_digit()));
            if !has_digit || cuts_number {
                continue;
            }
            let joined = joined(part);
            if part[0].is_negative {
                all.push(format!("{MINUS}{joined}"));
            }
            all.push(joined);
        }
    }
}

/// Whether a decimal mark precedes the piece at `index`: one mark, digits before it, at most three digits after it.
fn is_decimal(chain: &[Piece<'_>], index: usize) -> bool {
    let is_mark = |piece: &Piece<'_>| matches!(piece.gap, Gap::Tight('.' | ','));
    let is_tight = |piece: &Piece<'_>| matches!(piece.gap, Gap::Tight(_));
    let (last, next) = (&chain[index - 1], &chain[index]);
    let follows_number = index > 1 && is_tight(last);
    let goes_on = chain
        .get(index + 1)
        .is_some_and(|piece| matches!(piece.gap, Gap::Tight(mark) if mark != '°'));
    is_mark(next)
        && last.is_digits()
        && !follows_number
        && !goes_on
        && (1..=3).contains(&next.leading_digits())
}

fn joined(part: &[Piece<'_>]) -> String {
    let mut out = folded(part[0].text);
    for (index, piece) in part.iter().enumerate().skip(1) {
        let is_fraction = piece.gap == Gap::Tight('/')
            && part.len() == 2
            && part
                .iter()
                .all(|piece| piece.is_digits() && piece.text.len() <= 2);
        if index == 1 && is_decimal(part, 1) {
            out.push(DECIMAL);
        } else if is_fraction {
            out.push(FRACTION);
        }
        out.push_str(&folded(piece.text));
    }
    out
}
