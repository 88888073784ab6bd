//! Memory-mapped weight files. The only file of this module with `unsafe` code.
#![expect(
    unsafe_code,
    reason = "weights are mapped read-only: a copy of a 7.5 GB model would need twice the memory"
)]

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use super::Error;

/// The bytes of a memory-mapped file.
pub(super) struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file read-only.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::file(path, &error))?;
        // SAFETY: the map is private to the process and read-only, and `ingest` never writes model folders. A file that
        // another process overwrites in place while it is being loaded would give wrong numbers or a bus error.
        let map = unsafe { Mmap::map(&file) };
        map.map(Self).map_err(|error| Error::file(path, &error))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
