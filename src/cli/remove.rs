//! `ingest remove`: one manual less.

use crate::page::PageSet;
use crate::report::Report;
use crate::store::{self, Mode, Which};

use super::ui::Ui;
use super::{Common, kit};

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

pub(super) fn run(ui: &mut Ui, common: &Common, args: &RemoveArgs) -> Result<(), Report> {
    let settings = common.settings()?;
    let (_, profile) = kit::open_to_read(&settings, common.model())?;
    let store = store::open(&settings.store, Which::Profile(&profile), Mode::Write)?.store;
    let manual = super::search::manual(&*store, &args.manual)?;
    let gone = store.remove(&manual, &args.pages)?;
    ui.say(format!("{gone} pages of {manual} removed"));
    Ok(())
}
