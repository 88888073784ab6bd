//! SQLite file as an outbox: queues pages, also without vectors, and deferred removals.

use std::path::Path;

use rusqlite::params;

use super::{Sqlite, WithLocation};
use crate::page::{ManualId, PageSet};
use crate::store::{
    Address, CollectionSelector, Config, Error, ManualCard, Mode, Precision, path_text,
};

/// Deferred removals. They are older than all queued pages: a later removal deletes queued pages directly.
const REMOVALS_TABLE: &str = "
CREATE TABLE IF NOT EXISTS gone (
    collection INTEGER NOT NULL REFERENCES collection (id), manual TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;";

impl Sqlite {
    /// Opens a file as an outbox; creates it if it does not exist.
    pub(in crate::store) fn outbox(
        path: &Path,
        selector: CollectionSelector<'_>,
    ) -> Result<Self, Error> {
        let config = Config {
            // Lossless: what is queued is sent later.
            precision: Some(Precision::F16),
            ..Config::new(Address::File(path.to_owned()))
        };
        let mut file = Self::open(path, &config, selector, Mode::Write)?;
        file.is_outbox = true;
        file.connection()
            .execute_batch(REMOVALS_TABLE)
            .with_location(&file.location)?;
        Ok(file)
    }

    /// Queues the removal of pages.
    pub(in crate::store) fn defer_removal(
        &self,
        manual: &ManualId,
        pages: &PageSet,
    ) -> Result<(), Error> {
        let collection = self.require_collection()?;
        self.transaction(|connection| {
            for &(first, last) in pages.ranges().unwrap_or(&[(0, u32::MAX)]) {
                connection.execute(
                    "INSERT INTO gone (collection, manual, first, last) VALUES (?1, ?2, ?3, ?4)",
                    params![collection.id, manual.as_str(), first, last],
                )?;
            }
            Ok(())
        })
    }

    /// The deferred removals with their row ids, the oldest first.
    pub(in crate::store) fn deferred_removals(
        &self,
    ) -> Result<Vec<(i64, ManualId, PageSet)>, Error> {
        let collection = self.require_collection()?;
        let read = || {
            self.connection()
                .prepare_cached(
                    "SELECT rowid, manual, first, last FROM gone WHERE collection = ?1 ORDER BY rowid",
                )?
                .query_map([collection.id], |row| {
                    let pages = PageSet::between(row.get(2)?, row.get(3)?);
                    Ok((row.get(0)?, ManualId::new(row.get_ref(1)?.as_str()?), pages))
                })?
                .collect()
        };
        rusqlite::Result::with_location(read(), &self.location)
    }

    /// Deletes a removal that was sent.
    pub(in crate::store) fn complete_removal(&self, removal: i64) -> Result<(), Error> {
        self.transaction(|connection| {
            connection.execute("DELETE FROM gone WHERE rowid = ?1", [removal])
        })
        .map(drop)
    }

    /// The models of queued pages, except one profile.
    pub(in crate::store) fn models_except(&self, profile: &str) -> Result<Vec<String>, Error> {
        let read = || {
            self.connection()
                .prepare(
                    "SELECT model FROM collection c WHERE profile <> ?1 AND EXISTS (SELECT 1 FROM page
                     JOIN manual ON manual.id = page.manual WHERE manual.collection = c.id)",
                )?
                .query_map([profile], |row| row.get(0))?
                .collect()
        };
        rusqlite::Result::with_location(read(), &self.location)
    }

    /// Number of queued pages of all models.
    pub(in crate::store) fn page_count(&self) -> Result<usize, Error> {
        let read = || {
            let count = "SELECT count(*) FROM page";
            self.connection().query_row(count, [], |row| row.get(0))
        };
        rusqlite::Result::with_location(read(), &self.location).map(|count: i64| count as usize)
    }

    /// Deletes sent manuals that have no pages left, and frees the disk space once the queue is empty.
    pub(in crate::store) fn compact(&self, sent: &[&ManualCard]) -> Result<(), Error> {
        let collection = self.require_collection()?;
        self.transaction(|connection| {
            for card in sent {
                connection.execute(
                    "DELETE FROM manual WHERE collection = ?1 AND name = ?2 AND file = ?3 AND path = ?4
                     AND NOT EXISTS (SELECT 1 FROM page WHERE page.manual = manual.id)",
                    params![
                        collection.id,
                        card.id.as_str(),
                        card.file,
                        path_text::encode(&card.path)
                    ],
                )?;
            }
            Ok(())
        })?;
        match self.page_count()? {
            0 => self
                .connection()
                .execute_batch("VACUUM")
                .with_location(&self.location),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written by the first program with schema version 4.
    const REMOVALS: &str = "
CREATE TABLE gone (
    collection INTEGER NOT NULL REFERENCES collection (id), manual TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;
INSERT INTO gone (collection, manual, first, last) VALUES (1, 'pump.pdf', 41, 4294967295), (1, 'valve.pdf', 2, 3);";

    #[test]
    fn outbox_of_the_current_version_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let script = include_str!("../../../tests/golden/stores/v4.sql");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch(&format!("{script}{REMOVALS}"))
            .unwrap();
        let outbox = Sqlite::outbox(&path, CollectionSelector::Last).unwrap();
        let removals = [
            (1, ManualId::new("pump.pdf"), PageSet::starting_at(41)),
            (2, ManualId::new("valve.pdf"), PageSet::between(2, 3)),
        ];
        assert_eq!(outbox.deferred_removals().unwrap(), removals);
        assert_eq!(outbox.models_except("p2").unwrap(), ["small", "bits"]);
        assert_eq!(outbox.page_count().unwrap(), 5);
        outbox.complete_removal(1).unwrap();
        assert_eq!(outbox.deferred_removals().unwrap(), removals[1..]);
    }
}
