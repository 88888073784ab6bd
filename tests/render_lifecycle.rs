//! Lifecycle of render workers: they exit with their parent and ignore the terminal. And the sample manuals rendered.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::path::{Path, PathBuf};

use ingest::page::{ManualId, PageSet};
use ingest::render::{Config, Options, Renderer, Source, open_with};
use ingest::units::ByteSize;

fn renderer() -> Box<dyn Renderer> {
    let config = Config {
        dpi: 150,
        max_megapixels: 16,
        workers: 2,
        deadline_s: 60,
        worker_memory: ByteSize(2 << 30),
    };
    let options = Options {
        worker: Some(PathBuf::from(env!("CARGO_BIN_EXE_ingest"))),
        text: true,
        pixels: None,
        upright: false,
        words: false,
    };
    open_with(&config, &options).unwrap()
}

fn source(path: &Path) -> Source {
    Source {
        manual: ManualId::new("test.pdf"),
        path: path.to_owned(),
        passwords: Vec::new(),
    }
}

#[test]
fn sample_manuals_have_labels_outline_text_and_a_scan() {
    let mut renderer = renderer();
    for name in ["heat-pump-service-manual", "alarm-panel-firmware-manual"] {
        let path = Path::new("manuals").join(name).with_extension("pdf");
        let manual = renderer.open(&source(&path)).unwrap();
        assert!((24..=40).contains(&manual.pages), "{name}");
        assert_eq!(manual.labels.len(), manual.pages as usize);
        assert_eq!((manual.label(1), manual.label(4)), (Some("i"), Some("1")));
        assert!(manual.outline.len() > 20 && manual.outline.iter().any(|b| b.level > 0));
        let pages = renderer.pages(&PageSet::all()).unwrap();
        let pages: Vec<_> = pages.map(|(_, page)| page.unwrap()).collect();
        assert!(pages.iter().all(|page| !page.blank));
        let without_text = pages.iter().filter(|page| page.text.is_empty()).count();
        assert_eq!(without_text, 1, "{name}: only the scan has no text layer");
        let wide = |p: &&ingest::render::Rendered| p.image.size().width > p.image.size().height;
        assert!(
            pages.iter().filter(wide).count() >= 1,
            "{name}: a landscape page"
        );
    }
}

/// State, parent and process group of a process.
#[cfg(target_os = "linux")]
fn process(pid: u32) -> Option<(char, u32, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((
        state,
        fields.next()?.parse().ok()?,
        fields.next()?.parse().ok()?,
    ))
}

/// Polls, for at most ten seconds, until `poll` returns a value.
#[cfg(target_os = "linux")]
fn until<T>(mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    (0..200).find_map(|_| {
        let found = poll();
        if found.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        found
    })
}

#[cfg(target_os = "linux")]
fn child_of(parent: u32) -> Option<u32> {
    std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| process(*pid).is_some_and(|(_, p, _)| p == parent))
}

#[test]
#[cfg(target_os = "linux")]
fn busy_worker_exits_with_its_parent_and_has_its_own_process_group() {
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "helper_renders_a_slow_page"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let worker = until(|| child_of(parent.id())).unwrap();
    let own_group = until(|| process(worker).filter(|(_, _, group)| *group == worker));
    assert!(own_group.is_some());
    // Long enough for the worker to be in the middle of its page.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(process(worker).is_some_and(|(state, ..)| state != 'Z'));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let gone = until(|| {
        process(worker)
            .is_none_or(|(state, ..)| state == 'Z')
            .then_some(())
    });
    assert!(gone.is_some(), "worker {worker} is still running");
}

#[test]
#[ignore = "run as a process by the test above, which kills it"]
fn helper_renders_a_slow_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forms.pdf");
    std::fs::write(&path, support::pdf::form_bomb(7)).unwrap();
    let mut renderer = renderer();
    renderer.open(&source(&path)).unwrap();
    assert!(renderer.pages(&PageSet::all()).unwrap().next().is_some());
}
