//! The linker's arguments, here and not in a configuration file, so that a plain `cargo build` from any directory
//! links the firmware.

/// The functions of Mbed TLS that `tbprov-firmware-app` puts itself in front of (see its `tls` module).
const WRAPPED: [&str; 2] = ["mbedtls_ssl_get_verify_result", "mbedtls_x509_crt_verify_restartable"];
/// The functions of Mbed TLS that `src/unused.rs` takes the place of.
const UNUSED: [&str; 2] = ["mbedtls_ssl_handshake_server_step", "mbedtls_ssl_tls13_handshake_server_step"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The Xtensa chips are linked by their GCC, the RISC-V ones by the linker itself.
    let prefix = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("xtensa") => "-Wl,",
        _ => "",
    };
    for function in WRAPPED.into_iter().chain(UNUSED) {
        println!("cargo:rustc-link-arg-bins={prefix}--wrap={function}");
    }
    if std::env::var_os("CARGO_FEATURE_VIRT").is_some() {
        virt();
    }
    if std::env::var_os("CARGO_FEATURE_CHIP").is_some() {
        // esp-hal's, which its own build script has put on the search path.
        println!("cargo:rustc-link-arg-bins={prefix}-Tlinkall.x");
        if !prefix.is_empty() {
            println!("cargo:rustc-link-arg-bins=-nostartfiles");
        }
    }
}

fn virt() {
    println!("cargo:rerun-if-changed=virt.x");
    println!("cargo:rustc-link-arg-bins=-Tvirt.x");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
}
