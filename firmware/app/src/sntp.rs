//! The time from a server: SNTP, RFC 4330 (the client's part of NTP, RFC 5905).

/// The size of a message.
pub(crate) const SIZE: usize = 48;
/// Seconds from 1900, where NTP counts from, to 1970.
const FROM_1900_TO_1970: u64 = 2_208_988_800;

/// Version 4, mode 3: a client.
const CLIENT: u8 = 4 << 3 | 3;
/// Mode 4: a server.
const SERVER: u8 = 4;
/// Leap indicator 3: the server's own clock is not set.
const UNSYNCHRONIZED: u8 = 3;
/// 2026-01-01, in seconds since 1970: nothing that this firmware meets is older.
const EARLIEST: u32 = 1_767_225_600;
/// The highest stratum of a server whose clock is set.
const LAST_STRATUM: u8 = 15;

/// A request. A server repeats `nonce`, so that nobody who has not seen the request can answer it.
pub(crate) fn request(nonce: u64) -> [u8; SIZE] {
    let mut message = [0; SIZE];
    message[0] = CLIENT;
    message[40..].copy_from_slice(&nonce.to_be_bytes());
    message
}

/// Whether `reply` is one to the request with that nonce, whatever it says.
pub(crate) fn answers(reply: &[u8], nonce: u64) -> bool {
    reply.first_chunk().is_some_and(|message| word(message, 24) == nonce)
}

/// The time that `reply` tells, in seconds since 1970.
///
/// # Errors
/// Why it tells none, in words.
pub(crate) fn parse(reply: &[u8]) -> Result<u32, &'static str> {
    let message: &[u8; SIZE] = reply.first_chunk().ok_or("the reply is too short")?;
    let [flags, stratum, ..] = *message;
    if flags & 7 != SERVER {
        return Err("the reply is not from a server");
    }
    if stratum == 0 {
        return Err("the server refuses (kiss-o'-death)");
    }
    if stratum > LAST_STRATUM || flags >> 6 == UNSYNCHRONIZED {
        return Err("the server does not know the time");
    }
    let transmitted = word(message, 40);
    if transmitted == 0 {
        return Err("the reply holds no time");
    }
    let time = unix(transmitted >> 32).ok_or("the reply's time is out of range")?;
    if time < EARLIEST { Err("the reply's time is before this firmware was made") } else { Ok(time) }
}

/// The eight bytes at `offset`, which is within the message wherever it is called.
fn word(message: &[u8; SIZE], offset: usize) -> u64 {
    message[offset..offset + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// NTP's 32 bits of seconds began at 0 again in 2036: numbers with a clear first bit are after that (RFC 4330,
/// section 3).
fn unix(seconds: u64) -> Option<u32> {
    let era = if seconds & 1 << 31 == 0 { 1 << 32 } else { 0 };
    u32::try_from((seconds + era).checked_sub(FROM_1900_TO_1970)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;

    fn reply(seconds: u32) -> [u8; SIZE] {
        let mut message = [0; SIZE];
        message[0] = 4 << 3 | SERVER;
        message[1] = 2;
        message[24..32].copy_from_slice(&NONCE.to_be_bytes());
        message[40..44].copy_from_slice(&seconds.to_be_bytes());
        message
    }

    #[test]
    fn a_request_is_a_clients() {
        let request = request(NONCE);
        assert_eq!(request[0], 0x23);
        assert_eq!(request[40..], NONCE.to_be_bytes());
        assert!(request[1..40].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn time_is_told_before_and_after_2036() {
        assert_eq!(parse(&reply(4_000_000_000)), Ok(1_791_011_200));
        assert_eq!(parse(&reply(1)), Ok(2_085_978_497));
        assert_eq!(parse(&reply(1 << 31)), Err("the reply's time is out of range"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let refused = |offset: usize, byte: u8| {
            let mut message = reply(4_000_000_000);
            message[offset] = byte;
            parse(&message).unwrap_err()
        };
        assert_eq!(refused(0, 0x23), "the reply is not from a server");
        assert_eq!(refused(0, 0xE4), "the server does not know the time");
        assert_eq!(refused(1, 0), "the server refuses (kiss-o'-death)");
        assert_eq!(refused(1, 16), "the server does not know the time");
        assert_eq!(parse(&reply(0)), Err("the reply holds no time"));
        assert_eq!(parse(&reply(1)[..47]), Err("the reply is too short"));
        assert_eq!(parse(&[]), Err("the reply is too short"));
    }

    #[test]
    fn only_who_saw_the_request_answers_it() {
        assert!(answers(&reply(0), NONCE));
        assert!(!answers(&reply(0), NONCE + 1));
        assert!(!answers(&reply(0)[..47], NONCE));
        assert!(!answers(&[], NONCE));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(!answers(&bytes, NONCE));
            let _ = parse(&bytes);
        }

        #[test]
        fn no_time_panics(seconds: u32) {
            let _ = parse(&reply(seconds));
        }
    }
}
