//! A report's tables, for the terminal and as Markdown.

use super::super::table::table;

/// A table with its title.
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Sheet {
    pub(super) fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self {
            title: title.into(),
            header: header.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }
}

/// Lines and tables for the terminal.
pub(super) fn text(words: &[String], sheets: &[Sheet]) -> String {
    let mut parts = vec![words.join("\n")];
    for sheet in sheets {
        let header: Vec<&str> = sheet.header.iter().map(String::as_str).collect();
        parts.push(table(&header, &sheet.rows));
    }
    parts.join("\n\n")
}

/// Lines and tables as Markdown.
pub(super) fn markdown(title: &str, words: &[String], sheets: &[Sheet]) -> String {
    let mut text = format!("# {title}\n\n");
    for line in words {
        text.push_str(&format!("- {line}\n"));
    }
    for sheet in sheets {
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        text.push_str(&format!("\n## {}\n\n{}", sheet.title, row(&sheet.header)));
        text.push_str(&format!("|{}\n", "---|".repeat(sheet.header.len())));
        sheet
            .rows
            .iter()
            .for_each(|cells| text.push_str(&row(cells)));
    }
    text
}
