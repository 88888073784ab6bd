//! Rows of parquet files. Only this file uses the crate `parquet`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use parquet::schema::types::Type;

use super::error::Error;

/// Rows decoded at a time: those of a corpus contain images.
const BATCH_SIZE: usize = 4;

/// Returns the parquet files of a folder, sorted by name.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |e: std::io::Error| Error::file(folder, &e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

type Rows = Box<dyn Iterator<Item = Result<Row, Error>>>;

/// Iterates over the rows of some files, with the columns of these names; columns that a file lacks are skipped.
pub(super) fn rows<'a>(
    files: &'a [PathBuf],
    columns: &'a [&'a str],
) -> impl Iterator<Item = Result<Row, Error>> + use<'a> {
    files.iter().flat_map(|file| match open(file, columns) {
        Ok(rows) => rows,
        Err(cause) => Box::new(std::iter::once(Err(cause))) as Rows,
    })
}

fn open(file: &Path, columns: &[&str]) -> Result<Rows, Error> {
    let input = File::open(file).map_err(|e| Error::file(file, &e))?;
    let failed = |e| Error::file(file, &e);
    let reader = SerializedFileReader::new(input).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema();
    let projection = schema.get_fields().iter();
    let projection = projection.filter(|field| columns.contains(&field.name()));
    let projection = Type::group_type_builder(schema.name())
        .with_fields(projection.cloned().collect())
        .build()
        .map_err(failed)?;
    let rows = RowIter::from_file_into(Box::new(reader))
        .project(Some(projection))
        .map_err(failed)?
        .with_batch_size(BATCH_SIZE);
    let file: Arc<Path> = file.into();
    Ok(Box::new(rows.map(move |record| {
        let record = record.map_err(|e| Error::file(&file, &e))?;
        let file = Arc::clone(&file);
        Ok(Row { record, file })
    })))
}

/// A row of a file.
pub(super) struct Row {
    record: Record,
    file: Arc<Path>,
}

/// Returns the first of these fields that a record has.
fn field<'a>(record: &'a Record, names: &[&str]) -> Option<&'a Field> {
    names.iter().find_map(|name| {
        let mut columns = record.get_column_iter();
        columns
            .find(|(column, _)| column == name)
            .map(|(_, field)| field)
    })
}

impl Row {
    /// Returns the first of these columns that exists, as text; numbers are formatted.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        Some(match field(&self.record, names)? {
            Field::Null => return None,
            Field::Str(text) => text.clone(),
            Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
            value => value.to_string(),
        })
    }

    /// Like [`Row::text`], for a required column.
    pub(super) fn required(&self, names: &[&str]) -> Result<String, Error> {
        let missing = || format!("a row lacks the column `{}`", names.join("` or `"));
        self.text(names)
            .ok_or_else(|| Error::file(&self.file, &missing()))
    }

    /// Returns a number, rounded.
    pub(super) fn integer(&self, names: &[&str]) -> Option<i64> {
        match field(&self.record, names)? {
            Field::Float(value) => Some(value.round() as i64),
            Field::Double(value) => Some(value.round() as i64),
            other => other.to_string().parse().ok(),
        }
    }

    /// Returns the bytes of an image as the hub stores it: a struct with a field `bytes`.
    pub(super) fn image_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let Field::Group(image) = field(&self.record, &[name])? else {
            return None;
        };
        match field(image, &["bytes"])? {
            Field::Bytes(bytes) => Some(bytes.data().to_vec()),
            _ => None,
        }
    }
}
