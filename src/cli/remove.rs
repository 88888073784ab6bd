//! `ingest remove`: one manual less.

use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::page::PageSet;
use crate::store::{self, CollectionSelector, Mode};

use super::Common;
use super::ui::Ui;

/// Delete a manual, or some of its pages, from the store
#[derive(clap::Args, Debug)]
pub(super) struct RemoveArgs {
    /// The manual's name, as `ingest list` shows it
    manual: String,
    /// Only these pages, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pages: PageSet,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &RemoveArgs) -> Result<(), Diagnostic> {
    let settings = common.settings()?;
    let Library { profile, .. } =
        library::open_for_reading(&settings.store, common.model().map(|_| &settings.embed))?;
    let store = store::open(
        &settings.store,
        CollectionSelector::Profile(&profile),
        Mode::Write,
    )?
    .store;
    let manual = library::find_manual(&*store, &args.manual)?.id;
    let gone = store.remove(&manual, &args.pages)?;
    ui.say(format!("{gone} pages of {manual} removed"));
    Ok(())
}
