//! The tables of the file, its version, and the settings of a connection.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Result as Sql};

use super::{Collection, Keeping, Named};
use crate::store::{CollectionSelector, Error, Precision};
use crate::units::ByteSize;
use crate::vectors::Profile;

/// The version of [`TABLES`]. A file of a larger one was made by a newer program and is refused.
pub(super) const VERSION: i64 = 4;

/// Marks our files (`PRAGMA application_id`): "ings".
const APPLICATION: i64 = 0x696e_6773;

/// Bytes of a page of the file: a multi-vector is a chain of some hundred KB, which 16 KiB pages keep short.
const PAGE_SIZE: i64 = 16_384;

/// Vectors, thumbnails and words have tables of their own, so that listing pages reads none of them.
///
/// `rows` holds the rows one after another, as the `precision` of the collection says; `places` is the cell of each row,
/// little-endian u16. `first_stage` holds the same rows pooled, where the collection has such a stage. `words` indexes the text of `page` without a copy of it, English words by their stem: that finds
/// the right page first for 79 % of the questions on our two manuals, plain words for 74 %. `uuid` is for other
/// programs; here a page is found by manual and number.
const TABLES: &str = "
CREATE TABLE collection (
    id INTEGER PRIMARY KEY, profile TEXT NOT NULL UNIQUE, model TEXT NOT NULL, dim INTEGER NOT NULL,
    used INTEGER NOT NULL, pool_factor INTEGER NOT NULL DEFAULT 1, precision TEXT NOT NULL DEFAULT 'f16',
    first_stage INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE TABLE manual (
    id INTEGER PRIMARY KEY, collection INTEGER NOT NULL REFERENCES collection (id), name TEXT NOT NULL,
    path TEXT NOT NULL, file TEXT NOT NULL, render TEXT NOT NULL, pages INTEGER NOT NULL,
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

/// The index of what descriptions say, beside that of the text.
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

/// From each version to the next; the last one makes [`DESCRIPTIONS`], too.
const STEPS: [&str; 3] = [
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

/// A file and how it must be opened for reading.
///
/// Not memory-mapped: that saves a tenth of a search over 1,000 pages, and a failing disk would end the process.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// The file lies where nothing can be written: read it as it is, without WAL.
    immutable: bool,
}

impl Source {
    /// Opens for reading; in a folder that cannot be written to, as a file that does not change.
    pub(super) fn open(path: &Path, at: &str) -> Result<(Self, Connection), Error> {
        let mut source = Self {
            path: path.to_owned(),
            immutable: false,
        };
        let first = source.reader().and_then(|c| version(&c).map(|_| c));
        let connection = match first {
            Err(cause) if needs_immutable(&cause) && !has_wal(path) => {
                source.immutable = true;
                source.reader()
            }
            other => other,
        };
        let connection = connection.map_err(|cause| unreadable(at, &cause))?;
        match check(&connection, at)? {
            0 => Err(Error::Empty { at: at.to_owned() }),
            VERSION => Ok((source, connection)),
            // An earlier one is brought up to date first.
            _ => writer(path, None, at).map(|_| (source, connection)),
        }
    }

    /// The same file again, for another thread.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            immutable: false,
        }
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Sql<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if self.immutable {
            let path = self.path.to_string_lossy();
            let path = path.replace('%', "%25").replace('?', "%3f");
            let uri = format!("file:{}?immutable=1", path.replace('#', "%23"));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        } else {
            Connection::open_with_flags(&self.path, flags)?
        };
        Ok(connection)
    }
}

fn needs_immutable(cause: &rusqlite::Error) -> bool {
    matches!(
        cause.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}

fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(wal).is_ok_and(|found| found.len() > 0)
}

/// Opens for writing and makes the tables when they are not there.
///
/// WAL with `synchronous = NORMAL`: a killed process loses nothing that was committed; after a power cut the file is
/// sound, but the last commits may be gone, and their pages are made again by the next run.
pub(super) fn writer(path: &Path, limit: Option<ByteSize>, at: &str) -> Result<Connection, Error> {
    let connection = Connection::open(path).map_err(|cause| unreadable(at, &cause))?;
    let found = check(&connection, at)?;
    match found {
        0 => create(&connection).at(at)?,
        old => {
            let steps = STEPS[(old - 1).clamp(0, VERSION - 1) as usize..].concat();
            let rebuild = "INSERT INTO descriptions (descriptions) VALUES ('rebuild');";
            if old < VERSION {
                connection
                    .execute_batch(&format!(
                        "BEGIN IMMEDIATE; {steps} {DESCRIPTIONS} {rebuild} PRAGMA user_version = {VERSION}; COMMIT;"
                    ))
                    .at(at)?;
            }
        }
    }
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .at(at)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .at(at)?;
    if let Some(ByteSize(bytes)) = limit {
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / PAGE_SIZE;
        let set = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        connection
            .pragma_update_and_check(None, "max_page_count", pages.max(1), set)
            .at(at)?;
    }
    Ok(connection)
}

fn create(connection: &Connection) -> Sql<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES} {DESCRIPTIONS} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

/// The version of a file that is ours; 0 when it is empty.
fn check(connection: &Connection, at: &str) -> Result<i64, Error> {
    let unreadable = |cause| unreadable(at, &cause);
    let found = version(connection).map_err(unreadable)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(unreadable)?;
    let owner: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(unreadable)?;
    match (tables, owner) {
        (0, _) => Ok(0),
        (_, APPLICATION) if found > VERSION => Err(Error::TooNew {
            at: at.to_owned(),
            found,
            known: VERSION,
        }),
        (_, APPLICATION) => Ok(found),
        _ => Err(Error::open(at, "it is a database of another program")),
    }
}

fn version(connection: &Connection) -> Sql<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Words for a file that SQLite cannot open.
fn unreadable(at: &str, cause: &rusqlite::Error) -> Error {
    match cause.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::open(at, "it is no SQLite file"),
        Some(ErrorCode::CannotOpen) if !Path::new(at).exists() => {
            Error::open(at, "it cannot be created there")
        }
        _ => Error::open(at, &cause.to_string()),
    }
}

/// All collections, the one used last first; ones without pages behind those with pages.
pub(super) fn collections(connection: &Connection) -> Sql<Vec<Collection>> {
    connection
        .prepare(
            "SELECT id, profile, model, dim, pool_factor, precision, first_stage FROM collection c ORDER BY NOT EXISTS (SELECT 1 FROM page
             JOIN manual ON manual.id = page.manual WHERE manual.collection = c.id), used DESC",
        )?
        .query_map([], collection)?
        .collect()
}

fn collection(row: &rusqlite::Row<'_>) -> Sql<Collection> {
    let precision: String = row.get(5)?;
    Ok(Collection {
        id: row.get(0)?,
        profile: Profile {
            id: row.get(1)?,
            model: row.get(2)?,
            dim: row.get(3)?,
            pool_factor: row.get(4)?,
        },
        precision: Precision::named(&precision).ok_or(rusqlite::Error::InvalidQuery)?,
        first_stage: row.get(6)?,
    })
}

/// The collection asked for, if there is one.
pub(super) fn find(
    connection: &Connection,
    which: CollectionSelector<'_>,
) -> Sql<Option<Collection>> {
    let fits = |found: &Collection| match which {
        CollectionSelector::Last => true,
        CollectionSelector::Profile(wanted) => found.profile.id == wanted.id,
    };
    Ok(collections(connection)?.into_iter().find(fits))
}

/// Marks a collection as the one used last; makes it when it is not there.
pub(super) fn touch(connection: &Connection, profile: &Profile, wanted: Keeping) -> Sql<()> {
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
                "INSERT INTO collection (profile, model, dim, used, pool_factor, precision, first_stage)
                 VALUES (?1, ?2, ?3, {used}, ?4, ?5, ?6)"
            ),
            (
                &profile.id,
                &profile.model,
                profile.dim,
                profile.pool_factor,
                wanted.precision.unwrap_or_default().name(),
                wanted.first_stage.unwrap_or(1),
            ),
        ),
    }
    .map(|_| ())
}
