//! Plain tables: columns as wide as their widest cell, numbers to the right.

/// Lays rows out under a header. A column whose every cell starts with a digit is set to the right.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit()) || cell == "-";
    let right: Vec<bool> = (0..header.len())
        .map(|c| !rows.is_empty() && rows.iter().all(|row| number(&row[c])))
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
    fn columns_line_up() {
        let rows = [
            vec!["pump.pdf".to_owned(), "12".to_owned()],
            vec!["v.pdf".to_owned(), "3".to_owned()],
        ];
        assert_eq!(
            super::table(&["manual", "pages"], &rows),
            "manual    pages\npump.pdf     12\nv.pdf         3"
        );
    }
}
