//! The emulated board: QEMU's `virt` machine for RISC-V, which has no flash to keep an identity in.

/// Where the emulator puts the identity partition, as if it were flash: beyond the memory that the program uses.
pub const IDENTITY_ADDRESS: usize = 0x8200_0000;
/// The memory that the machine needs, in MiB, from 0x8000_0000 on.
pub const MEMORY_MIB: u32 = 40;
