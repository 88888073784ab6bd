//! `ingest show`: a page as a picture, and where it matched.

use std::path::PathBuf;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::page::{Annotation, Identifier, Outcome, PageImage};
use crate::render;
use crate::store::{StoredPage, VectorUpdate};

use super::Common;
use super::ui::Ui;

/// Show a stored page: what is known of it, or its picture
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The manual's name, as `ingest list` shows it
    manual: String,
    /// The page, from 1
    page: u32,
    /// Write the page as a PNG file; `-` is stdout
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Mark where the page matches this question
    #[arg(long, requires = "out")]
    query: Option<String>,
    /// Password of a protected file
    #[arg(long)]
    password: Option<String>,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &ShowArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let Library { store, profile } =
        library::open_for_reading(&settings.store, common.model().map(|_| &settings.embed))?;
    let manual = library::find_manual(&*store, &args.manual)?;
    let page = library::find_page(&*store, &manual.id, args.page)?;
    let Some(out) = &args.out else {
        return describe(ui, &page);
    };
    let mut renderer = render::open(&settings.render).map_err(library::Error::from)?;
    let password = args.password.clone();
    let mut image = library::page_image(&mut *renderer, &manual, args.page, password)?;
    if let (Some(question), VectorUpdate::Replace(stored)) = (&args.query, &page.vectors) {
        image = library::heat_map(&settings, &profile, image, stored, question)?;
    }
    write(ui, &image, out)
}

fn describe(ui: &Ui, page: &StoredPage) -> Result<(), Diagnostic> {
    let rows = match &page.vectors {
        VectorUpdate::Replace(seen) => seen.vectors.len(),
        VectorUpdate::Keep => 0,
    };
    if ui.json {
        let (manual, number) = (page.id.manual.as_str(), page.id.number);
        return ui.json(&serde_json::json!({
            "manual": manual, "page": number, "id": page.id.uuid().to_string(), "label": page.label,
            "section": page.section, "blank": page.blank, "vectors": rows, "text": page.text,
            "annotation": page.description.as_deref().and_then(Annotation::from_json),
        }));
    }
    ui.data(&page.id)?;
    for (name, value) in [("label", &page.label), ("section", &page.section)] {
        if let Some(value) = value {
            ui.data(format!("{name}: {value}"))?;
        }
    }
    let annotation = page.description.as_deref().and_then(Annotation::from_json);
    if let Some(annotation) = &annotation {
        ui.data(told(annotation))?;
    }
    ui.data(format!(
        "vectors: {rows}{}\n\n{}",
        if page.blank { " (blank)" } else { "" },
        page.text.trim_end()
    ))
}

/// A description in lines, or why there is none.
fn told(annotation: &Annotation) -> String {
    let page = match &annotation.outcome {
        Outcome::Described(page) => page,
        Outcome::Failed { class, why } => {
            return format!("not described by {}: {class}: {why}", annotation.model);
        }
    };
    let mut lines = vec![format!("{}: {}", page.title, page.summary)];
    let mut list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(format!("{name}: {}", items.join(", ")));
        }
    };
    list("topics", page.topics.clone());
    let labelled = |label: &str, says: &str| format!("{label} ({says})");
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
    let mark = |one: &Identifier| match one.confirmed {
        true => one.text.clone(),
        false => format!("{} (unconfirmed)", one.text),
    };
    list("identifiers", page.identifiers.iter().map(mark).collect());
    let twin = page
        .duplicate_of
        .as_ref()
        .map(|twin| format!(", as {twin}"));
    lines.push(format!(
        "described by {}{}",
        annotation.model,
        twin.unwrap_or_default()
    ));
    lines.join("\n")
}

fn write(ui: &Ui, picture: &PageImage, out: &std::path::Path) -> Result<(), Diagnostic> {
    let mut png = Vec::new();
    let size = picture.size();
    PngEncoder::new(&mut png)
        .write_image(
            picture.rgb(),
            size.width,
            size.height,
            ExtendedColorType::Rgb8,
        )
        .map_err(|e| Diagnostic::from_error(&e))?;
    if out.as_os_str() == "-" {
        return ui.bytes(&png);
    }
    std::fs::write(out, png).map_err(|e| Diagnostic::new(format!("{}: {e}", out.display())))?;
    ui.say(format!("{} written", out.display()));
    Ok(())
}
