//! Weaviate filters of scopes, manuals and pages.

use uuid::Uuid;

use super::properties::{TEXT_PROFILE, TEXT_TOKENS};
use super::proto::{FilterTarget, Filters, IntArray, Operand, operator};
use crate::page::ManualId;
use crate::store::Scope;

/// The filter of a scope; `None` if the scope is unrestricted.
pub(super) fn scope(scope: &Scope) -> Option<Filters> {
    let any = |filters| combine(operator::OR, filters);
    let manuals = match scope.manuals.is_empty() {
        true => None,
        false => Some(any(scope.manuals.iter().map(manual).collect())),
    };
    let ranges = scope.pages.ranges();
    let pages = ranges.map(|ranges| any(ranges.iter().map(|&(a, b)| between(a, b)).collect()));
    match (manuals, pages) {
        (Some(manuals), Some(pages)) => Some(and(manuals, pages)),
        (one, other) => one.or(other),
    }
}

/// Pages of a manual.
pub(super) fn manual(name: &ManualId) -> Filters {
    compare("manual", operator::EQUAL, Operand::Text(name.to_string()))
}

/// Pages of a manual by number.
pub(super) fn pages(name: &ManualId, numbers: &[u32]) -> Filters {
    let values = numbers.iter().map(|&n| n.into()).collect();
    let numbers = compare(
        "page_number",
        operator::CONTAINS_ANY,
        Operand::Ints(IntArray { values }),
    );
    and(manual(name), numbers)
}

/// The object with an id.
pub(super) fn id(uuid: Uuid) -> Filters {
    compare("_id", operator::EQUAL, Operand::Text(uuid.to_string()))
}

/// Pages after a number.
pub(super) fn after(number: u32) -> Filters {
    compare(
        "page_number",
        operator::GREATER,
        Operand::Int(number.into()),
    )
}

/// Manuals after a name.
pub(super) fn manuals_after(name: &ManualId) -> Filters {
    compare("name", operator::GREATER, Operand::Text(name.to_string()))
}

/// All pages. A count without a filter queries all nodes, and waits a minute for one that died recently.
pub(super) fn all_pages() -> Filters {
    compare("page_number", operator::AT_LEAST, Operand::Int(0))
}

/// Blank pages.
pub(super) fn blank() -> Filters {
    compare("blank", operator::EQUAL, Operand::Bool(true))
}

/// Pages that have text vectors of a profile.
pub(super) fn text_profile(profile: &str) -> Filters {
    let profile = Operand::Text(profile.to_owned());
    compare(TEXT_PROFILE, operator::EQUAL, profile)
}

/// Pages that have a token in their text.
pub(super) fn text_token(token: u32) -> Filters {
    let token = Operand::Text(token.to_string());
    compare(TEXT_TOKENS, operator::EQUAL, token)
}

/// Both filters.
pub(super) fn and(one: Filters, other: Filters) -> Filters {
    combine(operator::AND, vec![one, other])
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

/// Combines filters; a single one stays as it is, since the server rejects a list of one.
fn combine(operator: i32, mut filters: Vec<Filters>) -> Filters {
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
