//! Tells what is in. Pages are read one by one, so that a library of any size passes through a small memory.

use std::num::NonZeroUsize;

use rusqlite::{OptionalExtension, Result as Sql, Row};

use super::{Collection, Named, Sqlite};
use crate::page::{ManualId, PageId};
use crate::store::{
    Catalogue, Error, Fingerprint, ManualCard, ManualSummary, Scope, StoredPage, VectorUpdate,
};
use crate::vectors::{MultiVector, PageVectors, PatchMap};

const MANUALS: &str = "
SELECT name, path, file, render, pages, count(page.id), coalesce(sum(blank), 0), coalesce(sum(rows + iif(?2 > 1, max(rows / ?2, 1), 0)), 0)
FROM manual JOIN page ON page.manual = manual.id
WHERE collection = ?1 GROUP BY manual.id ORDER BY name";

const PAGE: &str = "
SELECT origin, content, label, section, text, blank, jpeg, description, grid_columns, grid_rows, places, vectors.rows
FROM page LEFT JOIN vectors ON vectors.page = page.id JOIN thumbnail ON thumbnail.page = page.id
WHERE page.id = ?1";

const RECORD: &str = "
SELECT origin, content, label, section, text, blank, jpeg, description
FROM page JOIN thumbnail ON thumbnail.page = page.id
WHERE page.id = ?1";

impl Catalogue for Sqlite {
    fn cards(&self) -> Result<Vec<ManualCard>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Vec::new());
        };
        let read = || {
            self.connection()
                .prepare_cached(
                    "SELECT name, path, file, render, pages FROM manual WHERE collection = ?1 ORDER BY name",
                )?
                .query_map([collection.id], card)?
                .collect()
        };
        Sql::at(read(), &self.at)
    }

    fn manuals(&self) -> Result<Vec<ManualSummary>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Vec::new());
        };
        let read = || {
            self.connection()
                .prepare_cached(MANUALS)?
                .query_map((collection.id, collection.first_stage), |row| {
                    shelved(row, &collection)
                })?
                .collect()
        };
        Sql::at(read(), &self.at)
    }

    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Vec::new());
        };
        let read = || {
            self.connection()
                .prepare_cached(
                    "SELECT number, origin, content FROM page JOIN manual ON manual.id = page.manual
                     WHERE collection = ?1 AND name = ?2 ORDER BY number",
                )?
                .query_map((collection.id, manual.as_str()), fingerprint)?
                .collect()
        };
        Sql::at(read(), &self.at)
    }

    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Box::new(std::iter::empty()));
        };
        let ids = self.within_scope(&collection, scope)?;
        // A page removed since then is no page any more.
        Ok(Box::new(ids.into_iter().filter_map(move |(row, id)| {
            self.read(&collection, row, id).transpose()
        })))
    }

    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        let Some(collection) = self.collection() else {
            return Ok(Box::new(std::iter::empty()));
        };
        let ids = self.within_scope(&collection, scope)?;
        let read = |(row, id): (i64, PageId)| {
            self.connection()
                .prepare_cached(RECORD)?
                .query_row([row], |row| stored(row, &id))
                .optional()
        };
        Ok(Box::new(ids.into_iter().filter_map(move |page| {
            read(page).at(&self.at).transpose()
        })))
    }
}

impl Sqlite {
    /// The pages of a scope, in order of manual and number, with their row ids.
    pub(super) fn within_scope(
        &self,
        collection: &Collection,
        scope: &Scope,
    ) -> Result<Vec<(i64, PageId)>, Error> {
        let read = || {
            let connection = self.connection();
            let mut statement = connection.prepare_cached(
                "SELECT page.id, number, name FROM manual JOIN page ON page.manual = manual.id
                 WHERE collection = ?1 AND (?2 IS NULL OR name = ?2) ORDER BY name, number",
            )?;
            let wanted = scope.manual.as_ref().map(ManualId::as_str);
            let mut rows = statement.query((collection.id, wanted))?;
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
        Sql::at(read(), &self.at)
    }

    fn damaged(&self, id: &PageId, why: &str) -> Error {
        Error::failed(&self.at, &format!("{id} is damaged: {why}"))
    }

    /// Everything stored of a page; none when it is not there.
    fn read(
        &self,
        collection: &Collection,
        row: i64,
        id: PageId,
    ) -> Result<Option<StoredPage>, Error> {
        let read = || {
            self.connection()
                .prepare_cached(PAGE)?
                .query_row([row], |row| {
                    Ok((stored(row, &id)?, vectors(row, collection)?))
                })
                .optional()
        };
        let Some((page, vectors)) = read().at(&self.at)? else {
            return Ok(None);
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

fn card(row: &Row<'_>) -> Sql<ManualCard> {
    Ok(ManualCard {
        id: ManualId::new(row.get_ref(0)?.as_str()?),
        path: row.get::<_, String>(1)?.into(),
        file: row.get(2)?,
        render: row.get(3)?,
        pages: row.get(4)?,
    })
}

fn shelved(row: &Row<'_>, collection: &Collection) -> Sql<ManualSummary> {
    let rows: i64 = row.get(7)?;
    Ok(ManualSummary {
        card: card(row)?,
        stored: row.get(5)?,
        blank: row.get(6)?,
        bytes: rows.unsigned_abs() * collection.row_bytes() as u64,
    })
}

fn fingerprint(row: &Row<'_>) -> Sql<Fingerprint> {
    Ok(Fingerprint {
        number: row.get(0)?,
        origin: row.get(1)?,
        content: row.get(2)?,
    })
}

/// A page without its vectors.
fn stored(row: &Row<'_>, id: &PageId) -> Sql<StoredPage> {
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
    })
}

/// The vectors of a page, checked anew: a file may have been damaged. None when it has none.
fn vectors(row: &Row<'_>, collection: &Collection) -> Sql<Option<Result<PageVectors, String>>> {
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
    let made = match floats.len().is_multiple_of(collection.row_bytes()) {
        true => collection.precision.decode(floats, dim.get()),
        false => return Ok(Some(Err("its last vector is cut".to_owned()))),
    };
    let made = MultiVector::new(made, dim).and_then(|vectors| {
        let patches = PatchMap::from_bytes(columns, rows, cells, vectors.len())?;
        Ok(PageVectors { vectors, patches })
    });
    Ok(Some(made.map_err(|cause| cause.to_string())))
}
