//! MQTT 3.1.1's packets: those that a server sends, taken from bytes of any kind.
//!
//! `mqttrs` writes our packets; its decoder indexes beyond a packet that is shorter than its kind should be, so
//! what comes from the network is taken apart here.

/// The largest packet that is read. The firmware subscribes to nothing, so nothing large is due.
pub(crate) const LARGEST: usize = 512;
/// The longest fixed header: a byte of flags and four of length.
const LONGEST_HEADER: usize = 5;

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet {
    /// CONNACK and its return code.
    Connack(u8),
    /// PUBACK and the identifier of the packet that it acknowledges.
    Puback(u16),
    /// PUBLISH; the identifier if it wants a PUBACK.
    Publish(Option<u16>),
    /// PINGRESP.
    Pingresp,
    /// Another one that a server may send.
    Other,
}

/// The first packet in `bytes` and its size, or `None` while it is not complete.
///
/// # Errors
/// Why this is not from an MQTT 3.1.1 server, in words.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Packet, usize)>, &'static str> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    // A wrong kind is told by the first byte; waiting for its length would look like silence.
    let kind = Kind::of(*first)?;
    let Some((remaining, taken)) = length(rest)? else { return Ok(None) };
    if remaining + LONGEST_HEADER > LARGEST {
        return Err("the server sent a packet that is too large");
    }
    let Some(body) = rest.get(taken..taken + remaining) else { return Ok(None) };
    Ok(Some((kind.packet(body)?, 1 + taken + remaining)))
}

/// The remaining length and how many bytes it takes (section 2.2.3).
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(LONGEST_HEADER - 1).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < LONGEST_HEADER - 1 { Ok(None) } else { Err("a packet's length is malformed") }
}

/// A packet's kind by its first byte (section 2.2).
#[derive(Clone, Copy)]
enum Kind {
    Connack,
    Puback,
    Publish { quality: u8 },
    Pingresp,
    Other,
}

impl Kind {
    fn of(first: u8) -> Result<Self, &'static str> {
        match first {
            0x20 => Ok(Self::Connack),
            0x30..=0x3F if first & 0x06 != 0x06 => Ok(Self::Publish { quality: first >> 1 & 0x03 }),
            0x40 => Ok(Self::Puback),
            // PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK.
            0x50 | 0x62 | 0x70 | 0x90 | 0xB0 => Ok(Self::Other),
            0xD0 => Ok(Self::Pingresp),
            _ => Err("what the server sent is not MQTT 3.1.1"),
        }
    }

    fn packet(self, body: &[u8]) -> Result<Packet, &'static str> {
        match (self, body) {
            // ThingsBoard 3.2 says that a session was present even where a clean one was asked for.
            (Self::Connack, [0 | 1, code]) => Ok(Packet::Connack(*code)),
            (Self::Puback, [high, low]) => Ok(Packet::Puback(u16::from_be_bytes([*high, *low]))),
            (Self::Publish { quality }, body) => publish(quality, body),
            (Self::Pingresp, []) => Ok(Packet::Pingresp),
            (Self::Other, _) => Ok(Packet::Other),
            _ => Err("a packet from the server is malformed"),
        }
    }
}

/// Nothing is subscribed to, so the message itself does not matter; an exchange at QoS 2 is not taken up.
fn publish(quality: u8, body: &[u8]) -> Result<Packet, &'static str> {
    const MALFORMED: &str = "a message from the server is malformed";
    let (length, rest) = body.split_first_chunk().ok_or(MALFORMED)?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*length))..).ok_or(MALFORMED)?;
    if quality == 0 {
        return Ok(Packet::Publish(None));
    }
    let identifier = u16::from_be_bytes(*rest.first_chunk().ok_or(MALFORMED)?);
    Ok(Packet::Publish((quality == 1).then_some(identifier)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_servers_packets_are_understood() {
        let one = |bytes: &[u8]| parse(bytes).unwrap().unwrap();
        assert_eq!(one(&[0x20, 2, 0, 5]), (Packet::Connack(5), 4));
        assert_eq!(one(&[0x20, 2, 1, 0, 0x40]), (Packet::Connack(0), 4));
        assert_eq!(one(&[0x40, 2, 1, 2]), (Packet::Puback(258), 4));
        assert_eq!(one(&[0xD0, 0]), (Packet::Pingresp, 2));
        assert_eq!(one(&[0x90, 3, 0, 1, 0]), (Packet::Other, 5));
        assert_eq!(one(&[0x30, 4, 0, 1, b'a', b'x']), (Packet::Publish(None), 6));
        assert_eq!(one(&[0x32, 5, 0, 1, b'a', 0, 9]), (Packet::Publish(Some(9)), 7));
        assert_eq!(one(&[0x34, 5, 0, 1, b'a', 0, 9]), (Packet::Publish(None), 7));
        // A length of two bytes where one would do is allowed.
        assert_eq!(one(&[0x40, 0x82, 0, 0, 1]), (Packet::Puback(1), 5));
    }

    #[test]
    fn the_rest_of_a_packet_is_waited_for() {
        let whole = [0x32, 0x86, 0, 0, 1, b'a', 0, 9, b'x'];
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "of {end} bytes");
        }
        assert!(parse(&whole).unwrap().is_some());
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\x00",
            b"\x10\x00",             // CONNECT: a client's
            b"\x21\x02\x00\x00",     // flags that must be clear
            b"\x20\x03\x00\x00\x00", // CONNACK of three bytes
            b"\x20\x00",             // and of none
            b"\x20\x02\x02\x00",     // and with a reserved flag
            b"\x40\x00",             // PUBACK of nothing
            b"\x40\x01\x00",
            b"\xD0\x01\x00",
            b"\x30\x00",                  // PUBLISH without a topic
            b"\x30\x02\x00\x01",          // and with one beyond its end
            b"\x32\x03\x00\x01a",         // and without its identifier
            b"\x36\x05\x00\x01a\x00\x01", // QoS 3
            b"\x30\xFF\xFF\xFF\xFF",      // a length without end
            b"\x30\xFF\xFF\xFF\x7F",      // 256 MiB
            b"\x30\xFC\x03",              // a byte too many
            b"\xF0\x00",                  // MQTT 5's AUTH
        ] {
            assert!(parse(bytes).is_err(), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_nor_ask_for_more_than_fits(
            bytes in prop::collection::vec(any::<u8>(), LARGEST..2 * LARGEST),
        ) {
            match parse(&bytes) {
                Ok(Some((_, size))) => prop_assert!((2..=LARGEST).contains(&size)),
                Ok(None) => prop_assert!(false, "{LARGEST} bytes were not enough"),
                Err(_) => {}
            }
        }

        #[test]
        fn every_kind_with_random_bodies(kind: u8, body in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = alloc::vec![kind, u8::try_from(body.len()).unwrap()];
            bytes.extend(body);
            let _ = parse(&bytes);
        }
    }
}
