//! Reports as one self-contained HTML page, without external resources.

use super::table::Table;

/// Style sheet for light and dark colour schemes.
const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; padding: 0 1rem; width: fit-content; max-width: 110rem; box-sizing: border-box; }
body > * { max-width: 70rem; }
body > table { border-collapse: collapse; display: block; overflow-x: auto; max-width: 100%; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; background: #fff; border-radius: .5rem; margin: .5rem 0 1.5rem; }
.pair { display: flex; gap: 1rem; flex-wrap: wrap; margin-bottom: 2rem; }
dl { flex: 1; min-width: 20rem; } dt { font-weight: 600; } dd { margin: 0 0 .75rem; }
figure { margin: 0; } figure img { height: 20rem; border: 1px solid #8886; background: #fff; }
";

/// A whole page: title and body.
pub(super) fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// A list of lines.
pub(super) fn list(lines: &[String]) -> String {
    let items: String = lines
        .iter()
        .map(|line| format!("<li>{}</li>\n", escaped(line)))
        .collect();
    format!("<ul>\n{items}</ul>\n")
}

/// A table under its title.
pub(super) fn table(table: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = table.rows.iter().map(|cells| row(cells, "td")).collect();
    let (title, header) = (escaped(&table.title), row(&table.header, "th"));
    format!("<h2>{title}</h2>\n<table>\n{header}{rows}</table>\n")
}

/// Escapes a text for HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
