//! Stops a build that would ship a mute plugin: libopus without custom modes links, and then
//! returns NULL at run time (see docs/ARCHITECTURE.md, "Codec").

use std::env;

fn main() {
    let target = env::var("TARGET").unwrap_or_default();
    // The same places, in the same order, as the `cc` and `cmake` crates look.
    let names = [
        format!("CFLAGS_{target}"),
        format!("CFLAGS_{}", target.replace('-', "_")),
        "TARGET_CFLAGS".to_owned(),
        "CFLAGS".to_owned(),
    ];
    for name in &names {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let flags = names.iter().find_map(|name| env::var(name).ok()).unwrap_or_default();
    if !flags.contains("-DCUSTOM_MODES") {
        println!(
            "cargo::error=libopus would be built without custom modes, which Jamulus's audio needs. \
             Add -DCUSTOM_MODES to CFLAGS (it is now {flags:?}), run `cargo clean -p opusic-sys` and build again. \
             Inside the source tree .cargo/config.toml does this unless CFLAGS is already set."
        );
    }
    // A shared library may leave symbols undefined by default: make a libopus that was built
    // earlier without custom modes a link error instead of a surprise in the host. Under a fuzzer
    // the library is linked but never loaded, and lacks the fuzzer's runtime.
    let fuzzing = env::var_os("CARGO_CFG_FUZZING").is_some();
    if !fuzzing && env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-link-arg-cdylib=-Wl,-z,defs");
    }
}
