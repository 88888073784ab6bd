//! SQLite catalogue. Scans read one page at a time, so memory does not grow with the library.

use std::num::NonZeroUsize;

use rusqlite::{OptionalExtension, Result as Sql, Row};
use uuid::Uuid;

use super::text_vectors::read_update;
use super::{Collection, Sqlite, WithLocation, names};
use crate::page::{ManualId, PageId};
use crate::store::{
    Catalogue, Error, Fingerprint, LastRun, ManualCard, ManualSummary, Scope, StoredPage,
    TextUpdate, VectorUpdate, path_text,
};
use crate::vectors::{MultiVector, PageVectors, PatchMap};

const MANUALS: &str = "
SELECT name, path, file, render, pages, count(page.id), coalesce(sum(blank), 0),
    coalesce(sum(page.rows + iif(?2 > 1, max(page.rows / ?2, 1), 0)), 0), coalesce(sum(length(text_vectors.rows)), 0),
    last_run, count(iif(json_valid(description), json_extract(description, '$.described'), NULL))
FROM manual JOIN page ON page.manual = manual.id LEFT JOIN text_vectors ON text_vectors.page = page.id
WHERE collection = ?1 GROUP BY manual.id ORDER BY name";

const PAGE: &str = "
SELECT origin, content, label, section, text, blank, jpeg, description, grid_columns, grid_rows, places, vectors.rows,
    digest, tokens, text_vectors.rows, words_read
FROM page LEFT JOIN vectors ON vectors.page = page.id LEFT JOIN text_vectors ON text_vectors.page = page.id JOIN thumbnail ON thumbnail.page = page.id
WHERE page.id = ?1";

const RECORD: &str = "
SELECT origin, content, label, section, text, blank, jpeg, description
FROM page JOIN thumbnail ON thumbnail.page = page.id
WHERE page.id = ?1";

impl Catalogue for Sqlite {
    fn keeps_text_vectors(&self) -> bool {
        true
    }

    fn cards(&self) -> Result<Vec<ManualCard>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Vec::new());
        };
        let read = || {
            self.connection()
                .prepare_cached(
                    "SELECT name, path, file, render, pages FROM manual WHERE collection = ?1 ORDER BY name",
                )?
                .query_map([collection.id], manual_card)?
                .collect()
        };
        Sql::with_location(read(), &self.location)
    }

    fn manuals(&self) -> Result<Vec<ManualSummary>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Vec::new());
        };
        let read = || {
            self.connection()
                .prepare_cached(MANUALS)?
                .query_map((collection.id, collection.first_stage), |row| {
                    manual_summary(row, &collection)
                })?
                .collect()
        };
        Sql::with_location(read(), &self.location)
    }

    fn page_with_uuid(&self, uuid: Uuid) -> Result<Option<PageId>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(None);
        };
        let read = || {
            self.connection()
                .prepare_cached(
                    "SELECT name, number FROM page JOIN manual ON manual.id = page.manual
                     WHERE uuid = ?1 AND collection = ?2",
                )?
                .query_row((uuid.as_bytes(), collection.id), |row| {
                    Ok(PageId::new(
                        &ManualId::new(row.get_ref(0)?.as_str()?),
                        row.get(1)?,
                    ))
                })
                .optional()
        };
        Sql::with_location(read(), &self.location)
    }

    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Vec::new());
        };
        let read = || {
            self.connection()
                .prepare_cached(
                    "SELECT number, origin, content, coalesce(digest, '') FROM page
                     JOIN manual ON manual.id = page.manual LEFT JOIN text_vectors ON text_vectors.page = page.id
                     WHERE collection = ?1 AND name = ?2 ORDER BY number",
                )?
                .query_map((collection.id, manual.as_str()), fingerprint)?
                .collect()
        };
        Sql::with_location(read(), &self.location)
    }

    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Box::new(std::iter::empty()));
        };
        let ids = self.page_ids(&collection, scope)?;
        // A page that was removed since is skipped.
        Ok(Box::new(ids.into_iter().filter_map(move |(row, id)| {
            self.read_page(&collection, row, id).transpose()
        })))
    }

    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Box::new(std::iter::empty()));
        };
        let ids = self.page_ids(&collection, scope)?;
        let read = |(row, id): (i64, PageId)| {
            self.connection()
                .prepare_cached(RECORD)?
                .query_row([row], |row| page_record(row, &id))
                .optional()
        };
        Ok(Box::new(ids.into_iter().filter_map(move |page| {
            read(page).with_location(&self.location).transpose()
        })))
    }
}

impl Sqlite {
    /// Row ids and ids of the pages of a scope, in order of manual and number.
    pub(super) fn page_ids(
        &self,
        collection: &Collection,
        scope: &Scope,
    ) -> Result<Vec<(i64, PageId)>, Error> {
        let read = || {
            let connection = self.connection();
            let mut statement = connection.prepare_cached(
                "SELECT page.id, number, name FROM manual JOIN page ON page.manual = manual.id
                 WHERE collection = ?1 AND (?2 IS NULL OR name IN (SELECT value FROM json_each(?2))) ORDER BY name, number",
            )?;
            let mut rows = statement.query((collection.id, names(scope)))?;
            let mut found: Vec<(i64, PageId)> = Vec::new();
            while let Some(row) = rows.next()? {
                let number = row.get(1)?;
                if !scope.pages.contains(number) {
                    continue;
                }
                let name = row.get_ref(2)?.as_str()?;
                let manual = match found.last() {
                    Some((_, last)) if last.manual.as_str() == name => last.manual.clone(),
                    _ => ManualId::new(name),
                };
                found.push((row.get(0)?, PageId { manual, number }));
            }
            Ok(found)
        };
        Sql::with_location(read(), &self.location)
    }

    fn damaged(&self, id: &PageId, why: &str) -> Error {
        Error::damaged(&self.location, id, why)
    }

    /// Reads a complete page; `None` if it does not exist.
    fn read_page(
        &self,
        collection: &Collection,
        row: i64,
        id: PageId,
    ) -> Result<Option<StoredPage>, Error> {
        let read = || {
            self.connection()
                .prepare_cached(PAGE)?
                .query_row([row], |row| {
                    let text = read_update(row, 12, collection.text_precision)?;
                    Ok((page_record(row, &id)?, page_vectors(row, collection)?, text))
                })
                .optional()
        };
        let Some((page, vectors, text)) = read().with_location(&self.location)? else {
            return Ok(None);
        };
        let page = StoredPage {
            text_vectors: text.map_err(|why| self.damaged(&id, &why))?,
            ..page
        };
        match vectors {
            None if self.is_outbox => Ok(Some(page)),
            None => Err(self.damaged(&id, "it has no vectors")),
            Some(Err(why)) => Err(self.damaged(&id, &why)),
            Some(Ok(vectors)) => Ok(Some(StoredPage {
                vectors: VectorUpdate::Replace(vectors),
                ..page
            })),
        }
    }
}

fn manual_card(row: &Row<'_>) -> Sql<ManualCard> {
    Ok(ManualCard {
        id: ManualId::new(row.get_ref(0)?.as_str()?),
        path: path_text::decode(row.get_ref(1)?.as_str()?),
        file: row.get(2)?,
        render: row.get(3)?,
        pages: row.get(4)?,
    })
}

fn manual_summary(row: &Row<'_>, collection: &Collection) -> Sql<ManualSummary> {
    let rows: i64 = row.get(7)?;
    Ok(ManualSummary {
        card: manual_card(row)?,
        stored: row.get(5)?,
        blank: row.get(6)?,
        bytes: rows
            .unsigned_abs()
            .saturating_mul(collection.row_bytes() as u64)
            .saturating_add(row.get::<_, i64>(8)?.unsigned_abs()),
        last_run: row
            .get_ref(9)?
            .as_str_or_null()?
            .and_then(LastRun::from_json),
        described: Some(row.get(10)?),
    })
}

fn fingerprint(row: &Row<'_>) -> Sql<Fingerprint> {
    Ok(Fingerprint {
        number: row.get(0)?,
        origin: row.get(1)?,
        content: row.get(2)?,
        text: row.get(3)?,
    })
}

/// Reads a page without its vectors.
fn page_record(row: &Row<'_>, id: &PageId) -> Sql<StoredPage> {
    Ok(StoredPage {
        id: id.clone(),
        origin: row.get(0)?,
        content: row.get(1)?,
        label: row.get(2)?,
        section: row.get(3)?,
        text: row.get(4)?,
        blank: row.get(5)?,
        thumbnail: row.get(6)?,
        description: row.get(7)?,
        vectors: VectorUpdate::Keep,
        text_vectors: TextUpdate::Keep,
    })
}

/// Decodes and validates the vectors of a page, since a file may be damaged; `None` if it has no vectors.
fn page_vectors(
    row: &Row<'_>,
    collection: &Collection,
) -> Sql<Option<Result<PageVectors, String>>> {
    let Some(columns) = row.get::<_, Option<i64>>(8)? else {
        return Ok(None);
    };
    let grid = (u16::try_from(columns), u16::try_from(row.get::<_, i64>(9)?));
    let (Ok(columns), Ok(rows)) = grid else {
        return Ok(Some(Err("its grid is too large".to_owned())));
    };
    let cells = row.get_ref(10)?.as_blob()?;
    let floats = row.get_ref(11)?.as_blob()?;
    let Some(dim) = NonZeroUsize::new(collection.profile.dim as usize) else {
        return Ok(Some(Err("its collection has width 0".to_owned())));
    };
    let decoded = match floats.len().is_multiple_of(collection.row_bytes()) {
        true => collection.precision.decode(floats, dim.get()),
        false => return Ok(Some(Err("its last vector is incomplete".to_owned()))),
    };
    let decoded = MultiVector::new(decoded, dim).and_then(|vectors| {
        let patches = PatchMap::from_bytes(columns, rows, cells, vectors.len())?;
        Ok(PageVectors { vectors, patches })
    });
    Ok(Some(decoded.map_err(|cause| cause.to_string())))
}
