//! Unified GPU memory of a process on macOS: its physical footprint beyond its resident size.

/// Physical footprint beyond the resident size, bytes; `None` on other systems.
///
/// `phys_footprint` of `proc_pid_rusage` includes Metal allocations, the resident size does not (XNU,
/// `bsd/sys/resource.h`).
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "a C function of the system")]
pub(super) fn non_resident_footprint(process: u32) -> Option<u64> {
    let process = libc::pid_t::try_from(process).ok()?;
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut usage: libc::rusage_info_v4 = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills a struct of the version given.
    let done =
        unsafe { libc::proc_pid_rusage(process, libc::RUSAGE_INFO_V4, (&raw mut usage).cast()) };
    (done == 0).then(|| {
        usage
            .ri_phys_footprint
            .saturating_sub(usage.ri_resident_size)
    })
}

#[cfg(not(target_os = "macos"))]
pub(super) fn non_resident_footprint(_process: u32) -> Option<u64> {
    None
}
