//! Puts pages in. Each call is one transaction: it happens whole or not at all, also when the process is killed.

use rayon::prelude::*;
use rusqlite::{
    Connection, OptionalExtension, Result as Sql, Transaction, TransactionBehavior, params,
};

use super::{Collection, Keeping, Named, Sqlite, schema};
use crate::page::{ManualId, Page, PageError, PageId, PageSet};
use crate::pooling::pool;
use crate::store::{
    BatchPolicy, CollectionSelector, Error, ManualCard, StoredPage, VectorUpdate, WriteOutcome,
    Writer, flaw, locked,
};
use crate::vectors::{PageVectors, Profile};

const PUT_PAGE: &str = "
INSERT INTO page (uuid, manual, number, origin, content, blank, rows, label, section, text, description, said)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, coalesce(?13, ''))
ON CONFLICT (manual, number) DO UPDATE SET origin = excluded.origin, content = excluded.content,
    blank = excluded.blank, rows = excluded.rows, label = excluded.label, section = excluded.section,
    text = excluded.text, description = CASE WHEN ?12 THEN coalesce(excluded.description, description)
    ELSE excluded.description END,
    said = CASE WHEN ?12 AND ?13 IS NULL THEN said ELSE excluded.said END
RETURNING id";

const PUT_MANUAL: &str = "
INSERT INTO manual (collection, name, path, file, render, pages) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (collection, name) DO UPDATE SET path = excluded.path, file = excluded.file,
    render = excluded.render, pages = excluded.pages";

impl Sqlite {
    /// Runs `work` in one transaction that takes the write lock first.
    pub(super) fn within<T>(&self, work: impl FnOnce(&Connection) -> Sql<T>) -> Result<T, Error> {
        let run = || {
            let connection = self.connection();
            let transaction =
                Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit().map(|()| done)
        };
        run().at(&self.at)
    }
}

impl Writer for Sqlite {
    fn prepare(&self, profile: &Profile) -> Result<(), Error> {
        let wanted = CollectionSelector::Profile(profile);
        let found = schema::find(&self.connection(), wanted).at(&self.at)?;
        if let Some(found) = found {
            if found.profile.dim != profile.dim {
                return Err(Error::Width {
                    found: found.profile.dim,
                    made: profile.dim,
                });
            }
            found.allows(self.wanted, &self.at)?;
        }
        let made = self.within(|connection| {
            schema::touch(connection, profile, self.wanted)?;
            schema::find(connection, wanted)
        })?;
        *locked(&self.collection) = made;
        Ok(())
    }

    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error> {
        let collection = self.prepared()?;
        let path = card.path.to_string_lossy();
        self.within(|connection| {
            connection.prepare_cached(PUT_MANUAL)?.execute(params![
                collection.id,
                card.id.as_str(),
                path,
                card.file,
                card.render,
                card.pages
            ])
        })
        .map(|_| ())
    }

    fn batch_policy(&self) -> BatchPolicy {
        BatchPolicy::of_a_file()
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        let collection = self.prepared()?;
        // Only pooling is worth the threads, which a model that embeds keeps busy.
        let packed = |page: &StoredPage| blobs(page, &collection);
        let blobs: Vec<_> = match collection.first_stage {
            1 => pages.iter().map(packed).collect(),
            _ => pages.par_iter().map(packed).collect(),
        };
        self.within(|connection| {
            let put = |(page, blobs): (&StoredPage, Result<_, String>)| {
                let verdict = match blobs {
                    Ok(blobs) => self.put(connection, &collection, page, blobs)?,
                    Err(why) => Err(PageError::Store(why)),
                };
                Ok((page.id.clone(), verdict))
            };
            pages.iter().zip(blobs).map(put).collect()
        })
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        let Some(collection) = self.collection().filter(|_| !pages.is_empty()) else {
            return Ok(0);
        };
        self.within(|connection| {
            let Some(id) = manual_id(connection, &collection, manual)? else {
                return Ok(0);
            };
            let mut gone = 0;
            for &(first, last) in pages.ranges().unwrap_or(&[(0, u32::MAX)]) {
                gone += connection
                    .prepare_cached(
                        "DELETE FROM page WHERE manual = ?1 AND number BETWEEN ?2 AND ?3",
                    )?
                    .execute((id, first, last))? as u64;
            }
            if pages.is_all() {
                connection.execute("DELETE FROM manual WHERE id = ?1", [id])?;
            }
            Ok(gone)
        })
    }
}

fn manual_id(connection: &Connection, within: &Collection, manual: &ManualId) -> Sql<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM manual WHERE collection = ?1 AND name = ?2")?
        .query_row((within.id, manual.as_str()), |row| row.get(0))
        .optional()
}

impl Collection {
    /// Refuses settings that it was not made with.
    fn allows(&self, wanted: Keeping, at: &str) -> Result<(), Error> {
        let differs = |what: &str, found: String, wanted: String| Error::Differs {
            at: at.to_owned(),
            what: what.to_owned(),
            found,
            wanted,
        };
        let (precision, first) = (self.precision, self.first_stage);
        if let Some(other) = wanted.precision.filter(|wanted| *wanted != precision) {
            return Err(differs(
                "precision",
                precision.name().into(),
                other.name().into(),
            ));
        }
        match wanted.first_stage.filter(|wanted| *wanted != first) {
            Some(other) => Err(differs("first_stage", first.to_string(), other.to_string())),
            None => Ok(()),
        }
    }
}

/// The vectors of a page as the file keeps them.
struct Blobs {
    rows: Vec<u8>,
    /// The same rows, pooled; none in a collection without a first stage.
    first: Option<Vec<u8>>,
}

/// Packs the vectors of a page, or says what is wrong with them; none for a page that keeps those it has.
fn blobs(page: &StoredPage, collection: &Collection) -> Result<Option<Blobs>, String> {
    let VectorUpdate::Replace(new) = &page.vectors else {
        return Ok(None);
    };
    if let Some(why) = flaw(new, collection.profile.dim) {
        return Err(why);
    }
    let pooled = match collection.first_stage {
        1 => None,
        factor => Some(pool(new, factor).map_err(|cause| cause.to_string())?),
    };
    Ok(Some(Blobs {
        rows: collection.precision.encode(&new.vectors),
        first: pooled.map(|pooled| collection.precision.encode(&pooled.vectors)),
    }))
}

impl Sqlite {
    /// Puts one page in, or says why this page cannot be.
    fn put(
        &self,
        connection: &Connection,
        collection: &Collection,
        page: &StoredPage,
        blobs: Option<Blobs>,
    ) -> Sql<Result<WriteOutcome, PageError>> {
        let refuse = |why: String| Ok(Err(PageError::Store(why)));
        let Some(manual) = manual_id(connection, collection, &page.id.manual)? else {
            return refuse("its manual was never entered".to_owned());
        };
        let rows = match &page.vectors {
            VectorUpdate::Replace(new) => new.vectors.len(),
            VectorUpdate::Keep => match rows_kept(connection, manual, page.id.number)? {
                None if self.is_outbox => 0,
                None => return refuse("no vectors are stored that it could keep".to_owned()),
                Some(rows) => rows,
            },
        };
        let id = put_page(connection, manual, page, rows)?;
        put_thumbnail(connection, id, &page.thumbnail)?;
        if let (VectorUpdate::Replace(new), Some(blobs)) = (&page.vectors, blobs) {
            put_vectors(connection, id, new, &blobs)?;
        }
        Ok(Ok(WriteOutcome::Stored))
    }
}

fn rows_kept(connection: &Connection, manual: i64, number: u32) -> Sql<Option<usize>> {
    connection
        .prepare_cached("SELECT rows FROM page WHERE manual = ?1 AND number = ?2")?
        .query_row((manual, number), |row| row.get::<_, u32>(0))
        .optional()
        .map(|rows| rows.map(|n| n as usize))
}

fn put_page(connection: &Connection, manual: i64, page: &StoredPage, rows: usize) -> Sql<i64> {
    connection.prepare_cached(PUT_PAGE)?.query_row(
        params![
            PageId::uuid(&page.id).as_bytes(),
            manual,
            page.id.number,
            page.origin,
            page.content,
            page.blank,
            rows as i64,
            page.label,
            page.section,
            page.text,
            page.description,
            page.vectors == VectorUpdate::Keep,
            page.said()
        ],
        |row| row.get(0),
    )
}

fn put_thumbnail(connection: &Connection, page: i64, jpeg: &[u8]) -> Sql<usize> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO thumbnail (page, jpeg) VALUES (?1, ?2)")?
        .execute((page, jpeg))
}

fn put_vectors(connection: &Connection, page: i64, new: &PageVectors, blobs: &Blobs) -> Sql<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO vectors (page, grid_columns, grid_rows, places, rows)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            page,
            new.patches.columns(),
            new.patches.rows(),
            new.patches.to_bytes(),
            blobs.rows
        ])?;
    if let Some(first) = &blobs.first {
        connection
            .prepare_cached("INSERT OR REPLACE INTO first_stage (page, rows) VALUES (?1, ?2)")?
            .execute((page, first))?;
    }
    Ok(())
}
