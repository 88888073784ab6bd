//! JSON files of a model folder, read field by field, so that what is wrong is named by file and field.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Error;

/// A part of a JSON file.
#[derive(Clone, Debug)]
pub struct Json {
    file: PathBuf,
    value: Value,
}

impl Json {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no JSON.
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

    /// What is there as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The object in a field; `null` counts as absent.
    pub fn part(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name)?;
        value.is_object().then(|| Self {
            file: self.file.clone(),
            value: value.clone(),
        })
    }

    /// The first of several names that holds a whole number.
    pub fn number(&self, names: &[&str]) -> Option<usize> {
        names
            .iter()
            .find_map(|name| self.value.get(name)?.as_u64())
            .map(|number| number as usize)
    }

    /// Like [`Json::number`], but it must be there.
    ///
    /// # Errors
    /// When none of them is.
    pub fn need(&self, names: &[&str]) -> Result<usize, Error> {
        self.number(names).ok_or_else(|| {
            Error::file(
                &self.file,
                &format!("`{}` is missing", names.join("` or `")),
            )
        })
    }

    /// A number with a fraction.
    pub fn float(&self, name: &str) -> Option<f64> {
        self.value.get(name)?.as_f64()
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value.get(name)?.as_str()
    }

    /// Whether a flag is set; absent means not.
    pub fn flag(&self, name: &str) -> bool {
        self.value.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// A list of numbers.
    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        let list = self.value.get(name)?.as_array()?;
        list.iter().map(Value::as_f64).collect()
    }

    /// A list of whole numbers.
    pub fn whole_numbers(&self, name: &str) -> Option<Vec<usize>> {
        let list = self.value.get(name)?.as_array()?;
        let whole = |value: &Value| value.as_u64().map(|number| number as usize);
        list.iter().map(whole).collect()
    }

    /// The error that this file asks for something that we do not have.
    pub fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported {
            file: self.file.display().to_string(),
            what: what.into(),
        }
    }
}
