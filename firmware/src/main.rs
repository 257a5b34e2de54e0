//! The firmware of one board: what the board has, given to the portable application of `tbprov-firmware-app`.
#![no_std]
#![no_main]

extern crate alloc;

mod board;
