//! The places in the code that led to a defect, found on the stack.

use core::ops::Range;

/// How many words of a stack are looked at: the state of one task of the application alone takes 600.
pub const WORDS: usize = 2048;
/// How many addresses are told, at the most.
pub const MOST: usize = 60;

/// The `words` of a stack, from its top on, that are addresses within one of the ranges of `code`. Without frame
/// pointers, which would need compiler flags from outside, each of them may be a return address; some are left over from
/// earlier calls. One that repeats is told once.
pub fn return_addresses(
    words: impl Iterator<Item = usize>,
    code: &[Range<usize>],
) -> impl Iterator<Item = usize> {
    let is_code = |word: &usize| code.iter().any(|range| range.contains(word));
    let mut last = None;
    words.take(WORDS).filter(is_code).filter(move |word| last.replace(*word) != Some(*word)).take(MOST)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Those of an ESP32-C3: in flash, and in RAM.
    const CODE: [Range<usize>; 2] = [0x4200_0000..0x4280_0000, 0x4038_0000..0x4038_8214];

    fn found(words: &[usize]) -> Vec<usize> {
        return_addresses(words.iter().copied(), &CODE).collect()
    }

    #[test]
    fn addresses_of_code_are_told_in_their_order() {
        let words = [0, 0x4203_0020, 0x3FCC_1234, 0x4038_0730, 0x4203_0020, 0xFFFF_FFFF, 0x4279_FFFE];
        assert_eq!(found(&words), [0x4203_0020, 0x4038_0730, 0x4203_0020, 0x4279_FFFE]);
    }

    #[test]
    fn nothing_else_is_told() {
        for word in [0, 1, 0x41FF_FFFF, 0x4280_0000, 0x4037_FFFF, 0x4038_8214, 0x3FCC_0000, 0x2D2D_2D2D] {
            assert_eq!(found(&[word]), [], "{word:#x}");
        }
        assert_eq!(found(&[]), []);
    }

    #[test]
    fn one_word_again_and_again_is_one_address() {
        assert_eq!(found(&[0x4203_0020; 1024]), [0x4203_0020]);
    }

    #[test]
    fn the_application_is_found_beneath_a_large_frame() {
        let mut stack = alloc::vec![0; 1900];
        stack.push(0x4203_1000);
        assert_eq!(found(&stack), [0x4203_1000]);
        stack.resize(WORDS, 0);
        stack.push(0x4203_2000);
        assert_eq!(found(&stack), [0x4203_1000], "beyond what is looked at");
    }

    #[test]
    fn the_first_are_told_where_there_are_many() {
        let words: Vec<usize> = (0..WORDS).map(|index| 0x4203_0000 + 4 * index).collect();
        assert_eq!(found(&words), words[..MOST]);
    }
}
