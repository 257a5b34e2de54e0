//! Manifests, as bytes of any file: no panic, and each row and each fault is on a line of it.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tbprov::fleet::manifest::Rows;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    let Ok(rows) = Rows::read(Box::new(Cursor::new(bytes.to_vec()))) else { return };
    for row in rows {
        let line = match row {
            Ok((line, _)) => line,
            Err(fault) => fault.line,
        };
        assert!((1..=lines).contains(&line), "line {line} of {lines}");
    }
});
