//! Shared memory for page images, memory-mapped input files, and the memory limit of a worker.

#![expect(
    unsafe_code,
    reason = "mapping files, copying out of shared memory and limiting a process are unsafe by nature"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};

/// Image slots of a worker: it renders into one while the parent copies the other.
pub(super) const SLOTS: usize = 2;

/// The parent's side of a worker's image slots.
pub(super) struct Slots {
    map: MmapRaw,
    slot_bytes: usize,
}

impl Slots {
    /// Creates the shared memory and the file that the worker maps. It is freed when both processes have exited.
    pub(super) fn create(slot_bytes: usize) -> io::Result<(Self, File)> {
        let file = anonymous_file()?;
        file.set_len((SLOTS * slot_bytes) as u64)?;
        let map = MmapOptions::new().map_raw(&file)?;
        Ok((Self { map, slot_bytes }, file))
    }

    /// Copies the first `bytes` of a slot; `None` if the slot is smaller or does not exist.
    pub(super) fn copy(&self, slot: usize, bytes: usize) -> Option<Vec<u8>> {
        if slot >= SLOTS || bytes > self.slot_bytes {
            return None;
        }
        let mut copy = Vec::with_capacity(bytes);
        // SAFETY: the range is inside the map, as just checked, and the file never shrinks. The worker does not write a
        // slot between its reply and the next request for it; if it did, only the copied pixels would be wrong.
        unsafe {
            let source = self.map.as_ptr().add(slot * self.slot_bytes);
            std::ptr::copy_nonoverlapping(source, copy.as_mut_ptr(), bytes);
            copy.set_len(bytes);
        }
        Some(copy)
    }
}

/// An anonymous file, in memory where the system supports it.
#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a C string; the call touches nothing else.
    let fd = unsafe { libc::memfd_create(c"ingest-pages".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and owned by nothing else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// An anonymous file, in memory where the system supports it.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<File> {
    tempfile::tempfile()
}

/// The worker's side of the slots.
pub(super) fn map_slots(file: &File, slot_bytes: usize) -> io::Result<MmapMut> {
    // SAFETY: only this process writes, and the parent reads a slot only while this process does not write it.
    unsafe { MmapOptions::new().len(SLOTS * slot_bytes).map_mut(file) }
}

/// Maps an input file for reading.
pub(super) fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: if the file is modified meanwhile, PDFium reads malformed data, which it handles; if it is truncated, this
    // worker is killed by a signal and its page fails.
    unsafe { Mmap::map(file) }
}

/// Maps an input file as a private copy: what is written to it stays in this process.
pub(super) fn map_private(file: &File) -> io::Result<MmapMut> {
    // SAFETY: as for `map_file`.
    unsafe { MmapOptions::new().map_copy(file) }
}

/// Bytes of address space this process uses; 0 where [`limit_address_space`] does nothing.
#[cfg(target_os = "linux")]
pub(super) fn address_space() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|n| n.parse().ok());
    // SAFETY: `sysconf` only returns a value.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0_u64) * u64::try_from(page).unwrap_or(4096)
}

/// Bytes of address space this process uses; 0 where [`limit_address_space`] does nothing.
#[cfg(not(target_os = "linux"))]
pub(super) fn address_space() -> u64 {
    0
}

/// Limits this process to `bytes` of address space in total, and disables core files.
#[cfg(target_os = "linux")]
pub(super) fn limit_address_space(bytes: u64) -> io::Result<()> {
    set_soft_limit(libc::RLIMIT_AS, bytes)?;
    set_soft_limit(libc::RLIMIT_CORE, 0)
}

/// Does nothing: outside Linux the parent checks the worker's resident memory.
#[cfg(not(target_os = "linux"))]
pub(super) fn limit_address_space(_bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Sets a soft limit, at most the hard limit.
#[cfg(target_os = "linux")]
fn set_soft_limit(resource: libc::__rlimit_resource_t, bytes: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a valid structure of the type they ask for.
    let done = unsafe {
        libc::getrlimit(resource, &raw mut limit) == 0 && {
            limit.rlim_cur = bytes.min(limit.rlim_max);
            libc::setrlimit(resource, &raw const limit) == 0
        }
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
