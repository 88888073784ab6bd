//! Rows of parquet files. Only this file names `parquet`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use parquet::schema::types::Type;

use super::error::Error;

/// Rows that are decoded at once: those of a corpus hold pictures.
const AT_ONCE: usize = 4;

/// The parquet files of a folder, by name.
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

/// The rows of some files, of the columns that have one of these names; columns that a file lacks are left out.
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
    let opened = File::open(file).map_err(|e| Error::file(file, &e))?;
    let failed = |e| Error::file(file, &e);
    let reader = SerializedFileReader::new(opened).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted = schema.get_fields().iter();
    let wanted = wanted.filter(|field| columns.contains(&field.name()));
    let wanted = Type::group_type_builder(schema.name())
        .with_fields(wanted.cloned().collect())
        .build()
        .map_err(failed)?;
    let rows = RowIter::from_file_into(Box::new(reader))
        .project(Some(wanted))
        .map_err(failed)?
        .with_batch_size(AT_ONCE);
    let file: Arc<Path> = file.into();
    Ok(Box::new(rows.map(move |record| {
        let record = record.map_err(|e| Error::file(&file, &e))?;
        let file = Arc::clone(&file);
        Ok(Row { record, file })
    })))
}

/// A row.
pub(super) struct Row {
    record: Record,
    file: Arc<Path>,
}

/// The first of some fields that a record has.
fn field<'a>(record: &'a Record, names: &[&str]) -> Option<&'a Field> {
    names.iter().find_map(|name| {
        let mut columns = record.get_column_iter();
        columns
            .find(|(column, _)| column == name)
            .map(|(_, field)| field)
    })
}

impl Row {
    /// The first of these columns that there is, as text; whole numbers are texts too.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        Some(match field(&self.record, names)? {
            Field::Null => return None,
            Field::Str(text) => text.clone(),
            Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
            number => number.to_string(),
        })
    }

    /// The same, where there must be one.
    pub(super) fn need(&self, names: &[&str]) -> Result<String, Error> {
        let lacks = || format!("a row lacks its column `{}`", names.join("` or `"));
        self.text(names)
            .ok_or_else(|| Error::file(&self.file, &lacks()))
    }

    /// A number, rounded.
    pub(super) fn whole(&self, names: &[&str]) -> Option<i64> {
        match field(&self.record, names)? {
            Field::Float(value) => Some(value.round() as i64),
            Field::Double(value) => Some(value.round() as i64),
            other => other.to_string().parse().ok(),
        }
    }

    /// The bytes of a picture as the hub keeps it: a struct with a field `bytes`.
    pub(super) fn picture(&self, name: &str) -> Option<Vec<u8>> {
        let Field::Group(picture) = field(&self.record, &[name])? else {
            return None;
        };
        match field(picture, &["bytes"])? {
            Field::Bytes(bytes) => Some(bytes.data().to_vec()),
            _ => None,
        }
    }
}
