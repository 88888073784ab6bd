//! The machine of a measurement: CPU, memory and operating system.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use crate::units::ByteSize;

/// The machine of a measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Brand name of the CPU.
    pub cpu: String,
    /// SIMD extensions that this program has kernels for.
    pub features: Vec<String>,
    /// Available parallelism.
    pub threads: usize,
    /// Total memory, bytes.
    pub memory: u64,
    /// Operating system and its version.
    pub system: String,
}

impl Machine {
    /// The machine this process runs on.
    pub fn current() -> Self {
        let refresh = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
        let system = System::new_with_specifics(refresh).map(|mut system| {
            system.refresh_memory();
            let cpu = system
                .cpus()
                .first()
                .map(|cpu| cpu.brand().trim().to_owned());
            (cpu.filter(|name| !name.is_empty()), system.total_memory())
        });
        let (cpu, memory) = system.unwrap_or((None, 0));
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
