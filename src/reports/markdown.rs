//! Reports as Markdown.

use super::table::Table;

/// A document: a title, a list of lines, tables under their titles.
pub(super) fn document(title: &str, lines: &[String], tables: &[Table]) -> String {
    let mut text = format!("# {title}\n\n");
    for line in lines {
        text.push_str(&format!("- {line}\n"));
    }
    for table in tables {
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        text.push_str(&format!("\n## {}\n\n{}", table.title, row(&table.header)));
        text.push_str(&format!("|{}\n", "---|".repeat(table.header.len())));
        table
            .rows
            .iter()
            .for_each(|cells| text.push_str(&row(cells)));
    }
    text
}
