//! A row while its cells come, one after the other.

use serde_json::{Number, Value};
use tbprov_contract::identity::check_ssid;

use super::column::Column;
use crate::device::DeviceName;
use crate::error::Fault;
use crate::identity::Validity;
use crate::keys::KeyType;
use crate::ledger::roster::{Fields, Row};
use crate::telemetry::LARGEST_PAYLOAD;
use crate::text::{holds_pem, is_unseen};

/// Characters of a label or a serial number, in UTF-16 units: what ThingsBoard stores of a label (`device.label`,
/// `varchar(255)`).
const LONGEST_TEXT: usize = 255;
/// Below this, attributes are no larger than a packet, however they are written as JSON.
const SMALL: usize = LARGEST_PAYLOAD / 8;

/// What is known of a row.
#[derive(Debug, Default)]
pub(super) struct Draft {
    name: Option<DeviceName>,
    label: Option<String>,
    serial: Option<String>,
    mac: Option<String>,
    key_type: Option<KeyType>,
    days: Option<u32>,
    gateway: bool,
    fields: Fields,
    /// Bytes of its attributes as they were given.
    attributes: usize,
}

impl Draft {
    /// Takes a cell. One that is empty says nothing. The error is what is wrong, without the cell.
    pub(super) fn set(&mut self, column: &Column, cell: &str) -> Result<(), String> {
        check_cell(cell)?;
        let trimmed = cell.trim();
        if trimmed.is_empty() {
            return Ok(());
        }
        match column {
            Column::Name => {
                no_rounded_number(trimmed)?;
                self.name = DeviceName::parse(trimmed).map_err(|error| error.message)?;
            }
            Column::Label => self.label = Some(text(trimmed)?),
            Column::Serial => {
                no_rounded_number(trimmed)?;
                self.serial = Some(text(trimmed)?);
            }
            Column::Mac => {
                no_rounded_number(trimmed)?;
                self.mac = Some(mac(trimmed)?);
            }
            Column::KeyType => {
                let written = trimmed.to_ascii_lowercase();
                self.key_type = Some(written.parse().map_err(|why: String| why.replacen("it is", "is", 1))?);
            }
            Column::Days => self.days = Some(days(trimmed)?),
            Column::Gateway => self.gateway = yes_or_no(trimmed)?,
            Column::WifiSsid => {
                check_ssid(cell).map_err(|why| format!("is no name of a network: {why}"))?;
                self.fields.wifi_ssid = Some(cell.to_owned());
            }
            Column::Client(key) => self.attribute(key, value_of(cell), cell.len())?,
            Column::Extra(key) => {
                self.fields.extra.insert(key.clone(), cell.to_owned());
            }
        }
        Ok(())
    }

    /// Takes a client attribute of this many bytes.
    pub(super) fn attribute(&mut self, key: &str, value: Value, bytes: usize) -> Result<(), String> {
        let value = storable(value)?;
        self.attributes += key.len() + bytes;
        self.fields.client.insert(key.to_owned(), value);
        Ok(())
    }

    /// The row, which has a name and attributes that fit into a message.
    pub(super) fn finish(self, line: u64) -> Result<Row, Fault> {
        let fault = |column: &str, why: String| Fault { line, column: Some(column.to_owned()), why };
        let Some(name) = self.name else { return Err(fault("name", "is empty".to_owned())) };
        if self.attributes > SMALL {
            let bytes = serde_json::to_vec(&self.fields.client).map_or(usize::MAX, |json| json.len());
            if bytes > LARGEST_PAYLOAD {
                let why = "the client attributes of the row are larger than the 64 KiB that ThingsBoard accepts \
                           in a packet";
                return Err(fault("client.", why.to_owned()));
            }
        }
        Ok(Row {
            name,
            label: self.label,
            serial: self.serial,
            mac: self.mac,
            key_type: self.key_type,
            days: self.days,
            gateway: self.gateway,
            fields: self.fields,
        })
    }
}

/// Refuses what no cell holds: the text of a key, which must not be kept, and NUL, which ThingsBoard does not store.
pub(super) fn check_cell(cell: &str) -> Result<(), String> {
    // As long as the first line of a private key: none is shorter.
    const SHORTEST: usize = 27;
    if cell.len() >= SHORTEST && holds_pem(cell) && !cell.contains("-----BEGIN CERTIFICATE-----") {
        return Err("holds the text of a key, which belongs in no manifest (it is not shown)".to_owned());
    }
    if cell.len() >= SHORTEST && cell.contains("PRIVATE KEY") {
        return Err(
            "holds the text of a private key, which belongs in no manifest (it is not shown)".to_owned()
        );
    }
    if cell.contains('\0') { Err("holds a NUL character".to_owned()) } else { Ok(()) }
}

/// A text on one line, all of which can be seen.
fn text(cell: &str) -> Result<String, String> {
    if cell.chars().any(char::is_control) {
        return Err("holds a line end or another control character".to_owned());
    }
    if !cell.is_ascii()
        && let Some(unseen) = cell.chars().find(|character| is_unseen(*character))
    {
        return Err(format!("holds the character U+{:04X}, which cannot be seen", u32::from(unseen)));
    }
    // No text has more UTF-16 units than bytes.
    if cell.len() > LONGEST_TEXT && cell.encode_utf16().count() > LONGEST_TEXT {
        return Err(format!("is longer than {LONGEST_TEXT} characters"));
    }
    Ok(cell.to_owned())
}

/// Refuses what a spreadsheet makes of a long number: `2.41E+11`.
fn no_rounded_number(cell: &str) -> Result<(), String> {
    let parts = cell.split_once('E').and_then(|(digits, rest)| Some((digits, rest.strip_prefix('+')?)));
    let Some((digits, exponent)) = parts else { return Ok(()) };
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = digits.split_once(['.', ',']).unwrap_or((digits, "0"));
    if whole.len() == 1 && are_digits(whole) && are_digits(fraction) && are_digits(exponent) {
        return Err(
            "is a number that a spreadsheet has rounded: make the column's cells text there, and give the \
                    digits again"
                .to_owned(),
        );
    }
    Ok(())
}

/// A MAC address with colons and small letters.
fn mac(cell: &str) -> Result<String, String> {
    let number = mac_number(cell.as_bytes())
        .ok_or_else(|| "is no MAC address: six bytes in hexadecimal, such as 24:0a:c4:00:00:00".to_owned())?;
    if number == 0 {
        return Err("is the MAC address of no board: all of it is zero".to_owned());
    }
    // The first bit that is sent of the first byte (IEEE 802).
    if number >> 40 & 1 == 1 {
        return Err("is the MAC address of a group, and of no board".to_owned());
    }
    let mut written = String::with_capacity(17);
    for place in (0..12_u32).rev() {
        let digit = (number >> (4 * place) & 0xF) as u32;
        written.extend(char::from_digit(digit, 16));
        if place > 0 && place % 2 == 0 {
            written.push(':');
        }
    }
    Ok(written)
}

/// Twelve hexadecimal digits, or pairs of them between colons or dashes.
fn mac_number(cell: &[u8]) -> Option<u64> {
    let separator = match cell.len() {
        12 => None,
        17 => Some(*cell.get(2).filter(|byte| b":-".contains(byte))?),
        _ => return None,
    };
    cell.iter().enumerate().try_fold(0, |number, (index, byte)| match separator {
        Some(separator) if index % 3 == 2 => (*byte == separator).then_some(number),
        _ => Some(number << 4 | u64::from(char::from(*byte).to_digit(16)?)),
    })
}

fn days(cell: &str) -> Result<u32, String> {
    let is_number = cell.bytes().all(|byte| byte.is_ascii_digit());
    let days = cell.parse().ok().filter(|days| is_number && *days > 0);
    let days = days.ok_or_else(|| "is no number of days, from 1 on".to_owned())?;
    let too_late = |_| "ends after the year 9999, which no certificate can name".to_owned();
    Validity::check_days(days).map(|()| days).map_err(too_late)
}

fn yes_or_no(cell: &str) -> Result<bool, String> {
    match cell.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err("is neither yes nor no".to_owned()),
    }
}

/// What a cell of CSV is as a value: a number where writing the number gives the same text, true and false (which
/// spreadsheets write in capitals), else text. So `7` is a number, and `007`, `1.10` and `1e5` are text.
fn value_of(cell: &str) -> Value {
    match cell {
        "true" | "TRUE" => return Value::Bool(true),
        "false" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if !cell.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return Value::String(cell.to_owned());
    }
    let whole = cell.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| cell.parse().ok().and_then(Number::from_f64));
    match number {
        Some(number) if number.to_string() == cell => Value::Number(number),
        _ => Value::String(cell.to_owned()),
    }
}

/// Refuses what ThingsBoard does not store as it is. The parser of its answers has 64 bits for an integer.
fn storable(value: Value) -> Result<Value, String> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if let Value::Number(number) = &value
        && !number.is_i64()
        && number.as_f64().is_none_or(|number| number.abs() >= BEYOND && number.fract() == 0.0)
    {
        return Err(
            "is a number beyond 64 bits, which ThingsBoard does not store: write it as text".to_owned()
        );
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(column: Column, cell: &str) -> Result<Draft, String> {
        let mut draft = Draft::default();
        draft.set(&column, cell).map(|()| draft)
    }

    #[test]
    fn an_address_is_written_in_one_way() {
        for cell in ["24:0A:C4:00:00:01", "24-0a-c4-00-00-01", "240AC4000001", " 24:0a:c4:00:00:01 "] {
            assert_eq!(set(Column::Mac, cell).unwrap().mac.unwrap(), "24:0a:c4:00:00:01");
        }
        for (cell, why) in [
            ("24:0a:c4:00:00", "is no MAC address"),
            ("24:0a-c4:00:00:01", "is no MAC address"),
            ("2:40a:c4:00:00:01", "is no MAC address"),
            ("24:0a:c4:00:00:0g", "is no MAC address"),
            ("+40AC4000001", "is no MAC address"),
            ("24:0a:c4:00:00:0é", "is no MAC address"),
            ("00:00:00:00:00:00", "all of it is zero"),
            ("01:00:5e:00:00:01", "of a group"),
            ("ff:ff:ff:ff:ff:ff", "of a group"),
            ("2.41E+11", "has rounded"),
        ] {
            let said = set(Column::Mac, cell).unwrap_err();
            assert!(said.contains(why), "{cell}: {said}");
        }
    }

    #[test]
    fn a_cell_of_an_attribute_has_the_type_that_loses_nothing() {
        for (cell, value) in [
            ("7", json!(7)),
            ("-3", json!(-3)),
            ("2.5", json!(2.5)),
            ("0", json!(0)),
            ("9223372036854775807", json!(i64::MAX)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("007", json!("007")),
            ("-0", json!("-0")),
            ("1.10", json!("1.10")),
            ("1e5", json!("1e5")),
            ("+7", json!("+7")),
            (" 7", json!(" 7")),
            ("2,5", json!("2,5")),
            ("9223372036854775808", json!("9223372036854775808")),
            ("0.1234567890123456789", json!("0.1234567890123456789")),
            ("-", json!("-")),
            ("null", json!("null")),
        ] {
            let draft = set(Column::Client("key".to_owned()), cell).unwrap();
            assert_eq!(draft.fields.client["key"], value, "{cell}");
        }
        assert!(set(Column::Client("key".to_owned()), "").unwrap().fields.client.is_empty());
    }

    #[test]
    fn cells_are_checked() {
        for (column, cell, why) in [
            (Column::Name, "a\u{202e}b", "cannot be seen"),
            (Column::Name, "1.23457E+15", "has rounded"),
            (Column::Serial, "1,2E+10", "has rounded"),
            (Column::Label, "a\nb", "holds a line end"),
            (Column::Label, "a\u{200b}b", "U+200B"),
            (Column::KeyType, "ec-p521", "none of ec-p256"),
            (Column::Days, "0", "from 1 on"),
            (Column::Days, "-1", "from 1 on"),
            (Column::Days, "+1", "from 1 on"),
            (Column::Days, "1.5", "from 1 on"),
            (Column::Days, "4294967296", "from 1 on"),
            (Column::Days, "4294967295", "after the year 9999"),
            (Column::Gateway, "maybe", "neither yes nor no"),
            (Column::WifiSsid, "123456789012345678901234567890123", "no name of a network"),
            (Column::WifiSsid, "a\tb", "no name of a network"),
            (Column::Extra("k".to_owned()), "a\0b", "NUL"),
            (Column::Extra("k".to_owned()), "-----BEGIN PRIVATE KEY-----\nMC4C", "text of a key"),
            (Column::Client("k".to_owned()), "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t", "text of a key"),
            (
                Column::Extra("k".to_owned()),
                "-----BEGIN CERTIFICATE-----\nx -----BEGIN EC PRIVATE KEY-----",
                "private key",
            ),
        ] {
            let said = set(column.clone(), cell).unwrap_err();
            assert!(said.contains(why), "{column:?} {cell:?}: {said}");
            assert!(cell.len() < 3 || !said.contains(cell), "the cell is shown: {said}");
        }
        assert!(set(Column::Label, &"\u{4f20}".repeat(255)).is_ok());
        assert!(set(Column::Label, &"\u{4f20}".repeat(256)).unwrap_err().contains("longer than 255"));
        assert_eq!(set(Column::WifiSsid, " workshop ").unwrap().fields.wifi_ssid.unwrap(), " workshop ");
        assert!(set(Column::Gateway, "YES").unwrap().gateway && !set(Column::Gateway, "").unwrap().gateway);
    }

    #[test]
    fn attributes_fit_into_a_packet() {
        let mut draft = set(Column::Name, "a").unwrap();
        // Each becomes six bytes.
        draft.set(&Column::Client("key".to_owned()), &"\u{1}".repeat(LARGEST_PAYLOAD / 6)).unwrap();
        assert!(draft.finish(1).unwrap_err().why.contains("64 KiB"));
    }
}
