//! `ingest check --self-test`: runs the self-test of a device and prints it as it goes.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::library;
use crate::measure::Machine;
use crate::self_test::{self, BATCH, Check, Outcome, Report, SelfTest, Speed};
use crate::units::ByteSize;

use super::Common;
use super::ui::Ui;

pub(super) fn run(ui: &mut Ui, settings: &Settings) -> Result<ExitCode, Diagnostic> {
    let limit = library::embedding_memory_limit(settings);
    // Half of what is free: a test must not push other programs out of memory.
    let spare = match library::available_memory() {
        0 => limit / 4,
        available => available / 2,
    };
    let test = SelfTest {
        engine: settings.embed.engine,
        device: settings.embed.device,
        memory_limit: ByteSize(limit.min(spare)),
    };
    let header = Header {
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::current(),
    };
    let json = ui.json;
    if !json {
        ui.data(format!("ingest {} on {}", header.version, header.machine))?;
    }
    let mut printed = Ok(());
    let mut print = |check: &Check| {
        if !json && printed.is_ok() {
            printed = ui.data(line(check));
        }
    };
    let report = test.run(&mut print).map_err(diagnostic)?;
    printed?;
    let exit = ExitCode::from(u8::from(!report.passed));
    if json {
        ui.json(&Record { header, report })?;
    } else {
        let Report {
            device, reference, ..
        } = &report;
        ui.data(match report.passed {
            true => format!("passed: {device} computes the vectors of {reference}"),
            false => format!(
                "FAILED on {device}, compared with {reference}: see the lines that begin with NO"
            ),
        })?;
    }
    Ok(exit)
}

/// Refuses options of models and stores: a self-test has its own models, and no store.
pub(super) fn reject_unused(common: &Common) -> Result<(), Diagnostic> {
    let unused = [
        ("--model", !common.model.is_empty()),
        ("--store", !common.store.is_empty()),
        ("--pool-factor", common.pool_factor.is_some()),
        ("--batch-size", !common.batch_size.is_empty()),
    ];
    match unused.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(Diagnostic::usage(format!(
            "{flag} has no effect on --self-test"
        ))),
        None => Ok(()),
    }
}

/// Where a self-test ran.
#[derive(Serialize)]
struct Header {
    version: &'static str,
    machine: Machine,
}

/// The JSON of a self-test.
#[derive(Serialize)]
struct Record {
    #[serde(flatten)]
    header: Header,
    #[serde(flatten)]
    report: Report,
}

fn diagnostic(error: self_test::Error) -> Diagnostic {
    match error {
        self_test::Error::Embed(error) => error.into(),
        self_test::Error::Checkpoint(error) => error.into(),
        error @ self_test::Error::Io(_) => Diagnostic::from_error(&error),
    }
}

/// The line of a check.
fn line(check: &Check) -> String {
    let mark = if check.passed { "ok " } else { "NO " };
    match &check.outcome {
        Outcome::Agreement { model, agreement } => {
            let cosine = agreement
                .least_cosine
                .map_or("none".to_owned(), |c| format!("{c:.5}"));
            let list = |name: &str, rows: &[usize]| match rows {
                [] => String::new(),
                rows => format!(", {name} at {} rows", join(rows)),
            };
            let faults = list("not finite", &agreement.not_finite)
                + &list("other neighbours", &agreement.other_neighbours);
            let faults = if faults.is_empty() {
                ", finite, same neighbours"
            } else {
                &faults
            };
            format!(
                "{mark} {model:<10} {} {} of {} to {} rows: least cosine {cosine}{faults}",
                agreement.count, agreement.inputs, agreement.rows[0], agreement.rows[1]
            )
        }
        Outcome::Speed(speed) => format!(
            "{mark} {:<19} {}, {}: {}",
            speed.name,
            speed.sizes,
            speed.dtype,
            rate(speed)
        ),
        Outcome::Memory { allocated, planned } => format!(
            "{mark} memory: {allocated} allocated and freed; a batch of {BATCH} pages with the largest known model needs {planned}"
        ),
        Outcome::Failed { what, error } => format!("{mark} {what}: {error}"),
    }
}

fn rate(speed: &Speed) -> String {
    match speed.flops {
        0.0 => format!("{:.0} GB/s", speed.bytes_per_second / 1e9),
        flops if flops >= 1e12 => format!("{:.1} TFLOP/s", flops / 1e12),
        flops => format!("{:.0} GFLOP/s", flops / 1e9),
    }
}

/// Numbers in words: `31, 47 and 747`.
fn join(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    match numbers.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        numbers => numbers.concat(),
    }
}
