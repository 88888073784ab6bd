//! Where to look, as the server understands it.

use super::proto::{FilterTarget, Filters, IntArray, Operand, operator};
use crate::page::ManualId;
use crate::store::Scope;

/// The filter of a scope; none when it is everything.
pub(super) fn of(scope: &Scope) -> Option<Filters> {
    let manual = scope.manual.as_ref().map(manual);
    let pages = scope.pages.ranges().map(|ranges| {
        joined(
            operator::OR,
            ranges.iter().map(|&(a, b)| between(a, b)).collect(),
        )
    });
    match (manual, pages) {
        (Some(manual), Some(pages)) => Some(joined(operator::AND, vec![manual, pages])),
        (one, other) => one.or(other),
    }
}

/// Pages of a manual.
pub(super) fn manual(name: &ManualId) -> Filters {
    compare("manual", operator::EQUAL, Operand::Text(name.to_string()))
}

/// Certain pages of a manual.
pub(super) fn pages(name: &ManualId, numbers: &[u32]) -> Filters {
    let values = numbers.iter().map(|&n| n.into()).collect();
    let numbers = compare(
        "page_number",
        operator::CONTAINS_ANY,
        Operand::Ints(IntArray { values }),
    );
    and(manual(name), numbers)
}

/// Pages beyond a number.
pub(super) fn after(number: u32) -> Filters {
    compare(
        "page_number",
        operator::GREATER,
        Operand::Int(number.into()),
    )
}

/// Manuals that come after one by name.
pub(super) fn named_after(name: &ManualId) -> Filters {
    compare("name", operator::GREATER, Operand::Text(name.to_string()))
}

/// Every page. A count without a filter asks all nodes, and waits a minute for one that died a moment ago.
pub(super) fn everything() -> Filters {
    compare("page_number", operator::AT_LEAST, Operand::Int(0))
}

/// Blank pages.
pub(super) fn blank() -> Filters {
    compare("blank", operator::EQUAL, Operand::Bool(true))
}

/// What both let through.
pub(super) fn and(one: Filters, other: Filters) -> Filters {
    joined(operator::AND, vec![one, other])
}

/// Pages from one number to another.
pub(super) fn between(first: u32, last: u32) -> Filters {
    let edge = |operator, n: u32| compare("page_number", operator, Operand::Int(n.into()));
    match (first, last) {
        _ if first == last => edge(operator::EQUAL, first),
        (_, u32::MAX) => edge(operator::AT_LEAST, first),
        _ => and(
            edge(operator::AT_LEAST, first),
            edge(operator::AT_MOST, last),
        ),
    }
}

fn compare(property: &str, operator: i32, value: Operand) -> Filters {
    Filters {
        operator,
        filters: Vec::new(),
        value: Some(value),
        target: Some(FilterTarget {
            property: property.to_owned(),
        }),
    }
}

/// The server refuses a list of one.
fn joined(operator: i32, mut filters: Vec<Filters>) -> Filters {
    if filters.len() == 1 {
        return filters.remove(0);
    }
    Filters {
        operator,
        filters,
        value: None,
        target: None,
    }
}
