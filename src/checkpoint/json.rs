//! JSON files of a model folder, read field by field, so that errors contain file and field.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Error;

/// A JSON file, or an object in one.
#[derive(Clone, Debug)]
pub struct Json {
    file: PathBuf,
    value: Value,
}

impl Json {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, or is not JSON.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(file).map_err(|error| Error::file(file, &error))?;
        let value = serde_json::from_str(&text).map_err(|error| Error::file(file, &error))?;
        Ok(Self {
            file: file.to_owned(),
            value,
        })
    }

    /// The file that this was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The JSON value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The object in a field; `None` if it is absent or not an object.
    pub fn part(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name)?;
        value.is_object().then(|| Self {
            file: self.file.clone(),
            value: value.clone(),
        })
    }

    /// The first unsigned integer among several fields.
    pub fn number(&self, names: &[&str]) -> Option<usize> {
        names
            .iter()
            .find_map(|name| self.value.get(name)?.as_u64())
            .map(|number| number as usize)
    }

    /// As [`Json::number`], but required.
    ///
    /// # Errors
    /// [`Error::File`] if none of the fields is an unsigned integer.
    pub fn need(&self, names: &[&str]) -> Result<usize, Error> {
        self.number(names).ok_or_else(|| {
            Error::file(
                &self.file,
                &format!("`{}` is missing", names.join("` or `")),
            )
        })
    }

    /// A floating-point number.
    pub fn float(&self, name: &str) -> Option<f64> {
        self.value.get(name)?.as_f64()
    }

    /// A string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value.get(name)?.as_str()
    }

    /// A boolean; `false` if absent.
    pub fn flag(&self, name: &str) -> bool {
        self.value.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// A list of numbers.
    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        let list = self.value.get(name)?.as_array()?;
        list.iter().map(Value::as_f64).collect()
    }

    /// A list of unsigned integers.
    pub fn whole_numbers(&self, name: &str) -> Option<Vec<usize>> {
        let list = self.value.get(name)?.as_array()?;
        let unsigned = |value: &Value| value.as_u64().map(|number| number as usize);
        list.iter().map(unsigned).collect()
    }

    /// The error that this file requires an unsupported feature.
    pub fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported {
            file: self.file.display().to_string(),
            what: what.into(),
        }
    }
}
