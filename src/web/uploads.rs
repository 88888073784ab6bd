//! `POST /api/v1/manuals`: receives a file and queues it; `POST /api/v1/jobs`: queues files of the server's disk.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use super::app::{App, Shared, blocking};
use super::job::JobView;
use super::journal::PARTIAL;
use super::parameters::{self, Query};
use super::problem::Problem;
use crate::pipeline::EXTENSIONS;
use crate::store::ManualCard;
use crate::units::ByteSize;

/// Longest file name, in bytes.
const MAX_NAME: usize = 200;
/// Space that must remain on the disk.
const SPARE: u64 = 100_000_000;
/// Signatures of the files that can be read, by where they stand; a PDF may begin a little later.
const SIGNATURES: [(usize, &[u8]); 10] = [
    (0, b"\x89PNG"),
    (0, b"\xff\xd8\xff"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"II+\0"),
    (0, b"MM\0+"),
    (0, b"GIF8"),
    (8, b"WEBP"),
    (0, b"BM"),
    (0, b"%PDF-"),
];
/// The header of a PDF is within so many bytes.
const PDF_HEADER: usize = 1024;

/// The name of an uploaded file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadQuery {
    /// Name of the file, such as `pump.pdf`.
    #[schemars(length(min = 1))]
    name: String,
}

/// A job that was added.
#[derive(Serialize, JsonSchema)]
pub(super) struct Accepted {
    /// The job.
    job: JobView,
}

/// Jobs that were added.
#[derive(Serialize, JsonSchema)]
pub(super) struct AllAccepted {
    /// The jobs, one a file.
    jobs: Vec<JobView>,
}

/// Files of the server's disk to add.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PathsRequest {
    /// Files or folders below one of `serve.folders`.
    #[schemars(length(min = 1))]
    paths: Vec<PathBuf>,
}

/// Receives a file.
pub(super) async fn upload(
    State(app): State<Shared>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let name = clean_name(&query.name);
    let (file, digest) = receive(&app, &headers, body).await?;
    let job = blocking(move || {
        let path = place(file, &app.shelf.uploads()?, &name, &digest)?;
        app.jobs.add(&path)
    })
    .await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { job })))
}

/// Writes a body that can be read as a manual into a file in the folder of uploads; returns it with the digest of its bytes.
///
/// # Errors
/// If it is too large, of a wrong type, breaks off, or there is no room for it.
pub(super) async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<(NamedTempFile, String), Problem> {
    let folder = app.shelf.uploads()?;
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limit = app.settings.serve.max_upload;
    if length.is_some_and(|length| length > limit.0) {
        discard(body, limit).await;
        return Err(too_large(limit));
    }
    let file = blocking(move || create(&folder, length.unwrap_or(0))).await?;
    write(file, body, limit).await
}

/// Reads the rest of a body that is refused: a browser only shows the answer after it has sent everything. Of a very large
/// one the connection is closed instead.
pub(super) async fn discard(mut body: Body, limit: ByteSize) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > limit.0.saturating_mul(2) {
            return;
        }
    }
}

fn too_large(limit: ByteSize) -> Problem {
    let detail = format!("the file is larger than {limit}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        .hint("raise `serve.max_upload`, or add it by its path: `ingest FILE`")
}

/// A new file in the folder of uploads, on a disk with room for it.
fn create(folder: &Path, length: u64) -> Result<NamedTempFile, Problem> {
    let failed = |why: std::io::Error| no_room(folder, &why.to_string());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let free = rustix::fs::statvfs(folder).map_err(|why| failed(why.into()))?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    if free < length.saturating_add(SPARE) {
        return Err(no_room(folder, &format!("{} are free", ByteSize(free))));
    }
    let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder);
    file.map_err(failed)
}

fn no_room(folder: &Path, why: &str) -> Problem {
    let detail = format!("{}: the file cannot be kept: {why}", folder.display());
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "full", detail).hint("free some space there")
}

async fn write(
    file: NamedTempFile,
    mut body: Body,
    limit: ByteSize,
) -> Result<(NamedTempFile, String), Problem> {
    let failed = |why: std::io::Error| no_room(Path::new("upload"), &why.to_string());
    let (mut hash, mut bytes, mut start) = (Sha256::new(), 0u64, Vec::new());
    let mut out = tokio::fs::File::from_std(file.reopen().map_err(failed)?);
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::invalid("the upload broke off; send the file again");
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        bytes += data.len() as u64;
        if bytes > limit.0 {
            discard(body, limit).await;
            return Err(too_large(limit));
        }
        let missing = PDF_HEADER.saturating_sub(start.len()).min(data.len());
        start.extend_from_slice(&data[..missing]);
        hash.update(&data);
        out.write_all(&data).await.map_err(failed)?;
    }
    if !is_readable(&start) {
        let detail = "this is neither a PDF nor a picture that can be read";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong-type", detail);
        return Err(problem.hint("PDF, PNG, JPEG, TIFF, WebP, GIF and BMP can be added"));
    }
    out.sync_all().await.map_err(failed)?;
    let digest = hash.finalize();
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((file, digest))
}

fn is_readable(start: &[u8]) -> bool {
    let has = |(at, signature): &(usize, &[u8])| {
        start
            .get(*at..)
            .is_some_and(|rest| rest.starts_with(signature))
    };
    SIGNATURES.iter().any(has) || start.windows(5).any(|window| window == b"%PDF-")
}

/// Gives a received file its name; another file of that name stays, the same file is used.
pub(super) fn place(
    file: NamedTempFile,
    folder: &Path,
    name: &str,
    digest: &str,
) -> Result<PathBuf, Problem> {
    let (stem, suffix) = match name.rsplit_once('.') {
        Some((stem, suffix)) => (stem, format!(".{suffix}")),
        None => (name, String::new()),
    };
    let mut file = file;
    for number in 1.. {
        let path = folder.join(match number {
            1 => name.to_owned(),
            number => format!("{stem} ({number}){suffix}"),
        });
        if ManualCard::digest(&path).is_ok_and(|known| known == digest) {
            return Ok(path);
        }
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                file = error.file;
            }
            Err(error) => return Err(no_room(folder, &error.error.to_string())),
        }
    }
    Err(no_room(folder, "there are too many files of that name"))
}

/// The last part of a name, without characters that a file name should not have, with a suffix that `ingest` reads.
pub(super) fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // Characters that change the direction of text make a name look like another.
    let is_turning = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let allowed = |c: char| !c.is_control() && !is_turning(c) && !"<>:\"|?*".contains(c);
    let kept: String = last.chars().filter(|c| allowed(*c)).collect();
    let kept = kept
        .trim_start_matches(['.', '-', ' '])
        .trim_end_matches(['.', ' ']);
    let suffix = Path::new(kept).extension().and_then(OsStr::to_str);
    let suffix = suffix.filter(|suffix| {
        EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(suffix))
    });
    let (stem, suffix) = match suffix {
        Some(suffix) => (&kept[..kept.len() - suffix.len() - 1], suffix),
        None => (kept, "pdf"),
    };
    let mut end = stem.len().min(MAX_NAME - suffix.len() - 1);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    match stem[..end].trim() {
        "" => format!("upload.{suffix}"),
        stem => format!("{stem}.{suffix}"),
    }
}

/// Deletes what was being written when an earlier server was killed.
pub(super) fn remove_partial(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Queues files of the server's disk.
pub(super) async fn add_paths(
    State(app): State<Shared>,
    parameters::Body(request): parameters::Body<PathsRequest>,
) -> Result<(StatusCode, Json<AllAccepted>), Problem> {
    blocking(move || {
        let paths = request.paths.iter().map(|path| allowed(&app, path));
        let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
        let jobs = paths.iter().map(|path| app.jobs.add(path));
        let jobs = jobs.collect::<Result<_, _>>()?;
        Ok((StatusCode::ACCEPTED, Json(AllAccepted { jobs })))
    })
    .await
}

/// The real path of a file below one of the folders of the settings.
pub(super) fn allowed(app: &App, path: &Path) -> Result<PathBuf, Problem> {
    let forbidden = || {
        let detail = format!(
            "{}: not below one of the folders of this server",
            path.display()
        );
        Problem::new(StatusCode::FORBIDDEN, "foreign-path", detail)
            .hint("add its folder to `serve.folders`, or upload the file")
    };
    // The same answer for files that are not there: this is no way to look around on the disk.
    let real = path.canonicalize().map_err(|_| forbidden())?;
    let mut folders = app.settings.serve.folders.iter();
    let is_below = folders.any(|folder| {
        folder
            .canonicalize()
            .is_ok_and(|folder| real.starts_with(folder))
    });
    is_below.then_some(real).ok_or_else(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_uploads_are_cleaned() {
        for (given, cleaned) in [
            ("pump.pdf", "pump.pdf"),
            ("../../etc/passwd", "passwd.pdf"),
            ("C:\\manuals\\Pumpe Größe 2.PDF", "Pumpe Größe 2.PDF"),
            ("a\n\tb<script>.tiff", "abscript.tiff"),
            (".hidden.pdf", "hidden.pdf"),
            ("-rf.pdf", "rf.pdf"),
            ("...", "upload.pdf"),
            ("", "upload.pdf"),
            ("archive.zip", "archive.zip.pdf"),
            ("manual\u{202e}fdp.exe\u{2066}.pdf", "manualfdp.exe.pdf"),
        ] {
            assert_eq!(clean_name(given), cleaned, "{given}");
        }
        let long = clean_name(&format!("{}.pdf", "ä".repeat(300)));
        assert!(long.len() <= MAX_NAME && long.ends_with("ä.pdf"), "{long}");
    }

    #[test]
    fn a_file_of_the_same_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let put = |bytes: &[u8], digest: &str| {
            let mut file = NamedTempFile::new_in(folder.path()).unwrap();
            std::io::Write::write_all(&mut file, bytes).unwrap();
            place(file, folder.path(), "a.pdf", digest).unwrap()
        };
        let digest = |bytes: &[u8]| -> String {
            Sha256::digest(bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect()
        };
        let first = put(b"one", &digest(b"one"));
        let second = put(b"two", &digest(b"two"));
        assert_eq!(put(b"one", &digest(b"one")), first);
        assert_eq!(second.file_name().unwrap(), "a (2).pdf");
        assert_eq!(std::fs::read(first).unwrap(), b"one");
    }

    #[test]
    fn only_files_that_can_be_read_are_taken() {
        for readable in [
            &b"%PDF-1.7"[..],
            b"junk\n%PDF-1.4",
            b"\x89PNG\r\n",
            b"RIFFxxxxWEBP",
        ] {
            assert!(is_readable(readable));
        }
        for other in [&b""[..], b"PK\x03\x04", b"<html>"] {
            assert!(!is_readable(other));
        }
    }
}
