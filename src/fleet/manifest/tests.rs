use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ledger::roster::Row;

/// The rows of a manifest, each with its line, or `LINE COLUMN: WHY` of each fault.
fn read(text: impl AsRef<[u8]>) -> Result<Vec<(u64, Row)>, Vec<String>> {
    let (mut taken, mut faults) = (Vec::new(), Vec::new());
    for line in Rows::read(Box::new(Cursor::new(text.as_ref().to_vec()))).unwrap() {
        match line {
            Ok(row) => taken.push(row),
            Err(Fault { line, column, why }) => {
                faults.push(format!("{line} {}: {why}", column.unwrap_or_default()));
            }
        }
    }
    if faults.is_empty() { Ok(taken) } else { Err(faults) }
}

#[track_caller]
fn names(text: impl AsRef<[u8]>) -> Vec<(u64, String)> {
    let rows = read(text).unwrap();
    rows.into_iter().map(|(line, row)| (line, row.name.as_str().to_owned())).collect()
}

/// Every fault is told, in order: each begins with its line and column, and holds the words.
#[track_caller]
fn refused(text: impl AsRef<[u8]>, expected: &[(&str, &str)]) {
    let text = text.as_ref();
    let faults = read(text).expect_err(&String::from_utf8_lossy(text));
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (place, why)) in faults.iter().zip(expected) {
        assert!(fault.starts_with(&format!("{place}: ")) && fault.contains(why), "{fault}");
        assert!(!fault.contains("SECRET"), "{fault}");
    }
}

const ALL: &str = "name,label,mac,serial,key-type,days,gateway,client.fw,wifi-ssid,x.room
sensor-1,Kitchen,24-0A-C4-00-00-01,007,ed25519,90,yes,1.10,workshop,\"a, b\"
sensor-2,,,,,,,,,
";

#[test]
fn a_row_has_what_its_cells_say() {
    let rows = read(ALL).unwrap();
    let [(2, first), (3, second)] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(first.name.as_str(), "sensor-1");
    assert_eq!(first.label.as_deref(), Some("Kitchen"));
    assert_eq!(first.mac.as_deref(), Some("24:0a:c4:00:00:01"));
    assert_eq!(first.serial.as_deref(), Some("007"));
    assert_eq!(
        (first.key_type, first.days, first.gateway),
        (Some(crate::keys::KeyType::Ed25519), Some(90), true)
    );
    assert_eq!(first.fields.client["fw"], json!("1.10"));
    assert_eq!(first.fields.wifi_ssid.as_deref(), Some("workshop"));
    assert_eq!(first.fields.extra["room"], "a, b");
    assert_eq!((&second.label, &second.mac, second.days, second.gateway), (&None, &None, None, false));
    assert!(second.fields.client.is_empty() && second.fields.extra.is_empty());
}

#[test]
fn each_dialect_is_the_same_manifest() {
    let expected = read(ALL).unwrap();
    for delimiter in [";", "\t"] {
        let text =
            ALL.replace(',', delimiter).replace("\"a; b\"", "\"a, b\"").replace("\"a\t b\"", "\"a, b\"");
        for text in
            [text.clone(), text.replace('\n', "\r\n"), format!("\u{feff}{text}"), format!("\n\n{text}")]
        {
            let blank = 2 * u64::from(text.starts_with('\n'));
            let read: Vec<_> =
                read(&text).unwrap().into_iter().map(|(line, row)| (line - blank, row)).collect();
            assert_eq!(read, expected, "{text:?}");
        }
    }
    // As spreadsheets are told of the delimiter.
    assert_eq!(names("sep=;\r\n\r\nname;x.a,b\r\nq;1\r\n"), [(4, "q".to_owned())]);
    assert_eq!(names("name;x.a\na;\"1\nsep=;\n2\"\nsep=;\n").len(), 2);
    // One column has no delimiter, and the last line needs no end.
    assert_eq!(names("NAME\nq\n\nr"), [(2, "q".to_owned()), (4, "r".to_owned())]);
}

#[test]
fn lines_are_counted_as_an_editor_does() {
    let text = "name,x.note\r\n\r\na,\"one\r\ntwo \"\"three\"\"\"\r\n,\r\nb,x\r\n";
    let rows = read(text).unwrap();
    assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 6]);
    assert_eq!(rows[0].1.fields.extra["note"], "one\r\ntwo \"three\"");
}

#[test]
fn columns_without_a_name_are_empty() {
    assert_eq!(names("name,,\na,,\nb,,\n").len(), 2);
    refused("name,,\na,,\nb,,x\n", &[("3 ", "cell 3")]);
}

#[test]
fn a_header_is_needed() {
    for text in ["sensor-1,24:0a:c4:00:00:01,SECRET\nsensor-2,x,y\n", "sensor-1\nsensor-2\n", "nome|mac\n"] {
        refused(text, &[("1 ", "is no header")]);
    }
    for (text, why) in [("", "is empty"), ("\n\n  \n", "is empty"), ("\u{feff}", "is empty")] {
        refused(text, &[("1 ", why)]);
    }
    refused("name,label\n\n,\n", &[("1 ", "no row follows")]);
    refused("label\nx\n", &[("1 name", "is missing")]);
}

#[test]
fn what_is_wrong_with_columns_is_told_with_what_is_wrong_with_cells() {
    refused(
        "name,nmae,Name,mac,provision-secret,client.password,x.a,x.a\n\
         a,SECRET,SECRET,zz,SECRET,SECRET,1,2\n",
        &[
            ("1 nmae", "is it 'name'?"),
            ("1 name", "is there twice"),
            ("1 provision-secret", "like a secret"),
            ("1 client.password", "like a secret"),
            ("1 x.a", "is there twice"),
            ("2 mac", "no MAC address"),
        ],
    );
}

#[test]
fn every_bad_line_is_told() {
    refused(
        "name,mac,days\na,zz,0\nb,24:0a:c4:00:00:01\n,,3\nc,,7,8\nd,\"x\"y,1\ne,\"24:0a:c4:00:00:01\",5\nf, \"q\",1\n",
        &[
            ("2 mac", "no MAC address"),
            ("2 days", "from 1 on"),
            ("3 ", "has 2 cells, and the header has 3"),
            ("4 name", "is empty"),
            ("5 ", "has 4 cells"),
            ("6 ", "after the quote"),
            ("8 ", "a blank before a quote"),
        ],
    );
}

#[test]
fn a_quote_without_an_end_swallows_nothing() {
    refused("name,x.a\na,1\nb,\"SECRET\nc,2\nd,3\n", &[("3 ", "no other one that ends it")]);
    let long = format!("name,x.a\nb,\"{}", "line\n".repeat(20_000));
    refused(long, &[("2 ", "no other one that ends it")]);
}

#[test]
fn a_line_has_an_end() {
    let long = "x".repeat(70_000);
    refused(format!("name,x.a\na,{long}\nb,1\nc,{long}"), &[("2 ", "64 KiB"), ("4 ", "64 KiB")]);
    refused(
        format!("{{\"name\":\"a\",\"x.a\":\"{long}\"}}\n{{}}\n"),
        &[("1 ", "64 KiB"), ("2 name", "is empty")],
    );
}

#[test]
fn other_encodings_are_told_with_what_to_do() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    refused(utf16("\u{feff}name\na\n"), &[("1 ", "CSV UTF-8")]);
    refused(utf16("name\na\n"), &[("1 ", "CSV UTF-8")]);
    refused(b"PK\x03\x04xlsx", &[("1 ", "spreadsheet")]);
    refused(b"\xD0\xCF\x11\xE0xls", &[("1 ", "spreadsheet")]);
    refused(b"SQLite format 3\0", &[("1 ", "database")]);
    refused(b"name,label\na,K\xFCche\nb,Bad\nc,\xE9\n", &[("2 ", "is not UTF-8"), ("4 ", "is not UTF-8")]);
    refused("name,label\ra,b\rc,d\r", &[("1 ", "CR alone")]);
    refused("[{\"name\":\"a\"}]", &[("1 ", "jq -c")]);
}

#[test]
fn objects_say_the_same() {
    let text = r#"
        {"name":"sensor-1","label":"Kitchen","mac":"240AC4000001","serial":"007","key-type":"ed25519","days":90,"gateway":true,"client":{"fw":"1.10"},"wifi-ssid":"workshop","x.room":"a, b"}
        {"Name":"sensor-2","label":null,"gateway":"no","client":{},"x":{}}"#;
    let rows: Vec<_> = read(text).unwrap().into_iter().map(|(_, row)| row).collect();
    assert_eq!(rows, read(ALL).unwrap().into_iter().map(|(_, row)| row).collect::<Vec<_>>());
    let row = &read(
        r#"{"name":"a","client.n":7,"client":{"o":{"k":[1,"x"]},"t":"7","b":false,"z":null},"x.n":7.50}"#,
    )
    .unwrap()[0]
        .1;
    assert_eq!(
        serde_json::to_value(&row.fields.client).unwrap(),
        json!({"n":7,"o":{"k":[1,"x"]},"t":"7","b":false})
    );
    assert_eq!(row.fields.extra["n"], "7.50");
}

#[test]
fn objects_are_checked() {
    refused(
        r#"{"name":"a","name":"b"}
{"name":"a","client.k":1,"client":{"k":2}}
{"name":"a","serial":7,"gateway":2,"days":"x","mac":{}}
{"name":7}
{"nome":"a"}
{"name":"a","token":"SECRET","client":{"apiKey":"SECRET"}}
{"name":"a"
["SECRET"]
"SECRET"
{"name":"a","client":{"n":9223372036854775808,"k":"-----BEGIN PRIVATE KEY-----"}}
{"name":"a","":1,"client":"SECRET"}
"#,
        &[
            ("1 name", "is there twice"),
            ("2 client.k", "is there twice"),
            ("3 serial", "has to be text"),
            ("3 gateway", "neither yes nor no"),
            ("3 days", "from 1 on"),
            ("3 mac", "has to be text"),
            ("4 name", "has to be text"),
            ("5 nome", "is it 'name'?"),
            ("6 token", "like a secret"),
            ("6 client.apiKey", "like a secret"),
            ("7 ", "no JSON object (at character"),
            ("8 ", "no JSON object"),
            ("9 ", "no JSON object"),
            ("10 client.n", "beyond 64 bits"),
            ("10 client.k", "text of a key"),
            ("11 ", "has no name"),
            ("11 client", "there is no such column"),
        ],
    );
}

#[test]
fn names_count() {
    let names = |pattern: &str, start, count| {
        let rows = Numbered::new(pattern, start, count)?.map(|line| line.unwrap());
        Ok::<_, Error>(rows.map(|(line, row)| (line, row.name.as_str().to_owned())).collect::<Vec<_>>())
    };
    assert_eq!(names("s-{:03}x", 9, 2).unwrap(), [(1, "s-009x".to_owned()), (2, "s-010x".to_owned())]);
    assert_eq!(names("{}", 0, 1).unwrap(), [(1, "0".to_owned())]);
    assert_eq!(names("s{}", u64::MAX, 1).unwrap(), [(1, format!("s{}", u64::MAX))]);
    for (pattern, start, count, why) in [
        ("sensor", 1, 1, "has no {}"),
        ("sensor-{:5}", 1, 1, "has no {}"),
        ("sensor-{x}", 1, 1, "has no {}"),
        ("sensor-{:021}", 1, 1, "has no {}"),
        ("sensor-{:0+5}", 1, 1, "has no {}"),
        ("{}-{}", 1, 1, "more braces"),
        ("}{}", 1, 1, "more braces"),
        ("s{}", 1, 0, "from 1 to 10000000"),
        ("s{}", 1, 10_000_001, "from 1 to 10000000"),
        ("s{}", u64::MAX, 2, "beyond 64 bits"),
        ("s\u{200b}{}", 1, 2, "cannot be seen"),
    ] {
        let error = names(pattern, start, count).unwrap_err();
        assert!(error.message.contains(why), "{pattern}: {}", error.message);
    }
}

fn manifest(text: &str) -> Manifest {
    Manifest {
        name: "fleet.csv".to_owned(),
        content: Content::Bytes(Bytes::copy_from_slice(text.as_bytes())),
    }
}

#[test]
fn no_name_and_no_address_is_there_twice() {
    let error = manifest("name,mac\na,24:0a:c4:00:00:01\nb,24:0a:c4:00:00:02\n A ,\na ,24-0A-C4-00-00-01\n")
        .check(&Progress::silent())
        .unwrap_err();
    assert_eq!(error.message, "one line of fleet.csv cannot be taken");
    let faults = error.faults.unwrap();
    let said: Vec<_> = faults.first().iter().map(|fault| (fault.line, &*fault.why)).collect();
    assert_eq!(said, [(5, "is the same as in line 2"), (5, "is the same as in line 2")]);
    assert_eq!(manifest("name\na\nA\n").check(&Progress::silent()).unwrap(), 2);
}

#[test]
fn faults_take_no_more_memory_than_they_may() {
    let text = format!("name,days\n{}", "a,0\n".repeat(2_500));
    let error = manifest(&text).check(&Progress::silent()).unwrap_err();
    assert_eq!(error.message, "2500 lines of fleet.csv cannot be taken");
    let faults = error.faults.unwrap();
    assert_eq!((faults.first().len(), faults.more()), (1_000, 1_500));
}

/// A table with a header of its own, as the cells of its rows.
fn tables() -> impl Strategy<Value = Vec<Vec<String>>> {
    let cell = prop_oneof![
        "[ -~]{0,12}",
        "[,;\t\"\n\r ]{0,6}",
        "\\PC{0,8}",
        Just(String::new()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    proptest::collection::vec((proptest::collection::vec(cell, 2), 0..1000_u32), 1..8).prop_map(|rows| {
        let rows = rows.into_iter().enumerate();
        rows.map(|(row, (mut cells, number))| {
            cells.insert(0, format!("d-{row}-{number}"));
            cells
        })
        .collect()
    })
}

proptest! {
    #[test]
    fn what_a_csv_writer_writes_is_read_back(
        table in tables(),
        delimiter in prop_oneof![Just(b','), Just(b';'), Just(b'\t')],
        crlf in any::<bool>(),
        mark in any::<bool>(),
        always in any::<bool>(),
    ) {
        let terminator = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let style = if always { ::csv::QuoteStyle::Always } else { ::csv::QuoteStyle::Necessary };
        let mut writer = ::csv::WriterBuilder::new()
            .delimiter(delimiter)
            .terminator(terminator)
            .quote_style(style)
            .from_writer(if mark { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() });
        writer.write_record(["name", "x.one", "x.two"]).unwrap();
        for cells in &table {
            writer.write_record(cells).unwrap();
        }
        let rows = read(writer.into_inner().unwrap());
        let cells = |row: &Row| {
            let cell = |key: &str| row.fields.extra.get(key).cloned().unwrap_or_default();
            vec![row.name.as_str().to_owned(), cell("one"), cell("two")]
        };
        let rows: Vec<_> = rows.map_err(|faults| TestCaseError::fail(faults.join("\n")))?
            .iter().map(|(_, row)| cells(row)).collect();
        // A cell of blanks says nothing.
        let said = |cell: &String| if cell.trim().is_empty() { String::new() } else { cell.clone() };
        let table: Vec<Vec<_>> = table.iter().map(|cells| cells.iter().map(said).collect()).collect();
        prop_assert_eq!(rows, table);
    }

    #[test]
    fn anything_is_read_without_a_panic(bytes in any::<Vec<u8>>(), text in "(name|mac|x\\.a|[,;\t\"\r\n{}:a-z0-9 ]){0,40}") {
        let _ = read(bytes);
        let _ = read(&text);
        let _ = read(format!("name,x.a,client.b,mac\n{text}"));
        let _ = read(format!("{{\"name\":\"a\"}}\n{{{text}\n"));
    }
}
