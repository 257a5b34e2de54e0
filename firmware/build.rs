//! The linker's arguments, here and not in a configuration file, so that a plain `cargo build` from any directory
//! links the firmware.

/// The functions of Mbed TLS that `tbprov-firmware-app` puts itself in front of (see its `tls` module).
const WRAPPED: [&str; 2] = ["mbedtls_ssl_get_verify_result", "mbedtls_x509_crt_verify_restartable"];
/// The functions of Mbed TLS that `src/unused.rs` takes the place of.
const UNUSED: [&str; 2] = ["mbedtls_ssl_handshake_server_step", "mbedtls_ssl_tls13_handshake_server_step"];

/// Each is a feature.
const BOARDS: [&str; 7] = ["esp32", "esp32c2", "esp32c3", "esp32c6", "esp32h2", "esp32s3", "virt"];
/// The chips whose temperature sensor esp-hal reads.
const THERMOMETERS: [&str; 2] = ["esp32c3", "esp32c6"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Err(why) = check_features() {
        println!("cargo::error={why}");
        return;
    }
    // The Xtensa chips are linked by their GCC, the RISC-V ones by the linker itself.
    let prefix = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("xtensa") => "-Wl,",
        _ => "",
    };
    for function in WRAPPED.into_iter().chain(UNUSED) {
        println!("cargo:rustc-link-arg-bins={prefix}--wrap={function}");
    }
    if has("virt") {
        virt();
    }
    if has("chip") {
        // esp-hal's, which its own build script has put on the search path.
        println!("cargo:rustc-link-arg-bins={prefix}-Tlinkall.x");
        if !prefix.is_empty() {
            println!("cargo:rustc-link-arg-bins=-nostartfiles");
        }
    }
}

fn has(feature: &str) -> bool {
    let name = feature.to_uppercase().replace('-', "_");
    std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

fn check_features() -> Result<(), String> {
    if BOARDS.into_iter().filter(|board| has(board)).count() > 1 {
        return Err(format!("choose only one board of {}", BOARDS.join(", ")));
    }
    if has("chip-temperature") && !THERMOMETERS.into_iter().any(has) {
        return Err(format!("chip-temperature: there is a driver for {} only", THERMOMETERS.join(" and ")));
    }
    Ok(())
}

fn virt() {
    println!("cargo:rerun-if-changed=virt.x");
    println!("cargo:rustc-link-arg-bins=-Tvirt.x");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
}
