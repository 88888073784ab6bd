//! SQLite schema: tables, version, migrations, and connection settings.

use std::path::Path;

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Result as Sql, Transaction, TransactionBehavior,
};

use super::space::is_full;
use super::{Collection, VectorFormat, WithLocation, text_vectors, variants};
use crate::store::{CollectionSelector, Error, Precision};
use crate::units::ByteSize;
use crate::vectors::Profile;

/// Version of [`TABLES`] (`PRAGMA user_version`). A file with a larger one is rejected ([`Error::TooNew`]).
pub(super) const VERSION: i64 = 8;

/// Identifies files of this program (`PRAGMA application_id`): "ings".
const APPLICATION_ID: i64 = 0x696e_6773;

/// SQLite page size in bytes: a multi-vector is an overflow chain of some hundred KB, which 16 KiB pages keep short.
const PAGE_SIZE: i64 = 16_384;

/// Vectors, thumbnails and text indices have separate tables, so that listing pages does not read them.
///
/// `rows` holds the concatenated rows in the `precision` of the collection; `places` is the cell of each row,
/// little-endian u16. `first_stage` holds the same rows pooled, if the collection has a first stage. `words` indexes the
/// text of `page` without a copy of it, with English stemming: that ranks the right page first for 79 % of the questions on
/// our two manuals, without stemming 74 %.
/// `last_run` is JSON ([`crate::store::LastRun`]).
const TABLES: &str = "
CREATE TABLE collection (
    id INTEGER PRIMARY KEY, profile TEXT NOT NULL UNIQUE, model TEXT NOT NULL, dim INTEGER NOT NULL,
    used INTEGER NOT NULL, pool_factor INTEGER NOT NULL DEFAULT 1, precision TEXT NOT NULL DEFAULT 'f16',
    first_stage INTEGER NOT NULL DEFAULT 1, text_precision TEXT NOT NULL DEFAULT '1-bit'
) STRICT;
CREATE TABLE manual (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collection (id), name TEXT NOT NULL,
    path TEXT NOT NULL, file TEXT NOT NULL, render TEXT NOT NULL, pages INTEGER NOT NULL,
    last_run TEXT,
    UNIQUE (collection, name)
) STRICT;
CREATE TABLE page (
    id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, manual INTEGER NOT NULL REFERENCES manual (id),
    number INTEGER NOT NULL, origin TEXT NOT NULL, content TEXT NOT NULL, blank INTEGER NOT NULL,
    rows INTEGER NOT NULL, label TEXT, section TEXT, text TEXT NOT NULL, description TEXT,
    said TEXT NOT NULL DEFAULT '',
    UNIQUE (manual, number)
) STRICT;
CREATE TABLE vectors (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, grid_columns INTEGER NOT NULL,
    grid_rows INTEGER NOT NULL, places BLOB NOT NULL, rows BLOB NOT NULL
) STRICT;
CREATE TABLE first_stage (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, rows BLOB NOT NULL
) STRICT;
CREATE TABLE thumbnail (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, jpeg BLOB NOT NULL
) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'page', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER page_comes AFTER INSERT ON page BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER page_goes AFTER DELETE ON page BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER page_changes AFTER UPDATE OF text ON page WHEN old.text <> new.text BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
";

/// Finds a page by its id. Earlier versions use a file with the index as they do one without it, so it is no part of the
/// version.
const UUID_INDEX: &str = "CREATE INDEX IF NOT EXISTS page_uuid ON page (uuid);";

/// The FTS5 index of descriptions.
const DESCRIPTIONS: &str = "
CREATE VIRTUAL TABLE descriptions USING fts5 (
    said, content = 'page', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER said_comes AFTER INSERT ON page BEGIN
    INSERT INTO descriptions (rowid, said) VALUES (new.id, new.said);
END;
CREATE TRIGGER said_goes AFTER DELETE ON page BEGIN
    INSERT INTO descriptions (descriptions, rowid, said) VALUES ('delete', old.id, old.said);
END;
CREATE TRIGGER said_changes AFTER UPDATE OF said ON page WHEN old.said <> new.said BEGIN
    INSERT INTO descriptions (descriptions, rowid, said) VALUES ('delete', old.id, old.said);
    INSERT INTO descriptions (rowid, said) VALUES (new.id, new.said);
END;
";

/// First version with the index of variants.
pub(super) const FIRST_WITH_VARIANTS: i64 = 5;
/// First version with text vectors.
pub(super) const FIRST_WITH_TEXT_VECTORS: i64 = 6;
/// First version with words that were read.
pub(super) const FIRST_WITH_WORDS_READ: i64 = 7;

/// Migration of a file without last runs.
const LAST_RUN_MIGRATION: &str = "ALTER TABLE manual ADD COLUMN last_run TEXT;";

/// Stands for the manuals where a file without last runs cannot be migrated.
pub(super) const NO_LAST_RUN: &str =
    "CREATE TEMP VIEW manual AS SELECT *, NULL AS last_run FROM main.manual;";

/// Migrations from each version to the next; the last one also creates [`DESCRIPTIONS`].
const MIGRATIONS: [&str; 3] = [
    "ALTER TABLE page ADD COLUMN description TEXT;",
    "ALTER TABLE collection ADD COLUMN pool_factor INTEGER NOT NULL DEFAULT 1;
     ALTER TABLE collection ADD COLUMN precision TEXT NOT NULL DEFAULT 'f16';
     ALTER TABLE collection ADD COLUMN first_stage INTEGER NOT NULL DEFAULT 1;
     ALTER TABLE vectors RENAME COLUMN f16 TO rows;
     CREATE TABLE first_stage (
         page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, rows BLOB NOT NULL
     ) STRICT;",
    "ALTER TABLE page ADD COLUMN said TEXT NOT NULL DEFAULT '';",
];

/// Opens for writing; creates or migrates the tables.
///
/// WAL with `synchronous = NORMAL`: a killed process loses nothing that was committed; after a power cut the file is
/// intact, but the last commits may be lost, and the next run embeds their pages again.
pub(super) fn open_writer(
    path: &Path,
    limit: Option<ByteSize>,
    location: &str,
) -> Result<Connection, Error> {
    let connect = |exclusive| {
        let connection = Connection::open(path).map_err(|cause| open_error(location, &cause))?;
        if exclusive {
            connection
                .pragma_update(None, "locking_mode", "EXCLUSIVE")
                .with_location(location)?;
        }
        let found = check_version(&connection, location)?;
        Ok((connection, found))
    };
    let (connection, found) = match connect(false) {
        // WAL needs shared memory in a file, unless no other process may read.
        Err(Error::Full { .. }) => connect(true)?,
        done => done?,
    };
    keep_temporary_data_in_memory(&connection).with_location(location)?;
    match found {
        0 => create_tables(&connection).with_location(location)?,
        old if old < VERSION => migrate(&connection, old).with_location(location)?,
        _ => {}
    }
    match connection.execute_batch(UUID_INDEX) {
        // Pages must be removable still; without the index they are found by their ids as well.
        Err(cause) if is_full(&cause, location) => {}
        done => done.with_location(location)?,
    }
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .with_location(location)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .with_location(location)?;
    if let Some(ByteSize(bytes)) = limit {
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / PAGE_SIZE;
        let set = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        connection
            .pragma_update_and_check(None, "max_page_count", pages.max(1), set)
            .with_location(location)?;
    }
    Ok(connection)
}

/// In memory, not in TMPDIR, whose disk may be full while the store's is not: it is small.
pub(super) fn keep_temporary_data_in_memory(connection: &Connection) -> Sql<()> {
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Brings a file of an earlier version up to date, in one transaction.
fn migrate(connection: &Connection, old: i64) -> Sql<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    // Another process may have done it by now.
    match version(&transaction)? {
        found if found == old => {}
        _ => return Ok(()),
    }
    let first = (old - 1).clamp(0, MIGRATIONS.len() as i64) as usize;
    if first < MIGRATIONS.len() {
        let migrations = MIGRATIONS[first..].concat();
        let rebuild = "INSERT INTO descriptions (descriptions) VALUES ('rebuild');";
        transaction.execute_batch(&format!("{migrations} {DESCRIPTIONS} {rebuild}"))?;
    }
    match old {
        ..FIRST_WITH_TEXT_VECTORS => {
            transaction.execute_batch(text_vectors::MIGRATION)?;
            transaction.execute_batch(text_vectors::TABLE)?;
            transaction.execute_batch(text_vectors::TRIGGER)?;
        }
        FIRST_WITH_TEXT_VECTORS..FIRST_WITH_WORDS_READ => {
            transaction.execute_batch(text_vectors::READ_MIGRATION)?;
            transaction.execute_batch(text_vectors::TRIGGER)?;
        }
        _ => {}
    }
    transaction.execute_batch(LAST_RUN_MIGRATION)?;
    if old < FIRST_WITH_VARIANTS {
        transaction.execute_batch(variants::TABLE)?;
        variants::index_all(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn create_tables(connection: &Connection) -> Sql<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    // Removing pages shrinks the file. The full vacuum would need as much free space as the file has.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES} {DESCRIPTIONS} {} {} {} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;",
        variants::TABLE,
        text_vectors::TABLE,
        text_vectors::TRIGGER
    ))
}

/// The schema version of a file of this program; 0 if it is empty.
pub(super) fn check_version(connection: &Connection, location: &str) -> Result<i64, Error> {
    let open_error = |cause| open_error(location, &cause);
    let found = version(connection).map_err(open_error)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(open_error)?;
    let owner: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(open_error)?;
    match (tables, owner) {
        (0, _) => Ok(0),
        (_, APPLICATION_ID) if found > VERSION => Err(Error::TooNew {
            location: location.to_owned(),
            found,
            known: VERSION,
        }),
        (_, APPLICATION_ID) => Ok(found),
        _ => Err(Error::open(location, "it is a database of another program")),
    }
}

pub(super) fn version(connection: &Connection) -> Sql<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The error for a file that SQLite cannot open.
pub(super) fn open_error(location: &str, cause: &rusqlite::Error) -> Error {
    match cause.sqlite_error_code() {
        _ if is_full(cause, location) => Error::Full {
            location: location.to_owned(),
            why: cause.to_string(),
        },
        Some(ErrorCode::NotADatabase) => Error::open(location, "it is not a SQLite file"),
        Some(ErrorCode::CannotOpen) if !Path::new(location).exists() => {
            Error::open(location, "it cannot be created there")
        }
        _ => Error::open(location, &cause.to_string()),
    }
}

/// All collections, the most recently used first; those without pages come last.
pub(super) fn collections(connection: &Connection) -> Sql<Vec<Collection>> {
    let has_text_vectors = version(connection)? >= FIRST_WITH_TEXT_VECTORS;
    let text_precision = if has_text_vectors {
        "text_precision"
    } else {
        "'1-bit'"
    };
    connection
        .prepare(&format!(
            "SELECT id, profile, model, dim, pool_factor, precision, first_stage, {text_precision} FROM collection c
             ORDER BY NOT EXISTS (SELECT 1 FROM page JOIN manual ON manual.id = page.manual WHERE manual.collection = c.id),
             used DESC"
        ))?
        .query_map([], collection)?
        .collect()
}

fn collection(row: &rusqlite::Row<'_>) -> Sql<Collection> {
    let precision = |column| -> Sql<Precision> {
        let name: String = row.get(column)?;
        Precision::from_name(&name).ok_or(rusqlite::Error::InvalidQuery)
    };
    Ok(Collection {
        id: row.get(0)?,
        profile: Profile {
            id: row.get(1)?,
            model: row.get(2)?,
            dim: row.get(3)?,
            pool_factor: row.get(4)?,
        },
        precision: precision(5)?,
        text_precision: precision(7)?,
        first_stage: row.get(6)?,
    })
}

/// The selected collection, if it exists.
pub(super) fn find(
    connection: &Connection,
    selector: CollectionSelector<'_>,
) -> Sql<Option<Collection>> {
    let fits = |found: &Collection| match selector {
        CollectionSelector::Last => true,
        CollectionSelector::Profile(wanted) => found.profile.id == wanted.id,
    };
    Ok(collections(connection)?.into_iter().find(fits))
}

/// Marks a collection as the most recently used; creates it if it does not exist.
pub(super) fn touch(connection: &Connection, profile: &Profile, wanted: VectorFormat) -> Sql<()> {
    let known: Option<i64> = connection
        .query_row(
            "SELECT id FROM collection WHERE profile = ?1",
            [&profile.id],
            |row| row.get(0),
        )
        .optional()?;
    let used = "(SELECT coalesce(max(used), 0) + 1 FROM collection)";
    match known {
        Some(id) => connection.execute(
            &format!("UPDATE collection SET used = {used}, model = ?2 WHERE id = ?1"),
            (id, &profile.model),
        ),
        None => connection.execute(
            &format!(
                "INSERT INTO collection (profile, model, dim, used, pool_factor, precision, first_stage, text_precision)
                 VALUES (?1, ?2, ?3, {used}, ?4, ?5, ?6, ?7)"
            ),
            (
                &profile.id,
                &profile.model,
                profile.dim,
                profile.pool_factor,
                wanted.precision.unwrap_or_default().name(),
                wanted.first_stage.unwrap_or(1),
                wanted.precision.unwrap_or(Precision::OF_TEXT).name(),
            ),
        ),
    }
    .map(|_| ())
}
