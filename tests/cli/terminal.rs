//! Output on a terminal: no control characters of files, tables and progress lines as wide as the terminal.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::sandbox::{CommandOutput, Sandbox};
use crate::support::pdf::{self, Pdf};

/// Runs a program on a pseudo-terminal with a number of columns, and prints what it wrote there.
const ON_TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
columns, program = int(sys.argv[1]), sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execv(program[0], program)
while True:
    try:
        read = os.read(terminal, 65536)
    except OSError:
        break
    if not read:
        break
    sys.stdout.buffer.write(read)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// Runs a command with stdout and stderr on a terminal.
fn on_terminal(sandbox: &Sandbox, columns: usize, args: &[&str]) -> CommandOutput {
    let command = sandbox.command(args);
    let mut python = Command::new("python3");
    python
        .args(["-c", ON_TERMINAL, &columns.to_string()])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(sandbox.folder.path());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => python.env(name, value),
            None => python.env_remove(name),
        };
    }
    python.env("TERM", "xterm").output().unwrap().into()
}

/// The lines that a terminal of some columns shows, one after another, without the escape sequences of the progress bars.
fn shown_lines(output: &str, columns: usize) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = output.chars();
    while let Some(c) = rest.next() {
        match c {
            // CSI: parameters, then a letter.
            '\x1b' if rest.next() == Some('[') => {
                rest.by_ref().find(char::is_ascii_alphabetic);
            }
            '\x1b' => panic!("an unknown escape sequence: {output:?}"),
            c => plain.push(c),
        }
    }
    let lines = plain.split(['\r', '\n']).flat_map(|line| {
        let characters: Vec<char> = line.chars().collect();
        let shown = characters.chunks(columns).map(|line| line.iter().collect());
        shown.collect::<Vec<String>>()
    });
    lines.collect()
}

const NAMES: [&str; 5] = [
    "red\x1b[31m\x1b]0;title\x07a.pdf",
    "two\nlines.pdf",
    "c1\u{9b}31m\rb.pdf",
    "invoice\u{202e}fdp.exe.pdf",
    "zero\u{200b}width\u{2066}.pdf",
];

/// No control character but line ends, and nothing that hides or reorders text.
fn assert_harmless(output: &str) {
    let harmful = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
    };
    assert!(!output.contains(harmful), "{output:?}");
}

/// Two pages whose label, bookmark and text have control and bidirectional characters.
fn hostile_pdf() -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let page = pdf.page(
        tree,
        pdf::PLAIN,
        &pdf::text_content("alarm \\033[31m reset"),
    );
    let outline = page + 1;
    pdf.add(format!(
        "<< /Type /Outlines /First {} 0 R /Last {0} 0 R >>",
        outline + 1
    ));
    // UTF-16: "Reset", BEL, U+202E, "x".
    let title = "FEFF005200650073006500740007202E0078";
    pdf.add(format!(
        "<< /Title <{title}> /Parent {outline} 0 R /Dest [{page} 0 R /Fit] >>"
    ));
    let labels = "/PageLabels << /Nums [0 << /S /D /P (\\033[5m\\007A) >>] >>";
    pdf.set(
        root,
        format!("<< /Type /Catalog /Pages {tree} 0 R /Outlines {outline} 0 R {labels} >>"),
    );
    pdf.set(
        tree,
        format!("<< /Type /Pages /Count 1 /Kids [{page} 0 R] >>"),
    );
    pdf.finish(root)
}

#[test]
fn control_characters_of_names_are_escaped_everywhere() {
    let sandbox = Sandbox::tiny();
    for (index, name) in NAMES.iter().enumerate() {
        sandbox.write(name, &pdf::good(&[&format!("alarm number {index}")]));
    }
    sandbox.write("torn\x1b[2J\n.pdf", b"%PDF-");
    let stored = sandbox.run(&["."]);
    assert_eq!(stored.code, 1, "{}", stored.err);
    assert!(
        stored.err.contains(r"torn\x1b[2J\n.pdf: begins as a PDF"),
        "{}",
        stored.err
    );
    assert_eq!(
        stored.out.lines().count(),
        1 + NAMES.len() + 1 + 1,
        "{}",
        stored.out
    );
    let planned = sandbox.run(&[".", "--dry-run"]);
    let listed = sandbox.run(&["list"]);
    assert_eq!(
        listed.out.lines().count(),
        1 + NAMES.len(),
        "{}",
        listed.out
    );
    for shown in [
        r"red\x1b[31m\x1b]0;title\x07a.pdf",
        r"two\nlines.pdf",
        r"c1\x9b31m\rb.pdf",
        r"\u{202e}fdp.exe.pdf",
    ] {
        assert!(
            stored.out.contains(shown) && listed.out.contains(shown),
            "{shown}: {}",
            listed.out
        );
    }
    let found = sandbox.run(&["search", "alarm", "--text"]);
    assert_eq!(found.out.lines().count(), 2 * NAMES.len(), "{}", found.out);
    let unknown = sandbox.run(&["show", "two\nline.pdf", "1"]);
    let option = sandbox.run(&["list", "--no-such\x1b[31m"]);
    let removed = sandbox.run(&["remove", NAMES[1]]);
    assert_eq!(removed.err, "1 page of two\\nlines.pdf removed\n");
    for done in [stored, planned, listed, found, unknown, option, removed] {
        assert_harmless(&done.out);
        assert_harmless(&done.err);
    }
    // JSON is for programs: the name is exact.
    let records = sandbox.run(&["list", "--json"]).json();
    let ids = records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["id"].as_str().unwrap());
    assert!(ids.into_iter().any(|id| id == NAMES[0]), "{records}");
}

#[test]
fn control_characters_of_a_pdf_are_escaped() {
    let sandbox = Sandbox::tiny();
    sandbox.write("hostile.pdf", &hostile_pdf());
    assert_eq!(sandbox.run(&["hostile.pdf"]).code, 0);
    let shown = sandbox.run(&["show", "hostile", "1"]);
    assert!(
        shown.out.contains("section: Reset") && shown.out.contains("label: "),
        "{}",
        shown.out
    );
    let found = sandbox.run(&["search", "alarm", "--text"]);
    assert!(found.out.contains(r"\u{202e}x"), "{}", found.out);
    for done in [shown, found] {
        assert_harmless(&done.out);
    }
}

#[test]
fn control_characters_of_a_server_are_escaped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let body = r#"{"error":[{"message":"no\u001b[2J\u0007 such\nclass\u202e"}]}"#;
            drop(socket.read(&mut [0; 4096]));
            let length = body.len();
            let head =
                format!("HTTP/1.1 401 No\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            drop(socket.write_all((head + body).as_bytes()));
        }
    });
    let done = Sandbox::tiny().run(&["list", "--store", &url]);
    assert!(
        done.err.contains(r"no\x1b[2J\x07 such\nclass\u{202e}"),
        "{}",
        done.err
    );
    assert_harmless(&done.err);
}

#[test]
fn tables_fit_the_terminal_and_are_whole_elsewhere() {
    let sandbox = Sandbox::tiny();
    let long = format!("{}-end.pdf", "n".repeat(200));
    for name in [long.as_str(), "热泵服务手册.pdf", "a.pdf"] {
        sandbox.write(name, &pdf::good(&[name]));
    }
    for columns in [80, 40] {
        for args in [&["."][..], &[".", "--dry-run"], &["list"]] {
            let done = on_terminal(&sandbox, columns, args);
            assert_eq!(done.code, 0, "{}", done.out);
            let lines = shown_lines(&done.out, usize::MAX);
            let wide =
                |line: &&String| unicode_width::UnicodeWidthStr::width(line.as_str()) > columns;
            let table: Vec<&String> = lines
                .iter()
                .filter(|line| line.contains('…') || line.contains("a.pdf"))
                .collect();
            assert!(
                !table.is_empty() && !table.iter().any(wide),
                "{columns} {args:?}: {table:?}"
            );
            assert!(
                table.iter().any(|line| line.contains("end.pdf")),
                "{table:?}"
            );
        }
    }
    assert!(sandbox.run(&["list"]).out.contains(&long));
}

#[test]
fn the_tables_of_models_fit_the_terminal() {
    let sandbox = Sandbox::tiny();
    for columns in [100, 60] {
        let done = on_terminal(&sandbox, columns, &["models"]);
        assert_eq!(done.code, 0, "{}", done.out);
        let tables = done.out.split("\r\n\r\n").take(2);
        for line in tables.flat_map(str::lines) {
            let width = unicode_width::UnicodeWidthStr::width(line);
            assert!(width <= columns, "{columns}: {line}");
        }
    }
}

/// The lines of progress bars that a run of eight pages shows.
fn bar_lines(columns: usize) -> Vec<String> {
    let pages: Vec<String> = (0..8).map(|n| format!("page number {n}")).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &pdf::good(&pages));
    let done = on_terminal(&sandbox, columns, &["a.pdf"]);
    assert_eq!(done.code, 0, "{}", done.out);
    let is_bar = |line: &String| {
        ["  render ", " prepare ", "   embed ", "   store "]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let lines = shown_lines(&done.out, columns);
    lines.into_iter().filter(is_bar).collect()
}

/// Whether a rate has three digits; a whole one has one for each power of ten, a small one a zero more.
fn is_rounded(rate: &str) -> bool {
    let is_number = rate.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_number
        && match rate.split_once('.') {
            Some((whole, decimals)) => (3..=4).contains(&(whole.len() + decimals.len())),
            None => rate.len() >= 3,
        }
}

#[test]
fn progress_lines_fit_the_terminal() {
    for columns in [80, 40, 20] {
        // Which of its states a bar shows depends on the time between them: some runs together show all.
        let mut lines = Vec::new();
        let shows = |lines: &[String], part: &str| lines.iter().any(|line| line.contains(part));
        let shows_all =
            |lines: &[String]| shows(lines, " 0/8") && (shows(lines, "/s") || columns < 30);
        let mut runs = 0;
        while !shows_all(&lines) {
            assert!(runs < 20, "{lines:?}");
            lines.extend(bar_lines(columns));
            runs += 1;
        }
        for line in lines.iter().map(|line| line.trim_end()) {
            assert!(line.chars().count() < columns, "{columns}: {line}");
            assert!(!line.contains("0/0"), "{line}");
            let mut words = line.split_whitespace();
            let rate = words.find_map(|word| word.strip_suffix("/s"));
            assert!(rate.is_none_or(is_rounded), "{line}");
        }
        for line in lines.iter().filter(|line| line.contains(" 0/8")) {
            assert!(!line.contains('█') && !line.contains("left"), "{line}");
        }
    }
}
