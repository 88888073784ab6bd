//! `ingest show`: a page as a picture, and where it matched.

use std::path::PathBuf;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::config::Settings;
use crate::page::{Annotation, Identifier, Outcome, PageId, PageImage, PageSet};
use crate::render::{self, Source};
use crate::report::Report;
use crate::store::{Scope, Store, StoredPage, Vectors};
use crate::vectors::{PageVectors, Profile};
use crate::{embed, heatmap, pipeline};

use super::ui::Ui;
use super::{Common, kit};

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

pub(super) fn run(ui: &mut Ui, common: &Common, args: &ShowArgs) -> Result<(), Report> {
    let settings = common.settings()?;
    let (store, profile) = kit::open_to_read(&settings, common.model())?;
    let manual = super::search::manual(&*store, &args.manual)?;
    let scope = Scope {
        manual: Some(manual.clone()),
        pages: PageSet::of([args.page]),
    };
    let page = store.scan(&scope)?.next().transpose()?;
    let page = page.ok_or_else(|| {
        Report::plain(format!("{} is not stored", PageId::new(&manual, args.page)))
    })?;
    let Some(out) = &args.out else {
        return describe(ui, &page);
    };
    let mut picture = render_again(&settings, &*store, &page, args.password.clone())?;
    if let (Some(question), Vectors::New(seen)) = (&args.query, &page.vectors) {
        let query = kit::model_of(&settings, &profile)?.embed_query(question)?;
        picture = match profile.pool_factor {
            1 => heatmap::overlay(picture, seen, &query),
            _ => {
                let seen = see_again(&settings, &profile, &picture)?;
                heatmap::overlay(picture, &seen, &query)
            }
        };
    }
    write(ui, &picture, out)
}

/// The rows of a page before they were pooled: each of them looks at one place.
fn see_again(
    settings: &Settings,
    profile: &Profile,
    picture: &PageImage,
) -> Result<PageVectors, Report> {
    let whole = Profile {
        pool_factor: 1,
        ..profile.clone()
    };
    let config = kit::config_of(settings, &whole);
    let prepared = embed::card(&config)?
        .prepare
        .prepare(picture)
        .map_err(|e| Report::failure(&e))?;
    let seen = kit::open_model(settings, &config)?.embed_pages(&[prepared])?;
    let seen = seen
        .into_iter()
        .next()
        .ok_or_else(|| Report::plain("the model saw no page"))?;
    let seen = seen.map_err(|e| Report::failure(&e))?;
    Ok(PageVectors {
        // As they would be stored.
        vectors: seen.vectors.rounded_to_f16(),
        patches: seen.patches,
    })
}

fn describe(ui: &Ui, page: &StoredPage) -> Result<(), Report> {
    let rows = match &page.vectors {
        Vectors::New(seen) => seen.vectors.len(),
        Vectors::Kept => 0,
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

/// The picture, from the file that the manual was stored from; the page must still be the one that is stored.
fn render_again(
    settings: &Settings,
    store: &dyn Store,
    page: &StoredPage,
    password: Option<String>,
) -> Result<PageImage, Report> {
    let card = store
        .cards()?
        .into_iter()
        .find(|card| card.id == page.id.manual);
    let path = card.map(|card| card.path).unwrap_or_default();
    let failed = |why: String| {
        Report::plain(format!("{}: {why}", path.display()))
            .hint("if it moved or changed: `ingest FILE.pdf` again")
    };
    let mut renderer = render::open(&settings.render).map_err(pipeline::Error::from)?;
    let source = Source {
        manual: page.id.manual.clone(),
        path: path.clone(),
        password,
    };
    renderer.open(&source).map_err(|e| failed(e.to_string()))?;
    let which = PageSet::of([page.id.number]);
    let mut pages = renderer.pages(&which).map_err(|e| failed(e.to_string()))?;
    match pages.next() {
        Some((_, Ok(rendered))) => Ok(rendered.image),
        Some((_, Err(e))) => Err(failed(format!("page {} {e}", page.id.number))),
        None => Err(failed(format!("it has no page {}", page.id.number))),
    }
}

fn write(ui: &Ui, picture: &PageImage, out: &std::path::Path) -> Result<(), Report> {
    let mut png = Vec::new();
    let size = picture.size();
    PngEncoder::new(&mut png)
        .write_image(
            picture.rgb(),
            size.width,
            size.height,
            ExtendedColorType::Rgb8,
        )
        .map_err(|e| Report::failure(&e))?;
    if out.as_os_str() == "-" {
        return ui.bytes(&png);
    }
    std::fs::write(out, png).map_err(|e| Report::plain(format!("{}: {e}", out.display())))?;
    ui.say(format!("{} written", out.display()));
    Ok(())
}
