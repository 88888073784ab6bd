//! Tables: title, header and rows; as text, columns are as wide as their widest cell, or as the terminal allows.

use super::terminal;

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

/// Columns between two cells.
const GAP: usize = 2;
/// Columns to which a name or path may be shortened.
const MIN_CELL: usize = 12;

/// Formats a header and rows in aligned columns. A column is right-aligned if all its cells are numbers or `-`.
pub fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    fitted(header, rows, usize::MAX)
}

/// Like [`aligned`], at most `width` columns wide: long names and paths are shortened in the middle; where that is not
/// enough, each row takes several lines.
pub fn fitted(header: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let escape = |row: &Vec<String>| row.iter().map(|cell| terminal::line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(escape).collect();
    match column_widths(header, &rows, width) {
        Some(widths) => columns(header, &rows, &widths),
        None => blocks(header, &rows, width),
    }
}

/// The widths of the columns, the widest name or path reduced until all fit into `width`; `None` if they cannot. The first
/// column has names; text, such as the reason of a failure, is never cut.
fn column_widths(header: &[&str], rows: &[Vec<String>], width: usize) -> Option<Vec<usize>> {
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| terminal::width(&row[column]));
        cells.chain([terminal::width(header[column])]).max()
    };
    let mut widths: Vec<usize> = (0..header.len()).filter_map(widest).collect();
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let shrinks = |column: &usize| {
            let is_name = *column == 0 || header[*column] == "path";
            is_name && widths[*column] > MIN_CELL
        };
        let widest = (0..widths.len())
            .filter(shrinks)
            .max_by_key(|c| widths[*c])?;
        widths[widest] -= 1;
    }
    Some(widths)
}

fn columns(header: &[&str], rows: &[Vec<String>], widths: &[usize]) -> String {
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit()) || cell == "-";
    let right: Vec<bool> = (0..header.len())
        .map(|c| !rows.is_empty() && rows.iter().all(|row| is_number(&row[c])))
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let cell = terminal::shorten(cell, widths[column]);
            let padding = " ".repeat(widths[column].saturating_sub(terminal::width(&cell)));
            match right[column] {
                true => padding + &cell,
                false => cell + &padding,
            }
        });
        let gap = " ".repeat(GAP);
        cells.collect::<Vec<_>>().join(&gap).trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// The first cell of each row on a line of its own, then the others, each after its header, in indented lines.
fn blocks(header: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let mut lines = Vec::new();
    for row in rows {
        lines.push(terminal::shorten(&row[0], width));
        let items = header.iter().zip(row).skip(1);
        let items = items.filter(|(_, cell)| !cell.is_empty());
        let items: Vec<String> = items.map(|(name, cell)| format!("{name} {cell}")).collect();
        let mut line = String::new();
        for part in parts(&items, width) {
            let longer = format!("{line} {part}");
            match terminal::width(&longer) < width {
                true => line = longer,
                false => lines.push(std::mem::replace(&mut line, format!(" {part}"))),
            }
        }
        lines.push(line);
    }
    let lines = lines.iter().filter(|line| !line.is_empty());
    let lines = lines.map(|line| terminal::shorten(line, width));
    lines.collect::<Vec<_>>().join("\n")
}

/// The items of a row, separated by commas; one that is longer than a line is cut into words.
fn parts(items: &[String], width: usize) -> Vec<String> {
    let last = items.len().saturating_sub(1);
    let parts = items.iter().enumerate().flat_map(|(index, item)| {
        let item = format!("{item}{}", if index < last { "," } else { "" });
        match terminal::width(&item) + 2 < width {
            true => vec![item],
            false => item.split_whitespace().map(str::to_owned).collect(),
        }
    });
    parts.collect()
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
    const HEADER: [&str; 3] = ["manual", "pages", "path"];

    fn row(name: &str, path: &str) -> Vec<String> {
        [name, "12", path].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_row_stays_a_row_and_wide_characters_are_aligned() {
        let table = super::aligned(&HEADER, &[row("two\nlines", "a"), row("热泵", "b")]);
        assert_eq!(
            table,
            "manual      pages  path\ntwo\\nlines     12  a\n热泵           12  b"
        );
    }

    #[test]
    fn a_table_fits_its_width() {
        let long = format!("{}.pdf", "n".repeat(250));
        let rows = [
            row(&long, &format!("/manuals/{long}")),
            row("v.pdf", "/v.pdf"),
        ];
        let table = super::fitted(&HEADER, &rows, 60);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(
            lines.iter().all(|line| super::terminal::width(line) <= 60),
            "{table}"
        );
        assert!(lines[1].starts_with("nnn") && lines[1].contains(".pdf") && lines[1].contains('…'));
        assert!(super::aligned(&HEADER, &rows).contains(&long));
    }

    #[test]
    fn where_the_columns_do_not_fit_a_row_takes_several_lines() {
        let header = ["page", "failure", "detail"];
        let reason = "the model refused a page of 14 megapixels";
        let rows = [["pump.pdf, page 3", "server", reason]
            .map(str::to_owned)
            .to_vec()];
        assert_eq!(
            super::fitted(&header, &rows, 30),
            "pump.pdf, page 3\n failure server, detail the\n model refused a page of 14\n megapixels"
        );
    }
}
