//! Tables: title, header and rows; as text, columns are as wide as their widest cell.

/// A table of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The title.
    pub title: String,
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows, with a cell for each column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self {
            title: title.into(),
            header: header.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }
}

/// Joins lines, and tables without their titles, by empty lines.
pub(super) fn text(lines: &[String], tables: &[Table]) -> String {
    let mut parts = vec![lines.join("\n")];
    for table in tables {
        let header: Vec<&str> = table.header.iter().map(String::as_str).collect();
        parts.push(aligned(&header, &table.rows));
    }
    parts.join("\n\n")
}

/// Formats a header and rows in aligned columns. A column is right-aligned if all its cells are numbers or `-`.
pub fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit()) || cell == "-";
    let right: Vec<bool> = (0..header.len())
        .map(|c| !rows.is_empty() && rows.iter().all(|row| is_number(&row[c])))
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate().map(|(c, cell)| match right[c] {
            true => format!("{cell:>0$}", widths[c]),
            false => format!("{cell:<0$}", widths[c]),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["pump.pdf".to_owned(), "12".to_owned()],
            vec!["v.pdf".to_owned(), "3".to_owned()],
        ];
        assert_eq!(
            super::aligned(&["manual", "pages"], &rows),
            "manual    pages\npump.pdf     12\nv.pdf         3"
        );
    }
}
