//! The numbers by which an answer cites its pages.

use std::collections::HashSet;
use std::ops::Range;

use super::ContextPage;

/// Numbers are tried from 1, 11, 21, … until none of the texts has one in brackets.
const STEP: usize = 10;

/// The numbers of the pages of an answer: from 1, or from a number on that is printed in brackets on none of them. Else the key
/// `[1]` of a keypad would be taken for a citation of page 1.
#[derive(Clone, Debug)]
pub(super) struct PageNumbers {
    numbers: Range<usize>,
    /// Numbers in brackets in the texts of the pages.
    printed: HashSet<usize>,
}

impl PageNumbers {
    pub(super) fn of(pages: &[ContextPage]) -> Self {
        let texts = pages.iter().map(|page| page.text.as_str());
        let printed: HashSet<usize> = texts.flat_map(in_brackets).collect();
        let is_free = |first: &usize| !(*first..first + pages.len()).any(|n| printed.contains(&n));
        let first = (1..=1_000).step_by(STEP).find(is_free).unwrap_or(1);
        Self {
            numbers: first..first + pages.len(),
            printed,
        }
    }

    /// The number of the first page.
    pub(super) fn first(&self) -> usize {
        self.numbers.start
    }

    /// The position of the page with this number.
    pub(super) fn position(&self, number: usize) -> Option<usize> {
        let position = || number - self.numbers.start;
        self.numbers.contains(&number).then(position)
    }

    /// Whether a number that cites none of the pages stands on them in brackets.
    pub(super) fn is_printed(&self, number: usize) -> bool {
        self.printed.contains(&number)
    }
}

/// Numbers in brackets, such as 7 in `[7]`.
fn in_brackets(text: &str) -> impl Iterator<Item = usize> + '_ {
    let parts = text.split('[').skip(1);
    parts.filter_map(|part| part.split_once(']')?.0.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::context_page;

    #[test]
    fn numbers_that_are_printed_in_brackets_are_not_used() {
        for (texts, first) in [
            (["a", "b"], 1),
            (["Press [1] and [ 3 ].", "b"], 11),
            (["a [2]", "b [12] [x"], 21),
            (["[3], a[i], [1.5]", "b"], 1),
        ] {
            let numbers = PageNumbers::of(&texts.map(context_page));
            assert_eq!(numbers.first(), first, "{texts:?}");
            assert_eq!(numbers.position(first + 1), Some(1));
            assert_eq!(numbers.position(first + 2), None);
        }
        let numbers = PageNumbers::of(&[context_page("Press [1].")]);
        assert!(numbers.is_printed(1) && !numbers.is_printed(2));
    }
}
