//! What Mbed TLS needs of a C library, where no radio driver brings one.

use tinyrlibc as _;
