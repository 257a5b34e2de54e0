//! How long to wait before connecting again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause before attempt number `attempt` (from 1): doubled each time, up to half of it by chance, so that
/// a fleet does not come back all at once.
pub(super) fn delay(attempt: u32) -> Duration {
    let whole = FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST);
    let mut byte = [0u8; 1];
    // Without random numbers the pause is merely not random.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    whole / 2 + (whole / 2).mul_f64(f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_half_a_minute() {
        assert!(delay(1) <= FIRST);
        assert!(delay(4) >= FIRST * 4);
        assert!(delay(u32::MAX) <= LONGEST);
    }
}
