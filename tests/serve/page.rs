//! The page in Chromium, as a person uses it.

use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::chrome::Chrome;
use crate::sandbox::Sandbox;
use crate::server::{Server, pump, thick, wait};
use crate::support::pdf;

const HITS: &str = "document.querySelectorAll('#hits li').length > 1";
const PICTURE: &str =
    "!document.querySelector('#picture').hidden && !document.querySelector('#heat').hidden";

/// What axe-core finds on the page as it is.
pub(crate) fn accessible(chrome: &mut Chrome, what: &str) {
    static AXE: OnceLock<String> = OnceLock::new();
    let axe = AXE.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/axe.sh");
        let done = Command::new(script).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let path = String::from_utf8(done.stdout).unwrap();
        std::fs::read_to_string(path.trim()).unwrap()
    });
    chrome.js(axe);
    let rules = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";
    let found = chrome.js(&format!(
        "axe.run(document, {{runOnly: {rules}}}).then(({{violations}}) => violations.map((one) => \
         [one.id, one.help, ...one.nodes.map((node) => `${{node.target}} ${{node.failureSummary}}`)]))"
    ));
    assert_eq!(found, json!([]), "{what}");
}

/// Drops files on the page, each a name and its bytes.
pub(crate) fn drop_files(chrome: &mut Chrome, files: &[(&str, Vec<u8>)]) {
    let encode = |bytes: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
    let files: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| json!([name, encode(bytes)]))
        .collect();
    chrome.js(&format!(
        "(() => {{ const dropped = new DataTransfer(); for (const [name, text] of {}) \
         dropped.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name)); \
         for (const kind of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(kind, \
         {{dataTransfer: dropped, bubbles: true, cancelable: true}})) }})()",
        json!(files)
    ));
}

#[test]
fn a_question_leads_to_the_place_on_the_page() {
    let server = Server::with_pump(Sandbox::built_in());
    let mut chrome = Chrome::start();
    chrome.open(&server.url);
    chrome.until("document.activeElement.id == 'q'");
    chrome.until("document.querySelector('#start').textContent.includes('3 pages of 1 manual')");
    accessible(&mut chrome, "start");
    chrome.write("nitrogen alarm");
    chrome.until(HITS);
    chrome.until(PICTURE);
    let name = "document.querySelector('#page-name').textContent";
    chrome.until(&format!("/^Page [23] of 3/.test({name})"));
    let first = chrome.js(name);
    chrome.key("ArrowDown");
    chrome.until("document.querySelectorAll('#hits a')[1].getAttribute('aria-current')");
    chrome.until(&format!("{name} != {first}"));
    chrome.until("location.hash.startsWith('#page-')");
    chrome.key("ArrowUp");
    chrome.until(&format!("{name} == {first}"));
    chrome.until(PICTURE);
    let original = chrome.js("document.querySelector('#original').getAttribute('href')");
    let page = first.as_str().unwrap().split(' ').nth(1).unwrap();
    assert!(
        original
            .as_str()
            .unwrap()
            .ends_with(&format!("/pdf#page={page}")),
        "{original}"
    );
    accessible(&mut chrome, "results");
    words_and_zoom(&mut chrome);
    chrome.key("Enter");
    chrome.until("document.body.classList.contains('alone')");
    accessible(&mut chrome, "the page alone");
    chrome.key("Escape");
    chrome.until("!document.body.classList.contains('alone')");
    chrome.key("j");
    chrome.until(&format!("{name} != {first}"));
    let place = chrome.js("[location.href, document.querySelector('#page-name').textContent]");
    chrome.reload();
    chrome.until(HITS);
    chrome.until(&format!("{name} == {}", place[1]));
    assert_eq!(chrome.js("location.href"), place[0]);
    chrome.until("document.querySelectorAll('#hits a')[1].getAttribute('aria-current')");
    chrome.js("history.back()");
    chrome.is_silent();
}

#[test]
fn one_click_searches_what_was_meant() {
    let server = Server::with_pump(Sandbox::built_in());
    let mut chrome = Chrome::start();
    chrome.open(&format!("{}?q=nitrogn&mode=text", server.url));
    chrome.until("document.querySelector('.nothing .meant a')?.textContent == 'nitrogen'");
    accessible(&mut chrome, "nothing found");
    chrome.click(".meant a");
    chrome.until("document.querySelectorAll('#hits li').length == 1");
    chrome.until("document.querySelector('#q').value == 'nitrogen'");
    chrome.open(&format!("{}?q=nitrogn", server.url));
    chrome.until(HITS);
    chrome.until("document.querySelector('#notes > .meant a')?.textContent == 'nitrogen'");
    accessible(&mut chrome, "another spelling");
    chrome.is_silent();
}

/// Words are switched off and on, the picture grows and shrinks; no key is typed into the box.
fn words_and_zoom(chrome: &mut Chrome) {
    chrome.key("Escape");
    let ink = "document.querySelector('#heat').toDataURL()";
    let hot = chrome.js(ink);
    chrome.key("1");
    let colder = chrome.js(ink);
    assert_ne!(hot, colder);
    let off = chrome.js("document.querySelectorAll('#words button[aria-pressed=false]').length");
    assert_eq!(off, 1);
    chrome.key("1");
    assert_eq!(chrome.js(ink), hot);
    let marks = "document.querySelectorAll('#marks span').length";
    chrome.until(&format!("{marks} == 1"));
    for count in [0, 1] {
        chrome.key("1");
        chrome.key("2");
        assert_eq!(
            chrome.js(marks),
            count,
            "marks of the words that are switched on"
        );
    }
    chrome.key("h");
    chrome.until("document.querySelector('#heat').hidden");
    chrome.key("h");
    chrome.until(PICTURE);
    let width = "document.querySelector('#sheet').offsetWidth";
    let fit = chrome.js(width);
    let ratio = chrome.js("document.querySelector('#sheet').offsetHeight / document.querySelector('#sheet').offsetWidth");
    assert!(
        (ratio.as_f64().unwrap() - 792.0 / 612.0).abs() < 0.01,
        "{ratio}"
    );
    chrome.key("+");
    chrome.key("+");
    chrome.until(&format!("{width} > {fit} * 1.4"));
    chrome.key("0");
    chrome.until(&format!("{width} == {fit}"));
    // Faster than the browser draws.
    chrome.js("['+', '+', '0'].forEach((key) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true})))");
    assert_eq!(chrome.js(width), fit);
    chrome.key("t");
    chrome.until("!document.querySelector('#text').hidden");
    chrome.key("t");
}

#[test]
fn manuals_are_dropped_watched_and_removed() {
    let server = Server::start(
        Sandbox::built_in().with("INGEST_LIMITS_BATCH_SIZE", "2"),
        &[],
    );
    let mut chrome = Chrome::start();
    chrome.open(&server.url);
    chrome.until("document.querySelector('#start .add')");
    accessible(&mut chrome, "an empty library");
    chrome.picture("empty-1280-light");
    chrome.js("window.seen = new Set(); new MutationObserver(() => document.querySelectorAll('.stages progress[value]')\
        .forEach((bar) => window.seen.add(bar.value))).observe(document, {subtree: true, childList: true, attributes: true})");
    drop_files(
        &mut chrome,
        &[("thick.pdf", thick(16)), ("pump.pdf", pump())],
    );
    chrome.until("document.body.dataset.view == 'library'");
    chrome.until("window.seen.size > 3");
    accessible(&mut chrome, "files being added");
    chrome.picture("adding-1280-light");
    chrome.until("document.querySelectorAll('.manuals > li').length == 2");
    chrome.until("!document.querySelector('.adding .rows li')");
    chrome.until("[...document.querySelectorAll('.cover img')].filter((one) => one.naturalWidth > 1).length == 2");
    server.all_jobs_end();
    assert_eq!(server.get("/api/v1/manuals").json(200)["pages"], 19);
    accessible(&mut chrome, "the library");
    let removes = "document.querySelector('.manuals li .manual > button').click()";
    chrome.js(removes);
    chrome.until("!document.querySelector('.undo').hidden");
    accessible(&mut chrome, "undo");
    chrome.click(".undo button");
    chrome.until("document.querySelector('.undo').hidden");
    assert_eq!(server.manuals().len(), 2);
    chrome.js(removes);
    chrome.until("document.querySelectorAll('.manuals > li').length == 1");
    assert_eq!((server.manuals().len(), server.uploads().len()), (1, 1));
    chrome.is_silent();
}

#[test]
fn all_of_two_hundred_dropped_files_are_accounted_for() {
    let server = Server::start(
        Sandbox::built_in().with("INGEST_EMBED_MEANING", "false"),
        &[],
    );
    let mut chrome = Chrome::start();
    chrome.open(&server.url);
    chrome.until("document.querySelector('#start .add')");
    let names: Vec<String> = (0..200).map(|n| format!("file {n}.pdf")).collect();
    let bytes = |n: usize| match n % 5 {
        0 => pdf::good(&[format!("leaflet {n}").as_str()]),
        _ => format!("no manual {n}").into_bytes(),
    };
    let files: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.as_str(), bytes(n)))
        .collect();
    drop_files(&mut chrome, &files);
    let module = "import(new URL('uploads.js', document.querySelector('script[src*=app]').src))";
    let refused = format!(
        "{module}.then(({{uploads}}) => [uploads.length, uploads.filter((one) => one.state == 'failed').length])"
    );
    wait("160 refused files", || {
        (chrome.js(&refused) == json!([160, 160])).then_some(())
    });
    assert_eq!(server.jobs().len(), 40);
    server.all_jobs_end();
    assert!(server.jobs().iter().all(|job| job["state"] == "done"));
    chrome.until("document.querySelectorAll('.manuals > li').length == 40");
    let again = "[...document.querySelectorAll('.rows button')].some((one) => one.textContent == 'Try again' && !one.hidden)";
    assert_eq!(chrome.js(again), false, "a file of the wrong type");
    chrome.picture("many-1280-light");
    accessible(&mut chrome, "refused files");
    let other = |line: &String| !line.contains("415");
    assert!(!chrome.console.iter().any(other), "{:#?}", chrome.console);
}

#[test]
fn text_of_a_file_is_never_html() {
    let evil = "<img src=x onerror=x()>";
    let server = Server::start(Sandbox::built_in(), &[]);
    let mut chrome = Chrome::start();
    chrome.open(&server.url);
    chrome.until("document.querySelector('#start .add')");
    let mut file = pdf::labelled();
    let (from, to) = (b"(Alarms)", format!("({evil})"));
    let at = file
        .windows(from.len())
        .position(|part| part == from)
        .unwrap();
    file.splice(at..at + from.len(), to.into_bytes());
    let text = pdf::good(&[&format!("valve {evil}"), "valve"]);
    drop_files(
        &mut chrome,
        &[("<b onclick=x>.pdf", file), ("evil <i>.pdf", text)],
    );
    chrome.until("document.querySelectorAll('.manuals > li').length == 2");
    server.all_jobs_end();
    chrome.js("document.querySelectorAll('.manuals details').forEach((one) => one.open = true)");
    chrome.until("document.querySelector('.outline li')");
    let outlines = "[...document.querySelectorAll('.outline')]";
    chrome.until(&format!(
        "{outlines}.some((one) => one.textContent.includes('<img'))"
    ));
    chrome.open(&format!(
        "{}?q=valve+onerror+%3Cimg%20src=x%20onerror=x()%3E",
        server.url
    ));
    chrome.until(HITS);
    chrome.until(PICTURE);
    chrome.key("Escape");
    chrome.key("t");
    chrome.until("document.querySelector('#text').textContent.includes('<img')");
    let made = chrome.js(
        "[document.querySelectorAll('[onerror], main script, b, i').length, document.title == '1']",
    );
    assert_eq!(made, json!([0, false]));
    chrome.is_silent();
}

#[test]
fn dark_and_light_on_a_screen_and_a_phone() {
    let server = Server::with_pump(Sandbox::built_in());
    let mut chrome = Chrome::start();
    for (width, height, phone) in [(1280, 800, false), (390, 844, true)] {
        chrome.size(width, height, phone);
        for scheme in ["light", "dark"] {
            chrome.scheme(scheme);
            let what = format!("{width}-{scheme}");
            chrome.open(&server.url);
            chrome.until("document.querySelector('#start').textContent.includes('3 pages')");
            chrome.picture(&format!("start-{what}"));
            chrome.open(&format!("{}?q=purge+with+nitrogen", server.url));
            chrome.until(HITS);
            if !phone {
                chrome.until(PICTURE);
            }
            chrome.picture(&format!("results-{what}"));
            accessible(&mut chrome, &format!("results {what}"));
            chrome.click("#hits a");
            chrome.until(PICTURE);
            chrome.picture(&format!("page-{what}"));
            if phone {
                accessible(&mut chrome, &format!("page {what}"));
            }
            let wide = chrome.js("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{what}: {wide}");
            chrome.open(&format!("{}?view=library", server.url));
            chrome.until("document.querySelector('.manuals li')");
            chrome.picture(&format!("library-{what}"));
            if !phone {
                accessible(&mut chrome, &format!("library {what}"));
            }
        }
    }
    chrome.is_silent();
}
