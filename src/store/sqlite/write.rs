//! SQLite writer. Each call is one transaction, atomic even if the process is killed; on a full disk a removal is several
//! ([`super::space`]).

use rayon::prelude::*;
use rusqlite::{
    Connection, OptionalExtension, Result as Sql, Transaction, TransactionBehavior, params,
};

use super::space::PAGES_PER_STEP;
use super::{Collection, Sqlite, VectorFormat, WithLocation, schema, text_vectors, variants};
use crate::page::{ManualId, Page, PageError, PageId, PageSet};
use crate::pooling::pool;
use crate::store::{
    BatchPolicy, Catalogue, CollectionSelector, Error, LastRun, ManualCard, StoredPage,
    VectorUpdate, WriteOutcome, Writer, lock, path_text, validate,
};
use crate::units::ByteSize;
use crate::vectors::{PageVectors, Profile};

const UPSERT_PAGE: &str = "
INSERT INTO page (uuid, manual, number, origin, content, blank, rows, label, section, text, description, said)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, coalesce(?13, ''))
ON CONFLICT (manual, number) DO UPDATE SET origin = excluded.origin, content = excluded.content,
    blank = excluded.blank, rows = excluded.rows, label = excluded.label, section = excluded.section,
    text = excluded.text, description = CASE WHEN ?12 THEN coalesce(excluded.description, description)
    ELSE excluded.description END,
    said = CASE WHEN ?12 AND ?13 IS NULL THEN said ELSE excluded.said END
RETURNING id";

const UPSERT_MANUAL: &str = "
INSERT INTO manual (collection, name, path, file, render, pages) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (collection, name) DO UPDATE SET path = excluded.path, file = excluded.file,
    render = excluded.render, pages = excluded.pages";

impl Sqlite {
    /// Runs `work` in one `BEGIN IMMEDIATE` transaction, which takes the write lock first.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&Connection) -> Sql<T>,
    ) -> Result<T, Error> {
        let run = || {
            let connection = self.connection();
            let transaction =
                Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit().map(|()| done)
        };
        run().with_location(&self.location)
    }
}

impl Writer for Sqlite {
    fn prepare(&self, profile: &Profile) -> Result<(), Error> {
        let wanted = CollectionSelector::Profile(profile);
        let found = schema::find(&self.connection(), wanted).with_location(&self.location)?;
        if let Some(found) = found {
            if found.profile.dim != profile.dim {
                return Err(Error::WidthMismatch {
                    found: found.profile.dim,
                    made: profile.dim,
                });
            }
            found.check_format(self.format, &self.location)?;
        }
        let created = self.transaction(|connection| {
            schema::touch(connection, profile, self.format)?;
            schema::find(connection, wanted)
        })?;
        *lock(&self.collection) = created;
        Ok(())
    }

    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error> {
        let collection = self.require_collection()?;
        let path = path_text::encode(&card.path);
        self.transaction(|connection| {
            connection.prepare_cached(UPSERT_MANUAL)?.execute(params![
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

    fn record_run(&self, manual: &ManualId, run: &LastRun) -> Result<(), Error> {
        let collection = self.require_collection()?;
        self.transaction(|connection| {
            connection
                .prepare_cached(
                    "UPDATE manual SET last_run = ?3 WHERE collection = ?1 AND name = ?2",
                )?
                .execute((collection.id, manual.as_str(), run.to_json()))
        })
        .map(drop)
    }

    fn batch_policy(&self) -> BatchPolicy {
        BatchPolicy::for_file()
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        let collection = self.require_collection()?;
        // Only pooling is worth threads: the embedding model keeps the cores busy.
        let encode = |page: &StoredPage| encoded(page, &collection);
        let encoded: Vec<_> = match collection.first_stage {
            1 => pages.iter().map(encode).collect(),
            _ => pages.par_iter().map(encode).collect(),
        };
        self.transaction(|connection| {
            let put = |(page, encoded): (&StoredPage, Result<_, String>)| {
                let outcome = match encoded {
                    Ok(encoded) => self.write_page(connection, &collection, page, encoded)?,
                    Err(why) => Err(PageError::Store(why)),
                };
                Ok((page.id.clone(), outcome))
            };
            pages.iter().zip(encoded).map(put).collect()
        })
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        let Some(collection) = self.collection().filter(|_| !pages.is_empty()) else {
            return Ok(0);
        };
        let remove = |pages: &PageSet| {
            self.transaction(|connection| remove_pages(connection, &collection, manual, pages))
        };
        match remove(pages) {
            Err(Error::Full { .. }) => {
                self.remove_on_full_disk(&self.removal_steps(manual, pages)?, remove)
            }
            done => done,
        }
    }

    fn release_space(&self) -> Result<ByteSize, Error> {
        self.vacuum()
    }
}

/// Removes pages of a manual, and its record if they are all.
fn remove_pages(
    connection: &Connection,
    collection: &Collection,
    manual: &ManualId,
    pages: &PageSet,
) -> Sql<u64> {
    let Some(id) = manual_id(connection, collection, manual)? else {
        return Ok(0);
    };
    let mut removed = 0;
    for &(first, last) in pages.ranges().unwrap_or(&[(0, u32::MAX)]) {
        removed += connection
            .prepare_cached("DELETE FROM page WHERE manual = ?1 AND number BETWEEN ?2 AND ?3")?
            .execute((id, first, last))? as u64;
    }
    if pages.is_all() {
        connection.execute("DELETE FROM manual WHERE id = ?1", [id])?;
    }
    Ok(removed)
}

fn manual_id(
    connection: &Connection,
    collection: &Collection,
    manual: &ManualId,
) -> Sql<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM manual WHERE collection = ?1 AND name = ?2")?
        .query_row((collection.id, manual.as_str()), |row| row.get(0))
        .optional()
}

impl Collection {
    /// Checks that the configured format is that of the collection.
    fn check_format(&self, wanted: VectorFormat, location: &str) -> Result<(), Error> {
        let differs = |what: &str, found: String, wanted: String| Error::SettingMismatch {
            location: location.to_owned(),
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

/// The vectors of a page as blobs.
struct EncodedVectors {
    rows: Vec<u8>,
    /// The same rows, pooled; `None` without a first stage.
    first_stage: Option<Vec<u8>>,
}

/// Encodes the vectors of a page after validation; `None` with [`VectorUpdate::Keep`].
fn encoded(page: &StoredPage, collection: &Collection) -> Result<Option<EncodedVectors>, String> {
    let VectorUpdate::Replace(new) = &page.vectors else {
        return Ok(None);
    };
    validate(new, collection.profile.dim)?;
    let pooled = match collection.first_stage {
        1 => None,
        factor => Some(pool(new, factor).map_err(|cause| cause.to_string())?),
    };
    Ok(Some(EncodedVectors {
        rows: collection.precision.encode(&new.vectors),
        first_stage: pooled.map(|pooled| collection.precision.encode(&pooled.vectors)),
    }))
}

impl Sqlite {
    /// The removals that together are that of some pages of a manual; of all, the last one is its record.
    fn removal_steps(&self, manual: &ManualId, pages: &PageSet) -> Result<Vec<PageSet>, Error> {
        let stored = self.fingerprints(manual)?;
        let stored = stored.into_iter().map(|page| page.number);
        let numbers: Vec<u32> = stored.filter(|&n| pages.contains(n)).collect();
        let step = |numbers: &[u32]| PageSet::of(numbers.iter().copied());
        let mut steps: Vec<PageSet> = numbers.chunks(PAGES_PER_STEP).map(step).collect();
        steps.extend(pages.is_all().then(PageSet::all));
        Ok(steps)
    }

    /// Writes one page, or returns why this page is rejected.
    fn write_page(
        &self,
        connection: &Connection,
        collection: &Collection,
        page: &StoredPage,
        encoded: Option<EncodedVectors>,
    ) -> Sql<Result<WriteOutcome, PageError>> {
        let refuse = |why: String| Ok(Err(PageError::Store(why)));
        let Some(manual) = manual_id(connection, collection, &page.id.manual)? else {
            return refuse("its manual is not in the store".to_owned());
        };
        let rows = match &page.vectors {
            VectorUpdate::Replace(new) => new.vectors.len(),
            VectorUpdate::Keep => match stored_rows(connection, manual, page.id.number)? {
                None if self.is_outbox => 0,
                None => return refuse("it has no stored vectors to keep".to_owned()),
                Some(rows) => rows,
            },
        };
        text_vectors::remove_outdated(connection, manual, page)?;
        let id = upsert_page(connection, manual, page, rows)?;
        upsert_thumbnail(connection, id, &page.thumbnail)?;
        if let (VectorUpdate::Replace(new), Some(encoded)) = (&page.vectors, encoded) {
            upsert_vectors(connection, id, new, &encoded)?;
        }
        text_vectors::upsert(connection, collection, id, &page.text_vectors)?;
        if !self.is_outbox {
            variants::index(connection, id)?;
        }
        Ok(Ok(WriteOutcome::Stored))
    }
}

fn stored_rows(connection: &Connection, manual: i64, number: u32) -> Sql<Option<usize>> {
    connection
        .prepare_cached("SELECT rows FROM page WHERE manual = ?1 AND number = ?2")?
        .query_row((manual, number), |row| row.get::<_, u32>(0))
        .optional()
        .map(|rows| rows.map(|n| n as usize))
}

fn upsert_page(connection: &Connection, manual: i64, page: &StoredPage, rows: usize) -> Sql<i64> {
    connection.prepare_cached(UPSERT_PAGE)?.query_row(
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
            page.description_text()
        ],
        |row| row.get(0),
    )
}

fn upsert_thumbnail(connection: &Connection, page: i64, jpeg: &[u8]) -> Sql<usize> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO thumbnail (page, jpeg) VALUES (?1, ?2)")?
        .execute((page, jpeg))
}

fn upsert_vectors(
    connection: &Connection,
    page: i64,
    new: &PageVectors,
    encoded: &EncodedVectors,
) -> Sql<()> {
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
            encoded.rows
        ])?;
    if let Some(first) = &encoded.first_stage {
        connection
            .prepare_cached("INSERT OR REPLACE INTO first_stage (page, rows) VALUES (?1, ?2)")?
            .execute((page, first))?;
    }
    Ok(())
}
