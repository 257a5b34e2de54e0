//! Provision answers, as bytes from any server: no panic, whatever is in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tbprov::exchange::Answer;

fuzz_target!(|data: &[u8]| {
    let _ = Answer::parse(data);
});
