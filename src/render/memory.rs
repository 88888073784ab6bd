//! Memory shared between processes, the mapped input file, and the limit on a worker's memory.

#![expect(
    unsafe_code,
    reason = "mapping files, copying out of shared memory and limiting a process are unsafe by nature"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};

/// Picture slots a worker has: one to draw in while the parent empties the other.
pub(super) const SLOTS: usize = 2;

/// The parent's side of a worker's picture slots.
pub(super) struct Slots {
    map: MmapRaw,
    slot_bytes: usize,
}

impl Slots {
    /// Makes the memory; the file is for the worker. Nothing of it is left when both sides are gone.
    pub(super) fn create(slot_bytes: usize) -> io::Result<(Self, File)> {
        let file = nameless()?;
        file.set_len((SLOTS * slot_bytes) as u64)?;
        let map = MmapOptions::new().map_raw(&file)?;
        Ok((Self { map, slot_bytes }, file))
    }

    /// Copies the first bytes of a slot, unless the slot is smaller.
    pub(super) fn copy(&self, slot: usize, bytes: usize) -> Option<Vec<u8>> {
        if slot >= SLOTS || bytes > self.slot_bytes {
            return None;
        }
        let mut out = Vec::with_capacity(bytes);
        // SAFETY: the range lies in the map, as just checked, and the file never shrinks. The worker does not write a
        // slot between its answer and the next request for it; if it did, the copy would hold odd pixels, no more.
        unsafe {
            let from = self.map.as_ptr().add(slot * self.slot_bytes);
            std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), bytes);
            out.set_len(bytes);
        }
        Some(out)
    }
}

/// A file without a name, in memory where the system can.
#[cfg(target_os = "linux")]
fn nameless() -> io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a C string; the call touches nothing else.
    let fd = unsafe { libc::memfd_create(c"ingest-pages".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A file without a name, in memory where the system can.
#[cfg(not(target_os = "linux"))]
fn nameless() -> io::Result<File> {
    tempfile::tempfile()
}

/// The worker's side of the slots.
pub(super) fn map_slots(file: &File, slot_bytes: usize) -> io::Result<MmapMut> {
    // SAFETY: only this process writes, and the parent reads a slot only while this process leaves it alone.
    unsafe { MmapOptions::new().len(SLOTS * slot_bytes).map_mut(file) }
}

/// Maps an input file for reading.
pub(super) fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: should someone change the file meanwhile, PDFium reads odd bytes, which it is used to; should someone cut
    // it short, this worker dies and its page fails.
    unsafe { Mmap::map(file) }
}

/// The address space this process has taken so far; 0 where [`limit`] does nothing.
#[cfg(target_os = "linux")]
pub(super) fn taken() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|n| n.parse().ok());
    // SAFETY: a plain question to the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0_u64) * u64::try_from(page).unwrap_or(4096)
}

/// The address space this process has taken so far; 0 where [`limit`] does nothing.
#[cfg(not(target_os = "linux"))]
pub(super) fn taken() -> u64 {
    0
}

/// Lets this process take so many bytes of address space in all, and write no core file.
#[cfg(target_os = "linux")]
pub(super) fn limit(bytes: u64) -> io::Result<()> {
    set(libc::RLIMIT_AS, bytes)?;
    set(libc::RLIMIT_CORE, 0)
}

/// Elsewhere the parent watches what the worker takes.
#[cfg(not(target_os = "linux"))]
pub(super) fn limit(_bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Sets a soft limit; never above the hard one.
#[cfg(target_os = "linux")]
fn set(what: libc::__rlimit_resource_t, bytes: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a valid structure of the type they ask for.
    let done = unsafe {
        libc::getrlimit(what, &raw mut limit) == 0 && {
            limit.rlim_cur = bytes.min(limit.rlim_max);
            libc::setrlimit(what, &raw const limit) == 0
        }
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
