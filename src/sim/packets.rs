//! Packets as ThingsBoard's decoder reads them (netty's `MqttDecoder`): a wrong beginning is refused at once, and what
//! has no meaning for the server is not looked at.

use bytes::{Buf as _, BytesMut};
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe, Unsubscribe};
use rumqttc::mqttbytes::{FixedHeader, QoS};

use super::wire::Broken;

/// The largest packet, as MQTT's remaining length in bytes (`NETTY_MAX_PAYLOAD_SIZE`).
const LARGEST_PACKET: usize = 65_536;

/// The level of MQTT 3.1.1.
const LEVEL: u8 = 4;

/// Packet types, the upper half of the first byte.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// What the beginning of a buffer holds.
#[derive(Debug)]
pub(super) enum Read {
    Packet(Packet),
    /// A packet that the server does not answer, and that changes nothing.
    Ignored,
    /// The packet is not whole yet.
    Incomplete,
}

/// A packet's first byte and its length.
#[derive(Debug, Clone, Copy)]
struct Header {
    first: u8,
    /// Bytes of the header: the first byte and the length's own.
    bytes: usize,
    /// Bytes behind the header.
    remaining: usize,
}

/// Takes the first packet out of `buffer`. `any_flags`: the flags of packets that have none may be anything.
///
/// # Errors
/// What is no packet of MQTT 3.1.1, as soon as that shows.
pub(super) fn read(buffer: &mut BytesMut, any_flags: bool) -> Result<Read, Broken> {
    let Some(first) = buffer.first().copied() else { return Ok(Read::Incomplete) };
    if !has_right_flags(first, any_flags) {
        return Err(malformed("no packet begins so"));
    }
    let Some(header) = header(first, buffer)? else { return Ok(Read::Incomplete) };
    check_protocol_name(header, buffer)?;
    if buffer.len() < header.bytes + header.remaining {
        return Ok(Read::Incomplete);
    }
    let packet = buffer.split_to(header.bytes + header.remaining);
    decode(header, packet)
}

/// How many whole packets `buffer` holds, up to the first that is none. CONNECT does not count: it waits for nothing.
pub(super) fn count(buffer: &[u8]) -> usize {
    let mut rest = buffer;
    let mut count = 0;
    while let Some(length) = length(rest) {
        count += usize::from(rest.first().is_some_and(|first| first >> 4 != CONNECT));
        rest = rest.get(length..).unwrap_or_default();
    }
    count
}

/// How many bytes the first packet of `packets` has; nothing when it is not whole.
pub(super) fn length(packets: &[u8]) -> Option<usize> {
    let header = header(*packets.first()?, packets).ok()??;
    Some(header.bytes + header.remaining).filter(|length| *length <= packets.len())
}

fn has_right_flags(first: u8, any_flags: bool) -> bool {
    let flags = first & 0x0F;
    match first >> 4 {
        0 | 15 => false,
        PUBLISH => flags & 0b0110 != 0b0110,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE if any_flags => flags & 0b0110 == 0b0010,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => flags == 0b0010,
        _ => any_flags || flags == 0,
    }
}

/// Nothing when the length is not whole yet.
fn header(first: u8, buffer: &[u8]) -> Result<Option<Header>, Broken> {
    let mut remaining = 0;
    for (index, byte) in buffer.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let header = Header { first, bytes: index + 2, remaining };
            return check_length(header).map(|()| Some(header));
        }
    }
    if buffer.len() > 4 { Err(malformed("a length that does not end")) } else { Ok(None) }
}

fn check_length(Header { first, remaining, .. }: Header) -> Result<(), Broken> {
    let fits = match first >> 4 {
        PUBACK..=PUBCOMP | UNSUBACK => remaining == 2,
        PINGREQ..=DISCONNECT => remaining == 0,
        _ => remaining >= 2,
    };
    match fits {
        false => Err(malformed("a length that the packet cannot have")),
        true if remaining > LARGEST_PACKET => Err(malformed("a packet larger than 64 KiB")),
        true => Ok(()),
    }
}

/// What is no CONNECT of any MQTT shows before the whole of it is there.
fn check_protocol_name(header: Header, buffer: &[u8]) -> Result<(), Broken> {
    let name = buffer.get(header.bytes..).unwrap_or_default();
    match (header.first >> 4, name) {
        (CONNECT, [0, 4 | 6, ..] | [0] | []) => Ok(()),
        (CONNECT, _) => Err(malformed("a CONNECT of another protocol")),
        _ => Ok(()),
    }
}

fn decode(header: Header, packet: BytesMut) -> Result<Read, Broken> {
    let fixed = FixedHeader::new(header.first, header.bytes - 1, header.remaining);
    let bytes = packet.freeze();
    let decoded = match header.first >> 4 {
        CONNECT => {
            let Some(flags) = connect_flags(bytes.get(header.bytes..).unwrap_or_default())? else {
                return Err(malformed("a CONNECT that is cut off"));
            };
            // ThingsBoard fails over a password without a user name, and neither answers nor closes.
            if flags & 0xC0 == 0x40 {
                return Ok(Read::Ignored);
            }
            Connect::read(fixed, bytes).map(Packet::Connect)
        }
        PUBLISH => return publish(header, bytes).map(|publish| Read::Packet(Packet::Publish(publish))),
        SUBSCRIBE if header.remaining == 2 => {
            let pkid = packet_id(bytes.get(header.bytes..).unwrap_or_default())?;
            Ok(Packet::Subscribe(Subscribe { pkid, filters: Vec::new() }))
        }
        SUBSCRIBE => Subscribe::read(fixed, bytes).map(Packet::Subscribe),
        UNSUBSCRIBE => Unsubscribe::read(fixed, bytes).map(Packet::Unsubscribe),
        PINGREQ => Ok(Packet::PingReq),
        DISCONNECT => Ok(Packet::Disconnect),
        _ => return Ok(Read::Ignored),
    };
    decoded.map(Read::Packet).map_err(|error| malformed(&error.to_string()))
}

/// The connect flags of MQTT 3.1.1; nothing when they are not there.
fn connect_flags(body: &[u8]) -> Result<Option<u8>, Broken> {
    let foreign = |name: &str, level| Err(Broken::Foreign { protocol: protocol(name, level), level });
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', LEVEL, flags, ..] => Ok(Some(*flags)),
        [0, 4, b'M', b'Q', b'T', b'T', LEVEL] => Ok(None),
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] => foreign("MQTT", *level),
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => foreign("MQIsdp", *level),
        _ => Err(malformed("a CONNECT of another protocol")),
    }
}

/// What people call it.
fn protocol(name: &str, level: u8) -> String {
    match (name, level) {
        ("MQTT", 5) => "MQTT 5".to_owned(),
        ("MQIsdp", 3) => "MQTT 3.1".to_owned(),
        _ => format!("protocol {name}, level {level}"),
    }
}

/// By hand, because ThingsBoard takes a topic without characters, and a repeat of QoS 0.
fn publish(header: Header, mut bytes: bytes::Bytes) -> Result<Publish, Broken> {
    let cut_off = || malformed("a PUBLISH that is cut off");
    bytes.advance(header.bytes);
    let length = bytes.get(..2).map(|bytes| usize::from(bytes[0]) << 8 | usize::from(bytes[1]));
    let length = length.filter(|length| *length <= bytes.len().saturating_sub(2)).ok_or_else(cut_off)?;
    bytes.advance(2);
    let topic = bytes.split_to(length);
    if topic.contains(&b'#') || topic.contains(&b'+') {
        return Err(malformed("a topic with a wildcard"));
    }
    let qos = match header.first >> 1 & 0b11 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let pkid = match qos {
        QoS::AtMostOnce => 0,
        _ => packet_id(&bytes)?,
    };
    if pkid != 0 {
        bytes.advance(2);
    }
    let (dup, retain) = (header.first & 0b1000 != 0, header.first & 1 != 0);
    Ok(Publish { dup, retain, qos, pkid, topic, payload: bytes })
}

fn packet_id(bytes: &[u8]) -> Result<u16, Broken> {
    match bytes {
        [high, low, ..] if [*high, *low] != [0, 0] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(malformed("a packet without a packet identifier")),
    }
}

fn malformed(why: &str) -> Broken {
    Broken::Malformed(format!("not MQTT 3.1.1: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_at(bytes: &[u8], any_flags: bool) -> Result<Read, Broken> {
        read(&mut BytesMut::from(bytes), any_flags)
    }

    #[test]
    fn packets_are_as_long_as_they_say() {
        for (packets, expected) in [
            (&[][..], None),
            (&[0xD0], None),
            (&[0xD0, 0, 0x40], Some(2)),
            (&[0x40, 2, 0, 7], Some(4)),
            (&[0x40, 2, 0], None),
        ] {
            assert_eq!(length(packets), expected);
        }
        let mut long = vec![0x30, 0xC8, 0x01];
        long.resize(203, 0);
        assert_eq!((length(&long), count(&long)), (Some(203), 1));
        assert_eq!(count(&[0xC0, 0, 0x10, 2, 0, 4, 0xC0, 0, 0xC0]), 2);
    }

    #[test]
    fn what_begins_wrongly_is_refused_before_it_is_whole() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"garbage",
            b"\x16\x03\x01\x02\x00\x01",
            &[0x00],
            &[0xF0],
            &[0x80],
            &[0xC1],
            &[0xC0, 1],
            &[0x40, 3],
            &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x30, 0x81, 0x80, 0x04],
            &[0x10, 0x20, 0, 5],
        ] {
            assert!(matches!(read_at(bytes, false), Err(Broken::Malformed(_))), "{bytes:x?}");
        }
        for bytes in [&[][..], &[0x10], &[0x10, 0x0C], &[0x10, 0x0C, 0], &[0x10, 0x0C, 0, 4, b'M'], &[0x82]] {
            assert!(matches!(read_at(bytes, false), Ok(Read::Incomplete)), "{bytes:x?}");
        }
    }

    #[test]
    fn flags_of_packets_that_have_none_once_were_not_looked_at() {
        assert!(matches!(read_at(&[0xC3, 0], true), Ok(Read::Packet(Packet::PingReq))));
        assert!(matches!(read_at(&[0xC3, 0], false), Err(Broken::Malformed(_))));
        assert!(matches!(read_at(&[0x80, 2, 0, 1], true), Err(Broken::Malformed(_))));
    }

    #[test]
    fn a_publish_may_have_no_topic_and_none_with_a_wildcard() {
        let empty = read_at(&[0x32, 4, 0, 0, 0, 7], false);
        assert!(matches!(empty, Ok(Read::Packet(Packet::Publish(publish))) if publish.pkid == 7));
        for bytes in [&[0x30, 3, 0, 1, b'#'][..], &[0x30, 3, 0, 2, b'a'], &[0x32, 3, 0, 1, b'a']] {
            assert!(matches!(read_at(bytes, false), Err(Broken::Malformed(_))), "{bytes:x?}");
        }
    }

    #[test]
    fn other_protocols_are_told_by_their_name() {
        for (name, level, told) in [
            ("MQTT", 5, "MQTT 5"),
            ("MQIsdp", 3, "MQTT 3.1"),
            ("MQTT", 6, "protocol MQTT, level 6"),
            ("MQTT", 3, "protocol MQTT, level 3"),
        ] {
            let mut bytes = vec![0x10, 0, 0, u8::try_from(name.len()).unwrap()];
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&[level, 2, 0, 60, 0, 0]);
            bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
            let read = read_at(&bytes, false);
            assert!(matches!(read, Err(Broken::Foreign { protocol, .. }) if protocol == told), "{told}");
        }
    }

    #[test]
    fn a_password_without_a_user_is_not_looked_at() {
        let bytes = [0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x42, 0, 60, 0, 1, b'c', 0, 1, b'p'];
        assert!(matches!(read_at(&bytes, false), Ok(Read::Ignored)));
    }
}
