//! `ingest list`: what is stored.

use crate::diagnostic::Diagnostic;
use crate::library;
use crate::reports::table::aligned;
use crate::units::ByteSize;

use super::Common;
use super::ui::Ui;

/// List the manuals that are stored
#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {}

pub(super) fn run(ui: &mut Ui, common: &Common, _args: &ListArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let shelf =
        library::open_for_reading(&settings.store, common.model().map(|_| &settings.embed))?
            .store
            .manuals()?;
    if ui.json {
        return ui.json(&shelf);
    }
    let row = |s: &crate::store::ManualSummary| {
        let pages = format!("{} of {}", s.stored, s.card.pages);
        let name = s.card.id.to_string();
        vec![
            name,
            pages,
            s.blank.to_string(),
            ByteSize(s.bytes).to_string(),
            s.card.path.display().to_string(),
        ]
    };
    let rows: Vec<_> = shelf.iter().map(row).collect();
    ui.data(aligned(
        &["manual", "pages", "blank", "vectors", "path"],
        &rows,
    ))
}
