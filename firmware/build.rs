//! The linker scripts of the board, so that no flags need to be set from outside.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CHIP").is_some() {
        println!("cargo::rustc-link-arg-bins=-Tlinkall.x");
    }
}
