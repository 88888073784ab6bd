//! A file as an outbox: pages whose vectors are elsewhere may wait in it, and so may removals.

use std::path::Path;

use rusqlite::params;

use super::{Named, Sqlite};
use crate::page::{ManualId, PageSet};
use crate::store::{Address, CollectionSelector, Config, Error, ManualCard, Mode};

/// Removals that wait. They are older than the pages that wait: what is removed later takes those pages away.
const GONE: &str = "
CREATE TABLE IF NOT EXISTS gone (
    collection INTEGER NOT NULL REFERENCES collection (id), manual TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;";

impl Sqlite {
    /// Opens a file as an outbox; makes it when it is not there.
    pub(in crate::store) fn outbox(
        path: &Path,
        which: CollectionSelector<'_>,
    ) -> Result<Self, Error> {
        let config = Config::at(Address::File(path.to_owned()));
        let mut file = Self::open(path, &config, which, Mode::Write)?;
        file.is_outbox = true;
        file.connection().execute_batch(GONE).at(&file.at)?;
        Ok(file)
    }

    /// Remembers that pages must be removed.
    pub(in crate::store) fn put_off(
        &self,
        manual: &ManualId,
        pages: &PageSet,
    ) -> Result<(), Error> {
        let collection = self.prepared()?;
        self.within(|connection| {
            for &(first, last) in pages.ranges().unwrap_or(&[(0, u32::MAX)]) {
                connection.execute(
                    "INSERT INTO gone (collection, manual, first, last) VALUES (?1, ?2, ?3, ?4)",
                    params![collection.id, manual.as_str(), first, last],
                )?;
            }
            Ok(())
        })
    }

    /// The removals that wait, the oldest first, with the numbers they go by.
    pub(in crate::store) fn put_offs(&self) -> Result<Vec<(i64, ManualId, PageSet)>, Error> {
        let collection = self.prepared()?;
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
        rusqlite::Result::at(read(), &self.at)
    }

    /// Forgets a removal that was carried out.
    pub(in crate::store) fn complete_removal(&self, put_off: i64) -> Result<(), Error> {
        self.within(|connection| connection.execute("DELETE FROM gone WHERE rowid = ?1", [put_off]))
            .map(drop)
    }

    /// The models of pages that wait, but for one profile.
    pub(in crate::store) fn models_but(&self, profile: &str) -> Result<Vec<String>, Error> {
        let read = || {
            self.connection()
                .prepare(
                    "SELECT model FROM collection c WHERE profile <> ?1 AND EXISTS (SELECT 1 FROM page
                     JOIN manual ON manual.id = page.manual WHERE manual.collection = c.id)",
                )?
                .query_map([profile], |row| row.get(0))?
                .collect()
        };
        rusqlite::Result::at(read(), &self.at)
    }

    /// How many pages wait, of all models.
    pub(in crate::store) fn len(&self) -> Result<usize, Error> {
        let read = || {
            let count = "SELECT count(*) FROM page";
            self.connection().query_row(count, [], |row| row.get(0))
        };
        rusqlite::Result::at(read(), &self.at).map(|count: i64| count as usize)
    }

    /// Forgets manuals that were sent and have no pages left, and gives the room back to the disk once nothing waits.
    pub(in crate::store) fn shrink(&self, sent: &[&ManualCard]) -> Result<(), Error> {
        let collection = self.prepared()?;
        self.within(|connection| {
            for card in sent {
                connection.execute(
                    "DELETE FROM manual WHERE collection = ?1 AND name = ?2 AND file = ?3 AND path = ?4
                     AND NOT EXISTS (SELECT 1 FROM page WHERE page.manual = manual.id)",
                    params![
                        collection.id,
                        card.id.as_str(),
                        card.file,
                        card.path.to_string_lossy()
                    ],
                )?;
            }
            Ok(())
        })?;
        match self.len()? {
            0 => self.connection().execute_batch("VACUUM").at(&self.at),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the program wrote it when version 4 of the schema came.
    const REMOVALS: &str = "
CREATE TABLE gone (
    collection INTEGER NOT NULL REFERENCES collection (id), manual TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;
INSERT INTO gone (collection, manual, first, last) VALUES (1, 'pump.pdf', 41, 4294967295), (1, 'valve.pdf', 2, 3);";

    #[test]
    fn an_outbox_of_the_present_version_is_read() {
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
        assert_eq!(outbox.put_offs().unwrap(), removals);
        assert_eq!(outbox.models_but("p2").unwrap(), ["small", "bits"]);
        assert_eq!(outbox.len().unwrap(), 5);
        outbox.complete_removal(1).unwrap();
        assert_eq!(outbox.put_offs().unwrap(), removals[1..]);
    }
}
