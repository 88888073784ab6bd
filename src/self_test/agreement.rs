//! Agreement of two models that should be equal: vectors and search results.

use rayon::prelude::*;
use serde::Serialize;

use super::Error;
use super::inputs;
use crate::embed;
use crate::embed::colqwen::EncodeOnce;
use crate::patch::Prepared;
use crate::vectors::{MultiVector, ShapeError, max_sim};

/// How much the scores of two pages must differ, relative to the better one, before a swap in their order is a fault.
const NEIGHBOUR_MARGIN: f32 = 0.01;

/// The agreement of the tested model with the reference, over pages or over queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// What was embedded: `pages` or `queries`.
    pub inputs: &'static str,
    /// Number of inputs.
    pub count: usize,
    /// Least and greatest number of rows of an input.
    pub rows: [usize; 2],
    /// Least cosine of a row with that of the reference; `None` if no input has finite rows on both sides.
    pub least_cosine: Option<f32>,
    /// Numbers of rows of the inputs with non-finite values.
    pub not_finite: Vec<usize>,
    /// Numbers of rows of the inputs whose best match is another one than in the reference.
    pub other_neighbours: Vec<usize>,
}

impl Agreement {
    /// Whether everything agrees within rounding.
    pub fn passed(&self, least_cosine: f32) -> bool {
        let agrees = self
            .least_cosine
            .is_some_and(|cosine| cosine >= least_cosine);
        agrees && self.not_finite.is_empty() && self.other_neighbours.is_empty()
    }
}

/// An input with its vectors in the tested model and in the reference; `None`: not finite.
struct Pair {
    rows: usize,
    tested: Option<MultiVector>,
    reference: MultiVector,
}

/// Embeds the same pages, of patches with this side, and the same queries with both models and compares them: pages first, then
/// queries. `before_each` is called before each batch and each query of the tested model.
///
/// # Errors
/// [`Error::Embed`] when a model fails, or the reference gives non-finite vectors.
pub fn compare(
    tested: &mut dyn EncodeOnce,
    reference: &mut dyn EncodeOnce,
    patch_size: usize,
    before_each: &dyn Fn() -> Result<(), Error>,
) -> Result<[Agreement; 2], Error> {
    let smallest = inputs::smallest_page(patch_size);
    let shortest = page_vectors(reference, std::slice::from_ref(&smallest))?;
    let [Some(shortest)] = shortest.as_slice() else {
        return Err(not_finite("a page"));
    };
    let prompt_tokens = shortest.len() - inputs::visual_tokens(&smallest);
    let pages = inputs::pages(prompt_tokens, patch_size);
    let expected = page_vectors(reference, &pages)?.into_iter();
    before_each()?;
    let pages = page_vectors(tested, &pages)?
        .into_iter()
        .zip(expected)
        .map(|(tested, reference)| pair(tested, reference.ok_or_else(|| not_finite("a page"))?))
        .collect::<Result<Vec<Pair>, Error>>()?;
    let mut queries = Vec::new();
    for query in inputs::queries() {
        let reference = query_vectors(reference, &query)?.ok_or_else(|| not_finite("a query"))?;
        before_each()?;
        queries.push(pair(query_vectors(tested, &query)?, reference)?);
    }
    Ok([
        agreement("pages", &pages, &pages),
        agreement("queries", &queries, &pages),
    ])
}

fn not_finite(what: &str) -> Error {
    Error::Embed(embed::Error::Model(format!(
        "the reference has non-finite vectors for {what}"
    )))
}

fn pair(tested: Option<MultiVector>, reference: MultiVector) -> Result<Pair, Error> {
    if tested
        .as_ref()
        .is_some_and(|tested| tested.len() != reference.len())
    {
        return Err(Error::Embed(embed::Error::Model(
            "another number of rows than the reference".to_owned(),
        )));
    }
    Ok(Pair {
        rows: reference.len(),
        tested,
        reference,
    })
}

/// The vectors of pages, in one batch; `None`: not finite.
fn page_vectors(
    model: &mut dyn EncodeOnce,
    pages: &[Prepared],
) -> Result<Vec<Option<MultiVector>>, Error> {
    let vectors = model.encode_once(pages)?.into_iter();
    vectors.map(unless_not_finite).collect()
}

/// The vectors of a query; `None`: not finite.
fn query_vectors(model: &mut dyn EncodeOnce, query: &str) -> Result<Option<MultiVector>, Error> {
    unless_not_finite(match model.embed_query(query) {
        Ok(vectors) => Ok(vectors),
        Err(embed::Error::Vectors(error)) => Err(error),
        Err(error) => return Err(error.into()),
    })
}

fn unless_not_finite(
    vectors: Result<MultiVector, ShapeError>,
) -> Result<Option<MultiVector>, Error> {
    match vectors {
        Ok(vectors) => Ok(Some(vectors)),
        Err(ShapeError::NotFinite { .. }) => Ok(None),
        Err(error) => Err(Error::Embed(error.into())),
    }
}

fn agreement(inputs: &'static str, pairs: &[Pair], pages: &[Pair]) -> Agreement {
    let rows_of = |pairs: Vec<&Pair>| pairs.iter().map(|pair| pair.rows).collect();
    let lengths = || pairs.iter().map(|pair| pair.rows);
    let cosines = pairs.iter().filter_map(|pair| {
        let tested = pair.tested.as_ref()?;
        tested
            .rows()
            .zip(pair.reference.rows())
            .map(|(a, b)| dot(a, b))
            .reduce(f32::min)
    });
    Agreement {
        inputs,
        count: pairs.len(),
        rows: [lengths().min().unwrap_or(0), lengths().max().unwrap_or(0)],
        least_cosine: cosines.reduce(f32::min),
        not_finite: rows_of(pairs.iter().filter(|pair| pair.tested.is_none()).collect()),
        other_neighbours: rows_of(
            pairs
                .par_iter()
                .filter(|pair| has_other_neighbour(pair, pages))
                .collect(),
        ),
    }
}

/// Whether the best of the other pages is, in the reference's scores, clearly not the best. The longest pages are left out:
/// they would be the best for every input.
fn has_other_neighbour(pair: &Pair, pages: &[Pair]) -> bool {
    let Some(tested) = &pair.tested else {
        return false;
    };
    let longest = pages.iter().map(|page| page.rows).max();
    let others = pages
        .iter()
        .filter(|page| Some(page.rows) != longest && !std::ptr::eq(*page, pair));
    let scores = others.filter_map(|page| {
        let score = max_sim(tested, page.tested.as_ref()?);
        Some((score, max_sim(&pair.reference, &page.reference)))
    });
    let scores: Vec<(f32, f32)> = scores.collect();
    let found = scores.iter().max_by(|a, b| a.0.total_cmp(&b.0));
    let best = scores.iter().map(|score| score.1).fold(f32::MIN, f32::max);
    found.is_some_and(|(_, reference)| *reference < best - NEIGHBOUR_MARGIN * best.abs())
}

/// The cosine of two rows of length 1.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    /// An input of one row on a circle.
    fn at(degrees: f32) -> MultiVector {
        let (sin, cos) = degrees.to_radians().sin_cos();
        MultiVector::new(vec![cos, sin], NonZeroUsize::new(2).unwrap()).unwrap()
    }

    #[test]
    fn swapped_pages_are_other_neighbours() {
        let longest = Pair {
            rows: 2,
            tested: Some(at(0.0)),
            reference: at(0.0),
        };
        let page = |tested, reference| pair(Some(at(tested)), at(reference)).unwrap();
        let swapped = [page(70.0, 10.0), page(10.0, 70.0), longest];
        let query = page(0.0, 0.0);
        assert!(has_other_neighbour(&query, &swapped));
        let right = [page(10.0, 10.0), page(70.0, 70.0)];
        assert!(!has_other_neighbour(&query, &right));
        let queries = agreement("queries", &[query], &swapped);
        assert_eq!(
            (queries.other_neighbours.as_slice(), queries.passed(0.99)),
            (&[1][..], false)
        );
    }
}
