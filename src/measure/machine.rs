//! The machine a number comes from: without it the number says nothing.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use crate::units::ByteSize;

/// Where something was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub cpu: String,
    /// Its vector instructions that we have kernels for.
    pub features: Vec<String>,
    /// Threads that may run at once.
    pub threads: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Operating system and its version.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let what = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
        let known = System::new_with_specifics(what).map(|mut known| {
            known.refresh_memory();
            let cpu = known
                .cpus()
                .first()
                .map(|cpu| cpu.brand().trim().to_owned());
            (cpu.filter(|name| !name.is_empty()), known.total_memory())
        });
        let (cpu, memory) = known.unwrap_or((None, 0));
        Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            features: features(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory,
            system: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let features = self.features.join(" ");
        let memory = ByteSize(self.memory);
        write!(
            f,
            "{}, {} threads, {features}, {memory}, {}",
            self.cpu, self.threads, self.system
        )
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    all.iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<String> {
    vec!["neon".to_owned()]
}
