//! The firmware: one image for every device of a kind of board, whose identity lies in a flash partition of its own.
#![no_std]
#![no_main]

extern crate alloc;

mod board;
mod libc;
mod unused;
