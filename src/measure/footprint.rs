//! Memory that a GPU shares with the machine: what macOS counts for a process beyond its resident pages.

/// Bytes of it; none where the system does not tell.
///
/// `phys_footprint` of `proc_pid_rusage` holds what Metal allocated, resident size does not (XNU, `bsd/sys/resource.h`).
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "a question to the system in C")]
pub(super) fn beyond_resident(process: u32) -> Option<u64> {
    let process = libc::pid_t::try_from(process).ok()?;
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut usage: libc::rusage_info_v4 = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills a struct of the version that is named.
    let done =
        unsafe { libc::proc_pid_rusage(process, libc::RUSAGE_INFO_V4, (&raw mut usage).cast()) };
    (done == 0).then(|| {
        usage
            .ri_phys_footprint
            .saturating_sub(usage.ri_resident_size)
    })
}

#[cfg(not(target_os = "macos"))]
pub(super) fn beyond_resident(_process: u32) -> Option<u64> {
    None
}
