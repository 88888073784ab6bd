//! Renderer with real worker processes: valid, malformed and malicious files.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod annotations;
mod files;
mod forms;
#[path = "../support/mod.rs"]
mod support;
mod text_layer;
mod undrawn;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ingest::page::{ManualId, PageError, PageSet, Size};
use ingest::render::{Config, Error, Manual, Options, Rendered, Renderer, Source, open_with};
use ingest::units::ByteSize;
use support::pdf;

type Outcome = Result<Rendered, PageError>;

/// A folder of files and a renderer.
struct Fixture {
    folder: tempfile::TempDir,
    renderer: Box<dyn Renderer>,
}

fn config() -> Config {
    Config {
        dpi: 150,
        max_megapixels: 16,
        workers: 2,
        deadline_s: 20,
        worker_memory: ByteSize(2 << 30),
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(&config())
    }

    fn with(config: &Config) -> Self {
        Self::open_with(config, false)
    }

    fn open_with(config: &Config, upright: bool) -> Self {
        let options = Options {
            worker: Some(PathBuf::from(env!("CARGO_BIN_EXE_ingest"))),
            text: true,
            pixels: None,
            upright,
            words: true,
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            renderer: open_with(config, &options).unwrap(),
        }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn open<'a>(
        &mut self,
        path: &Path,
        passwords: impl IntoIterator<Item = &'a str>,
    ) -> Result<Manual, Error> {
        self.renderer.open(&Source {
            manual: ManualId::new("test.pdf"),
            path: path.to_owned(),
            passwords: passwords.into_iter().map(str::to_owned).collect(),
        })
    }

    fn pages(&mut self, which: &PageSet) -> Vec<(u32, Outcome)> {
        let pages = self.renderer.pages(which).unwrap();
        pages.map(|(id, page)| (id.number, page)).collect()
    }

    /// The outcome of every page of a file.
    fn render(&mut self, name: &str, bytes: &[u8]) -> Result<Vec<Outcome>, Error> {
        let path = self.file(name, bytes);
        let manual = self.open(&path, None)?;
        let pages = self.pages(&PageSet::all());
        let numbers: Vec<u32> = pages.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=manual.pages).collect::<Vec<_>>());
        Ok(pages.into_iter().map(|(_, page)| page).collect())
    }
}

/// The only page, which must have been rendered.
fn only(pages: Vec<Outcome>) -> Rendered {
    let [page] = <[Outcome; 1]>::try_from(pages).unwrap();
    page.unwrap()
}

/// The only page of a PDF.
fn rendered(bytes: &[u8]) -> Rendered {
    only(Fixture::new().render("one.pdf", bytes).unwrap())
}

/// Number of pixels that are not white.
fn ink(page: &Rendered) -> usize {
    let pixels = page.image.rgb().chunks_exact(3);
    pixels.filter(|pixel| *pixel != [255; 3]).count()
}

/// Whether some pixel in the last quarter of the rows is not white.
fn reaches_the_bottom(page: &Rendered) -> bool {
    let rgb = page.image.rgb();
    rgb[rgb.len() / 4 * 3..].iter().any(|v| *v != 255)
}

#[test]
fn pages_are_rendered_completely_in_order_and_with_text() {
    let texts: Vec<String> = (1..=9).map(|n| format!("page number {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let pages = Fixture::new()
        .render("good.pdf", &pdf::good(&texts))
        .unwrap();
    for (page, text) in pages.into_iter().zip(texts) {
        let page = page.unwrap();
        assert_eq!(page.text, text);
        assert_eq!(page.image.size(), Size::new(1275, 1650));
        assert!(!page.blank && reaches_the_bottom(&page));
    }
}

#[test]
fn selected_pages_are_rendered_alone_and_repeatedly() {
    let mut fixture = Fixture::new();
    let path = fixture.file("good.pdf", &pdf::good(&["one", "two", "three"]));
    fixture.open(&path, None).unwrap();
    for _ in 0..2 {
        let pages = fixture.pages(&PageSet::of([2, 7]));
        assert_eq!(pages.len(), 1);
        assert_eq!(pages[0].1.as_ref().unwrap().text, "two");
    }
    assert!(fixture.pages(&PageSet::of([9])).is_empty());
}

#[test]
fn dropping_the_iterator_early_leaves_the_renderer_usable() {
    let mut fixture = Fixture::new();
    let path = fixture.file("good.pdf", &pdf::good(&["one"; 30]));
    fixture.open(&path, None).unwrap();
    let first = fixture.renderer.pages(&PageSet::all()).unwrap().next();
    assert!(first.unwrap().1.is_ok());
    assert_eq!(fixture.pages(&PageSet::all()).len(), 30);
}

#[test]
fn files_that_are_not_pdf_are_errors() {
    let good = pdf::good(&["cut"]);
    let damaged = [b"%PDF-1.7\n", &pdf::random(5000)[..], b"%%EOF"].concat();
    let html = b"<!DOCTYPE html><html><body>Not found</body></html>";
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty.pdf", b"", "NoBytes"),
        ("random.pdf", &pdf::random(5000), "Format"),
        ("header.pdf", &damaged, "Format"),
        ("torn.pdf", &good[..good.len() / 3], "Truncated"),
        ("page.pdf", html, "Foreign(Html)"),
        ("text.PDF", b"just words", "Foreign(Text)"),
        ("notes.txt", b"just words", "Foreign(Text)"),
        ("sound.mp3", b"ID3\x03\0\0", "Unsupported"),
    ];
    let mut fixture = Fixture::new();
    for (name, bytes, expected) in cases {
        let error = fixture.render(name, bytes).unwrap_err();
        assert_eq!(format!("{error:?}"), expected, "{name}");
    }
    assert_eq!(fixture.render("good.pdf", &good).unwrap().len(), 1);
}

#[test]
fn missing_files_and_folders_are_io_errors() {
    let mut fixture = Fixture::new();
    let folder = fixture.folder.path().to_owned();
    for path in [folder.join("none.pdf"), folder] {
        assert!(matches!(fixture.open(&path, None), Err(Error::Io(_))));
    }
}

#[test]
fn encrypted_file_opens_only_with_its_password() {
    let locked = Path::new("tests/golden/pdf/locked.pdf");
    let mut fixture = Fixture::new();
    let is_password_error =
        |given| move |e| matches!(e, Error::Password { given: g } if g == given);
    assert!(fixture.open(locked, None).is_err_and(is_password_error(0)));
    assert!(
        fixture
            .open(locked, Some("wrong"))
            .is_err_and(is_password_error(1))
    );
    assert!(
        fixture
            .open(locked, ["a\0b", "wrong"])
            .is_err_and(is_password_error(2))
    );
    assert_eq!(
        fixture
            .open(locked, ["wrong", "secret", "x"])
            .unwrap()
            .pages,
        1
    );
    assert_eq!(fixture.open(locked, Some("secret")).unwrap().pages, 1);
    let page = fixture.pages(&PageSet::all()).remove(0).1.unwrap();
    assert_eq!(page.text, "behind the lock");
}

#[test]
fn malformed_page_trees_fail_only_their_pages() {
    let mut fixture = Fixture::new();
    let none = fixture.render("none.pdf", &pdf::zero_pages());
    assert!(matches!(none, Err(Error::Empty)), "{none:?}");
    let deep = fixture.render("deep.pdf", &pdf::deep_tree(20_000)).unwrap();
    assert!(matches!(deep[..], [Err(PageError::Render(_))]), "{deep:?}");
    let cyclic = fixture.render("cyclic.pdf", &pdf::cyclic_tree()).unwrap();
    assert_eq!(cyclic[0].as_ref().unwrap().text, "the only page");
    assert!(
        matches!(cyclic[1..], [Err(PageError::Render(_))]),
        "{cyclic:?}"
    );
    let [first, second] = &fixture.render("null.pdf", &pdf::null_kid()).unwrap()[..] else {
        panic!("two pages expected");
    };
    assert!(matches!(first, Err(PageError::Render(_))), "{first:?}");
    assert_eq!(second.as_ref().unwrap().text, "the second page");
}

#[test]
fn extreme_page_sizes_stay_below_the_pixel_limit() {
    let mut fixture = Fixture::new();
    let strip = only(
        fixture
            .render("strip.pdf", &pdf::sized(14_400, 10))
            .unwrap(),
    );
    assert_eq!(strip.image.size(), Size::new(30_000, 21));
    let huge = only(
        fixture
            .render("huge.pdf", &pdf::sized(14_400, 14_400))
            .unwrap(),
    );
    assert_eq!(huge.image.size(), Size::new(4000, 4000));
    assert!(reaches_the_bottom(&huge) && !huge.blank);
}

#[test]
fn broken_content_stream_is_a_blank_page() {
    let pages = Fixture::new()
        .render("broken.pdf", &pdf::broken_stream())
        .unwrap();
    let blank: Vec<bool> = pages.into_iter().map(|p| p.unwrap().blank).collect();
    assert_eq!(blank, [true, false]);
}

#[test]
fn page_past_the_deadline_fails_and_the_next_one_is_rendered() {
    let mut fixture = Fixture::with(&Config {
        deadline_s: 2,
        ..config()
    });
    for (name, bytes) in [
        ("forms.pdf", pdf::form_bomb(7)),
        ("strokes.pdf", pdf::strokes(800_000)),
    ] {
        let started = Instant::now();
        let pages = fixture.render(name, &bytes).unwrap();
        assert_eq!(pages[0], Err(PageError::Deadline { seconds: 2 }), "{name}");
        assert_eq!(pages[1].as_ref().unwrap().text, "the second page");
        assert!(started.elapsed() < Duration::from_secs(8), "{name}");
    }
}

#[test]
fn page_past_the_memory_limit_fails_and_the_next_one_is_rendered() {
    let mut fixture = Fixture::with(&Config {
        workers: 1,
        worker_memory: ByteSize(128 << 20),
        deadline_s: 10,
        ..config()
    });
    let pages = fixture
        .render("strokes.pdf", &pdf::strokes(2_000_000))
        .unwrap();
    // PDFium without memory nearly always aborts its process; on a machine under load it was observed to hang instead.
    assert!(
        matches!(
            pages[0],
            Err(PageError::WorkerDied(_) | PageError::Deadline { .. })
        ),
        "{:?}",
        pages[0]
    );
    assert_eq!(pages[1].as_ref().unwrap().text, "the second page");
}

#[test]
fn pages_are_rotated_upright_by_their_text_if_enabled() {
    let render = |upright: bool| -> Vec<Rendered> {
        let pages = Fixture::open_with(&config(), upright).render("lying.pdf", &pdf::sideways());
        pages.unwrap().into_iter().map(Result::unwrap).collect()
    };
    let (plain, upright) = (render(false), render(true));
    let (high, wide) = (Size::new(1275, 1650), Size::new(1650, 1275));
    let sizes: Vec<Size> = plain.iter().map(|page| page.image.size()).collect();
    assert_eq!(sizes, [high, wide, wide, high, high]);
    for (page, unrotated) in upright.iter().zip(&plain) {
        assert_eq!(page.image.size(), high);
        assert_eq!(page.text, unrotated.text);
        let pairs = page.image.rgb().iter().zip(plain[0].image.rgb());
        let different = pairs.filter(|(a, b)| a.abs_diff(**b) > 100).count();
        assert!(
            different < 200,
            "{different} values differ from the page that was never rotated"
        );
    }
    let upside_down = plain[4].image.rgb().iter().zip(plain[0].image.rgb());
    assert!(upside_down.filter(|(a, b)| a.abs_diff(**b) > 100).count() > 10_000);
    // A few letters do not rotate a page.
    let few_letters = Fixture::open_with(&config(), true).render("turned.pdf", &pdf::rotated());
    assert_eq!(few_letters.unwrap()[1].as_ref().unwrap().image.size(), wide);
}

#[test]
fn rotated_and_cropped_pages_keep_their_text() {
    let pages = Fixture::new()
        .render("turned.pdf", &pdf::rotated())
        .unwrap();
    let expected = [
        (1275, 1650),
        (1650, 1275),
        (1275, 1650),
        (1650, 1275),
        (1275, 1650),
    ];
    for (page, (width, height)) in pages.into_iter().zip(expected) {
        let page = page.unwrap();
        assert_eq!(page.text, "turned page");
        assert_eq!(page.image.size(), Size::new(width, height));
        assert!(!page.blank);
    }
}

#[test]
fn labels_and_outline_are_read_and_cycles_end() {
    let mut fixture = Fixture::new();
    let path = fixture.file("labelled.pdf", &pdf::labelled());
    let manual = fixture.open(&path, None).unwrap();
    assert_eq!(manual.labels, ["i", "ii", "1", "2"]);
    let outline: Vec<(&str, u32, u32)> = manual
        .outline
        .iter()
        .map(|b| (b.title.as_str(), b.level, b.page))
        .collect();
    assert_eq!(
        outline,
        [("Preface", 0, 1), ("Alarms", 1, 3), ("Wiring", 0, 4)]
    );
}
