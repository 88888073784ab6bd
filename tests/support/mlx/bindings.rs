//! Writes `bindings.rs` as the build script of `mlx-sys` would: `bindings HEADERS OUT TARGET`. `bindings.sh` compiles it
//! beside that crate's own `bindgen_config.rs`.

#[allow(dead_code, reason = "a file of another crate, which uses all of it")]
mod bindgen_config;

use std::error::Error;
use std::path::PathBuf;

/// The half types, which have no C name on x86: see `shim.cpp`.
const HALVES: &str = "
#[repr(transparent)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct float16_t(pub u16);
pub type bfloat16_t = u16;
unsafe extern \"C\" {
    pub fn mlx_array_item_float16(res: *mut float16_t, arr: mlx_array) -> ::std::os::raw::c_int;
    pub fn mlx_array_item_bfloat16(res: *mut bfloat16_t, arr: mlx_array) -> ::std::os::raw::c_int;
    pub fn mlx_array_data_float16(arr: mlx_array) -> *const float16_t;
    pub fn mlx_array_data_bfloat16(arr: mlx_array) -> *const bfloat16_t;
}";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(headers), Some(out), Some(target)) = (args.next(), args.next(), args.next()) else {
        return Err("bindings HEADERS OUT TARGET".into());
    };
    let all = bindgen_config::discover_headers(&headers)?;
    let mut bindings = bindgen_config::builder(&headers, &all);
    if target.to_string_lossy().starts_with("x86") {
        bindings = bindings.raw_line(HALVES);
    }
    bindings.generate()?.write_to_file(out)?;
    Ok(())
}
