//! Prompts: describe one page or several, or answer a question about a page.

use std::sync::Arc;

use super::Part;

/// Page image with its label, to be put into a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PageImagePrompt {
    /// Page number, from 1.
    pub page: u32,
    /// Number of pages of the manual.
    pub page_count: u32,
    /// File name of the manual.
    pub manual: String,
    /// Page image, JPEG.
    pub jpeg: Arc<[u8]>,
}

/// JSON fields of a description. `rotation` and `legible` come first: they decide whether the rest is usable (as in the
/// front matter of olmOCR).
const FIELDS: &str = r#"{"rotation": degrees clockwise that would turn the page upright (0, 90, 180 or 270),
 "legible": true or false,
 "title": its heading, at most 120 characters,
 "summary": what it says, one to three sentences,
 "topics": [at most 8 short phrases],
 "figures": [at most 6 of {"label": "...", "says": "what it shows"}],
 "tables": [at most 6 of {"label": "...", "columns": ["..."], "says": "what it tells"}],
 "identifiers": [at most 30 part numbers, codes and values, exactly as printed],
 "language": "en"}"#;
const RULES: &str = "Do not transcribe tables or running text. Leave empty what is not on the page. Answer with JSON only.";

/// Prompt that describes one page.
pub fn one_page(image: &PageImagePrompt) -> Vec<Part> {
    vec![
        Part::Text(format!(
            "This is a page of a technical manual. Describe it for a search engine as one JSON object:\n{FIELDS}\n{RULES}"
        )),
        Part::Text(label(image)),
        Part::Image(Arc::clone(&image.jpeg)),
        Part::Text("The JSON object:".to_owned()),
    ]
}

/// Shorter prompt with fewer fields, for a page for which [`one_page`] failed.
pub fn one_page_short(image: &PageImagePrompt) -> Vec<Part> {
    vec![
        Part::Text(
            "What is on this page of a technical manual? Answer with one JSON object: {\"rotation\": 0, \"legible\": true, \
             \"title\": \"...\", \"summary\": \"...\", \"identifiers\": [\"...\"]}. JSON only."
                .to_owned(),
        ),
        Part::Image(Arc::clone(&image.jpeg)),
        Part::Text("The JSON object:".to_owned()),
    ]
}

/// Prompt that describes several pages, each labelled with its number.
pub fn several_pages(images: &[PageImagePrompt]) -> Vec<Part> {
    let mut parts = vec![Part::Text(format!(
        "These are pages of technical manuals. Describe each of them for a search engine: a JSON array with one object a \
         page, in the order given, each beginning with \"page\" and the number it is labelled with:\n\
         [{{\"page\": number, {}, ...]\n{RULES} Describe every page by itself, never as the same as another one.",
        FIELDS.trim_start_matches('{')
    ))];
    for image in images {
        parts.push(Part::Text(label(image)));
        parts.push(Part::Image(Arc::clone(&image.jpeg)));
    }
    let pages: Vec<String> = images.iter().map(|image| image.page.to_string()).collect();
    parts.push(Part::Text(format!(
        "The JSON array for the pages {}:",
        pages.join(", ")
    )));
    parts
}

/// Prompt that answers `question` about a page, with its image or without.
pub fn question(question: &str, image: Option<&PageImagePrompt>) -> Vec<Part> {
    let mut parts = vec![Part::Text(
        "Answer a question about a page of a technical manual with a few words, as they are printed there.".to_owned(),
    )];
    if let Some(image) = image {
        parts.push(Part::Text(label(image)));
        parts.push(Part::Image(Arc::clone(&image.jpeg)));
    }
    parts.push(Part::Text(format!("Question: {question}\nAnswer:")));
    parts
}

/// Label before an image: the format that models know from `add_vision_id` of the chat template.
fn label(image: &PageImagePrompt) -> String {
    format!(
        "Page {} of {} of \"{}\":",
        image.page, image.page_count, image.manual
    )
}
