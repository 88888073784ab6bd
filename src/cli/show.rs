//! `ingest show`: metadata and text of a page, or the page as a PNG image with a heat map.

use std::ffi::OsString;
use std::path::PathBuf;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::page::{Annotation, Identifier, Outcome, PageImage, Sections};
use crate::render;
use crate::store::{StoredPage, VectorUpdate};

use super::passwords::PasswordArgs;
use super::ui::Ui;
use super::{Common, output_file};

/// Show a page: metadata and text, or write it as an image (`--out`)
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest show pump.pdf 25
  ingest show pump.pdf iv
  ingest show pump.pdf 25 --out page.png
  ingest show pump.pdf 25 --out page.png --query \"pressure test\"")]
pub(super) struct ShowArgs {
    /// Name of the manual, as shown by `ingest list`, or path of its file
    manual: OsString,
    /// Page number, starting at 1; or a label printed on the page that is no number, such as ii or A-3
    page: String,
    /// Write the page as a PNG file; `-` for stdout
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Highlight where the page matches this query
    #[arg(
        long,
        value_name = "QUERY",
        requires = "out",
        allow_hyphen_values = true
    )]
    query: Option<String>,
    #[command(flatten)]
    passwords: PasswordArgs,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &ShowArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let Library { store, profile } =
        library::open_for_reading(&settings.store, common.selected_model(&settings)?)?;
    let manual = library::find_manual(&*store, &args.manual)?;
    let number = match args.page.parse() {
        Ok(number) => number,
        Err(_) => library::find_page_by_label(&*store, &manual.id, &args.page)?,
    };
    let page = library::find_page(&*store, &manual.id, number)?;
    let Some(out) = &args.out else {
        return print_page(ui, &page);
    };
    let mut renderer = render::open(&settings.render).map_err(library::Error::from)?;
    let passwords = args.passwords.read()?;
    let mut image = library::page_image(&mut *renderer, &manual, &page, &passwords)?;
    if let (Some(query), VectorUpdate::Replace(stored)) = (&args.query, &page.vectors) {
        image = library::heat_map(&settings, &profile, image, stored, query)?;
    }
    write_png(ui, &image, out)
}

fn print_page(ui: &Ui, page: &StoredPage) -> Result<(), Diagnostic> {
    let rows = match &page.vectors {
        VectorUpdate::Replace(embedded) => embedded.vectors.len(),
        VectorUpdate::Keep => 0,
    };
    let sections = Sections::parse(page.section.as_deref().unwrap_or_default());
    if ui.json {
        let (manual, number) = (page.id.manual.as_str(), page.id.number);
        return ui.json(&serde_json::json!({
            "manual": manual, "page": number, "id": page.id.uuid().to_string(), "label": page.label,
            "section": sections.first(), "sections": sections.begun, "blank": page.blank, "vectors": rows, "text": page.text,
            "annotation": page.description.as_deref().and_then(Annotation::from_json),
        }));
    }
    ui.data(&page.id)?;
    if let Some(label) = &page.label {
        ui.data(format!("label: {label}"))?;
    }
    if let Some(first) = sections.first() {
        let titles = match sections.begun.as_slice() {
            [] => first.to_owned(),
            begun => begun.join(" · "),
        };
        ui.data(format!("section: {titles}"))?;
    }
    let annotation = page.description.as_deref().and_then(Annotation::from_json);
    for line in annotation.iter().flat_map(description_lines) {
        ui.data(line)?;
    }
    ui.text(format!(
        "vectors: {rows}{}\n\n{}",
        if page.blank { " (blank)" } else { "" },
        page.text.trim_end()
    ))
}

/// A description as lines of text, or the reason why it failed.
fn description_lines(annotation: &Annotation) -> Vec<String> {
    let page = match &annotation.outcome {
        Outcome::Described(page) => page,
        Outcome::Failed { class, why } => {
            let line = format!("not described by {}: {class}: {why}", annotation.model);
            return vec![line];
        }
    };
    let mut lines = vec![format!("{}: {}", page.title, page.summary)];
    let mut list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(format!("{name}: {}", items.join(", ")));
        }
    };
    list("topics", page.topics.clone());
    let labelled = |label: &str, content: &str| format!("{label} ({content})");
    list(
        "figures",
        page.figures
            .iter()
            .map(|f| labelled(&f.label, &f.content))
            .collect(),
    );
    list(
        "tables",
        page.tables
            .iter()
            .map(|t| labelled(&t.label, &t.content))
            .collect(),
    );
    let text_of = |identifier: &Identifier| match identifier.confirmed {
        true => identifier.text.clone(),
        false => format!("{} (unconfirmed)", identifier.text),
    };
    list(
        "identifiers",
        page.identifiers.iter().map(text_of).collect(),
    );
    let original = page
        .duplicate_of
        .as_ref()
        .map(|original| format!(", duplicate of {original}"));
    lines.push(format!(
        "described by {}{}",
        annotation.model,
        original.unwrap_or_default()
    ));
    lines
}

pub(super) fn write_png(
    ui: &Ui,
    image: &PageImage,
    out: &std::path::Path,
) -> Result<(), Diagnostic> {
    let mut png = Vec::new();
    let size = image.size();
    PngEncoder::new(&mut png)
        .write_image(
            image.rgb(),
            size.width,
            size.height,
            ExtendedColorType::Rgb8,
        )
        .map_err(|e| Diagnostic::from_error(&e))?;
    if out.as_os_str() == "-" {
        return ui.bytes(&png);
    }
    output_file::write(out, &png)?;
    ui.info(format!("{} written", out.display()));
    Ok(())
}
