//! Web pages that come instead of an answer: from a proxy, a login, or a server of another kind.

use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// Characters of a page that are shown.
const MAX_CHARS: usize = 100;

/// Whether a response is a web page.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_lowercase().starts_with("text/html"))
}

/// The first words of a web page or a text, without tags, scripts and styles; `None` if it has none.
pub(super) fn first_words(body: &[u8]) -> Option<String> {
    let body = String::from_utf8_lossy(body);
    let mut text = String::new();
    let mut rest = &*body;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let (tag, after) = tag.split_once('>').unwrap_or((tag, ""));
        let name = tag.split_whitespace().next().unwrap_or_default();
        let hidden = ["script", "style"].into_iter();
        let end = hidden.filter(|hidden| name.eq_ignore_ascii_case(hidden));
        rest = end
            .filter_map(|hidden| after.split_once(&format!("</{hidden}")))
            .map(|(_, after)| after.split_once('>').map_or("", |(_, after)| after))
            .next()
            .unwrap_or(after);
    }
    text.push_str(rest);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CHARS)
        .collect();
    match short.len() < words.len() {
        true => Some(format!("{short}…")),
        false => Some(short).filter(|words| !words.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_a_page_are_those_that_are_shown() {
        for (page, words) in [
            (
                "<html>\r\n<head><title>502 Bad Gateway</title></head>\n<body><center><h1>502 Bad\nGateway</h1></center><hr>nginx",
                Some("502 Bad Gateway 502 Bad Gateway nginx"),
            ),
            (
                "<!doctype html><style>b { a }</style><script src=x>if (a < b) {}</script><p>Sign in",
                Some("Sign in"),
            ),
            ("upstream connect error", Some("upstream connect error")),
            ("<html><body></body>", None),
            ("<unclosed", None),
            ("", None),
        ] {
            assert_eq!(first_words(page.as_bytes()).as_deref(), words, "{page}");
        }
        let long = first_words("ä".repeat(200).as_bytes()).unwrap();
        assert_eq!(long.chars().count(), MAX_CHARS + 1);
    }
}
