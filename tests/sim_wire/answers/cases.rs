//! The table.

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet};

use super::*;

/// Before CONNECT, and CONNECT itself. The device's token is `T`; where no CONNECT is part of the row, that of the user
/// `provision` is sent last.
pub(super) fn connects() -> Vec<Case> {
    use As::Nobody;
    let [user, other] = [connect("T"), connect("nobody")];
    let many = |count: u16| {
        let message = |id| publish_at(QoS::AtLeastOnce, id, TELEMETRY, b"{\"a\":1}");
        [user.clone(), (1..=count).flat_map(message).collect()].concat()
    };
    let password_alone =
        [0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x42, 0, 60, 0, 1, b'c', 0, 1, b'p'].to_vec();
    let basic = |client: &str, user: &str, password: Option<&str>| {
        let mut connect = Connect::new(client);
        match password {
            Some(password) => connect.set_credentials(user, password.to_owned().into_bytes()),
            None => connect.set_username(user),
        };
        packet(Packet::Connect(connect))
    };
    vec![
        case("nothing but CONNECT", Nobody, "", &[("3.2", "CONNACK 0")]),
        case("ping first", Nobody, PING, &[("3.2", "closed"), ("3.4", "CONNACK 0")]),
        case("publish first", Nobody, publish(TELEMETRY, "{}"), &[("3.2", "closed"), ("3.4", "CONNACK 0")]),
        case("subscribe first", Nobody, subscribe("v2/a"), &[("3.2", "closed"), ("3.4", "CONNACK 0")]),
        case(
            "what comes before a device's CONNECT waits for it",
            Nobody,
            [PING, &user].concat(),
            &[("3.2", "closed"), ("3.4", "CONNACK 0, PINGRESP")],
        ),
        case("password without user", Nobody, password_alone, &[("3.2", "CONNACK 0")]),
        case("connect twice", Nobody, [&user[..], &user].concat(), &[("3.2", "CONNACK 0, CONNACK 0")]),
        case(
            "provision, then a stranger",
            Nobody,
            [&connect("provision")[..], &other].concat(),
            &[("3.2", "CONNACK 0, CONNACK 5, closed")],
        ),
        case(
            "provision twice, then ping",
            Nobody,
            [&connect("provision").repeat(2)[..], PING].concat(),
            &[("3.2", "CONNACK 0, CONNACK 0, PINGRESP")],
        ),
        case(
            "a device and a message together",
            Nobody,
            many(1),
            &[("3.2", "closed"), ("3.4", "CONNACK 0, PUBACK 1")],
        ),
        case("a device and 150 messages together", Nobody, many(150), &[("3.2", "closed")]),
        case("a web client", Nobody, "GET / HTTP/1.1\r\n\r\n", &[("3.2", "closed")]),
        case("a TLS client", Nobody, [0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3].to_vec(), &[("3.2", "closed")]),
        case("zeros", Nobody, [0; 4].to_vec(), &[("3.2", "closed")]),
        case("ones", Nobody, [255; 4].to_vec(), &[("3.2", "closed")]),
        case("another protocol's CONNECT", Nobody, foreign("HTTP", 4), &[("3.2", "closed")]),
        // ThingsBoard speaks both; the simulator says that it does not.
        case("MQTT 5", Nobody, foreign("MQTT", 5), &[("3.2", "CONNACK 132 with properties, closed")]),
        case("MQTT 3.1", Nobody, foreign("MQIsdp", 3), &[("3.2", "CONNACK 1, closed")]),
        case(
            "MQTT of the future",
            Nobody,
            foreign("MQTT", 6),
            &[("3.2", "CONNACK 132 with properties, closed")],
        ),
        case("MQTT of the past", Nobody, foreign("MQTT", 3), &[("3.2", "CONNACK 1, closed")]),
        case("a client id alone", Nobody, basic("client", "", None), &[("3.2", "CONNACK 0")]),
        case(
            "a client id alone, with a user",
            Nobody,
            basic("client", "any", None),
            &[("3.2", "CONNACK 0"), ("3.4", "CONNACK 5, closed")],
        ),
        case(
            "a client id alone, with user and password",
            Nobody,
            basic("client", "any", Some("p")),
            &[("3.2", "CONNACK 0"), ("3.4", "CONNACK 5, closed")],
        ),
    ]
}

/// How requests are read, beside those that are plain JSON.
pub(super) fn requests() -> Vec<Case> {
    const TAKEN: &[From] = &[("3.2", "PUBACK 7, SUCCESS ACCESS_TOKEN, PINGRESP")];
    const CLOSED: &[From] = &[("3.2", "closed")];
    const BAD: &[From] = &[("3.2", "closed"), ("3.8", "PUBACK 7, closed")];
    let lenient = |text: &str| ask(&text.replace("$k", KEY).replace("$s", SECRET));
    let raw = |payload: &[u8]| publish_at(QoS::AtLeastOnce, 7, "/provision/request", payload);
    let row = |name, sends: Vec<u8>, expected: &[From]| case(name, As::Provision, sends, expected);
    let strict = |text: &str| text.replace("$k", KEY).replace("$s", SECRET);
    let bad_utf8 = [
        strict(r#"{"provisionDeviceKey":"$k","provisionDeviceSecret":"$s","deviceName":"n"#).as_bytes(),
        b"\xff\"}",
    ]
    .concat();
    let mut cases = vec![
        row("plain", with(""), TAKEN),
        row(
            "names without quotes",
            lenient("{provisionDeviceKey:\"$k\",provisionDeviceSecret:\"$s\"}"),
            TAKEN,
        ),
        row("nothing in quotes", lenient("{provisionDeviceKey:$k,provisionDeviceSecret:$s}"), TAKEN),
        row("single quotes", lenient("{'provisionDeviceKey':'$k','provisionDeviceSecret':'$s'}"), TAKEN),
        row(
            "a comment",
            lenient("/* x */{'provisionDeviceKey':'$k',#x\n'provisionDeviceSecret':'$s'}//"),
            TAKEN,
        ),
        row(
            "a byte order mark",
            lenient("\u{feff}{'provisionDeviceKey':'$k','provisionDeviceSecret':'$s'}"),
            TAKEN,
        ),
        row("semicolons", lenient("{'provisionDeviceKey':'$k';'provisionDeviceSecret':'$s'}"), TAKEN),
        row("equals", lenient("{'provisionDeviceKey'='$k','provisionDeviceSecret'=>'$s'}"), TAKEN),
        row("xssi", lenient(")]}'\n{'provisionDeviceKey':'$k','provisionDeviceSecret':'$s'}"), TAKEN),
        row("bytes that are no UTF-8", raw(&bad_utf8), TAKEN),
        row("a lone surrogate", with(r#","deviceName":"n\ud800""#), TAKEN),
        row("a line end in a text", with(",\"deviceName\":\"n\nn\""), TAKEN),
        row("NaN", with(r#","deviceName":NaN"#), TAKEN),
        row("hexadecimal", with(r#","deviceName":0x10"#), TAKEN),
        row("a leading zero", with(r#","deviceName":007"#), TAKEN),
        row("TRUE", with(r#","deviceName":TRUE"#), TAKEN),
        row("a name twice", with(r#","deviceName":"<b>","deviceName":"twice""#), TAKEN),
        row("an array of one", with(r#","deviceName":["array"]"#), TAKEN),
        row("nothing at all", ask(""), &[("3.2", "PUBACK 7, bytes 0802, PINGRESP")]),
        row("a blank", ask(" "), CLOSED),
        row("two objects", lenient("{'provisionDeviceKey':'$k','provisionDeviceSecret':'$s'}{}"), CLOSED),
        row("an array", ask("[]"), CLOSED),
        row("cut off", lenient("{'provisionDeviceKey':'$k'"), CLOSED),
        row(
            "deep",
            ask(&"[".repeat(10_000)),
            &[("3.2", "closed"), ("3.8", "PUBACK 7, closed"), ("4.3", "closed")],
        ),
        row("no secret", lenient("{'provisionDeviceKey':'$k'}"), BAD),
        row("a null", with(r#","token":null"#), BAD),
        row("an object", with(r#","hash":{}"#), BAD),
        row("no topic", [0x32, 4, 0, 0, 0, 7].to_vec(), BAD),
        row("another topic", publish(TELEMETRY, "{}"), BAD),
        row("a topic with a wildcard", [&[0x32, 7, 0, 3][..], b"a/+", &[0, 7]].concat(), CLOSED),
        row("no filter", [0x82, 2, 0, 9].to_vec(), &[("3.2", "PINGRESP"), ("4.0", "SUBACK 9, PINGRESP")]),
        row(
            "a filter",
            subscribe("/provision/response"),
            &[("3.2", "PINGRESP"), ("4.0", "SUBACK 9 01, PINGRESP")],
        ),
        row("a ping with flags", [0xC1, 0].to_vec(), &[("3.2", "PINGRESP, PINGRESP"), ("3.4", "closed")]),
    ];
    for field in ["provisionDeviceKey", "deviceName", "credentialsType", "token", "hash"] {
        for (what, items) in [("an array of none", "[]"), ("an array of two", "[\"a\",\"b\"]")] {
            let text = format!(",\"{field}\":{items}");
            cases.push(row(what, with(&text), CLOSED));
        }
    }
    let gateway = [("3.2", TAKEN[0].1), ("3.8", "closed")];
    cases.push(row("an array as the gateway flag", with(r#","gateway":[]"#), &gateway));
    cases
}

/// Names and credentials that are taken or refused.
pub(super) fn values() -> Vec<Case> {
    const TOKEN: &str = "PUBACK 7, SUCCESS ACCESS_TOKEN, PINGRESP";
    const BASIC: &str = "PUBACK 7, SUCCESS MQTT_BASIC, PINGRESP";
    const FAILURE: &str = "PUBACK 7, FAILURE, PINGRESP";
    let row = |name, sends: Vec<u8>, expected: &[From]| case(name, As::Provision, sends, expected);
    let mut cases = vec![
        row("a template", named("{{x}}"), &[("3.2", TOKEN), ("4.3", FAILURE)]),
        row("a template over two lines", named("a{{x\n}}"), &[("3.2", TOKEN), ("4.3", FAILURE)]),
        row("255 characters", named(&"x".repeat(255)), &[("3.2", TOKEN)]),
        row("256 characters", named(&"x".repeat(256)), &[("3.2", "PINGRESP"), ("3.4", FAILURE)]),
        row("128 emoji", named(&"😀".repeat(128)), &[("3.2", TOKEN), ("3.4", FAILURE)]),
        row("256 emoji", named(&"😀".repeat(256)), &[("3.2", "PINGRESP"), ("3.4", FAILURE)]),
        row("a name with NUL", named("a\0b"), &[("3.2", "PINGRESP")]),
        row("a blank name", named("  "), &[("3.2", FAILURE)]),
        row("a token with NUL", with(r#","token":"a\u0000""#), &[("3.2", FAILURE)]),
        row(
            "a hash with NUL",
            with(r#","credentialsType":"X509_CERTIFICATE","hash":"a\u0000""#),
            &[("3.2", "PINGRESP"), ("3.4", FAILURE)],
        ),
        row(
            "a token with a control character",
            with(r#","token":"a\u0001""#),
            &[("3.2", TOKEN), ("4.3", FAILURE)],
        ),
        row("a token with a line end", with(r#","token":"a\n""#), &[("3.2", TOKEN), ("4.3", FAILURE)]),
        row(
            "a user with a control character",
            with(r#","credentialsType":"MQTT_BASIC","username":"u\u0001""#),
            &[("3.2", BASIC), ("4.3", FAILURE)],
        ),
        row(
            "a client id and a password",
            with(r#","credentialsType":"MQTT_BASIC","clientId":"1","password":"p""#),
            &[("3.2", BASIC), ("3.4", FAILURE)],
        ),
        row("LwM2M", with(r#","credentialsType":"LWM2M_CREDENTIALS""#), &[("3.2", "closed"), ("3.4", TOKEN)]),
        row(
            "LwM2M with a token",
            with(r#","credentialsType":"LWM2M_CREDENTIALS","token":"l""#),
            &[("3.2", "closed"), ("3.4", FAILURE)],
        ),
    ];
    for name in ["<!-- x -->", "</b>", "a<!", "a</", "1 < 2", "<3", "a>b", "{{x", "a & b"] {
        cases.push(row("a name that only looks like markup", named(name), &[("3.2", TOKEN)]));
    }
    for name in ["<b>x</b>", "<br/>", "a<b", "<script>", "x<img src=y>", "<UNKNOWN>"] {
        cases.push(row("a name with markup", named(name), &[("3.2", TOKEN), ("3.4", FAILURE)]));
    }
    cases
}

/// What a device sends and asks.
pub(super) fn sessions() -> Vec<Case> {
    const ALL: &str = r#"{"client":{"a":1,"o":{"b":1}}}"#;
    let row = |name, sends: Vec<u8>, expected: &[From]| case(name, As::Device, sends, expected);
    let attributes = |topic: &str, payload: &str| {
        [publish("v1/devices/me/attributes", r#"{"a":1,"o":{"b":1}}"#), publish(topic, payload)].concat()
    };
    let answered = |topic: &str, payload: &str| -> &'static str {
        format!("PUBACK 7, PUBACK 7, {topic} {payload}, PINGRESP").leak()
    };
    let old = "v1/devices/me/attributes/";
    let (request, response) = (format!("{old}request/1"), format!("{old}response/1"));
    let acknowledged = ("3.2", "PUBACK 7, PINGRESP");
    let mut cases = vec![
        row("a second CONNECT", connect("T"), &[("3.2", "CONNACK 0, PINGRESP")]),
        row("all attributes", attributes(&request, "{}"), &[("3.2", answered(&response, ALL))]),
        row(
            "one attribute",
            attributes(&request, r#"{"clientKeys":"a,c"}"#),
            &[("3.2", answered(&response, r#"{"client":{"a":1}}"#))],
        ),
        row(
            "one that is not there",
            attributes(&request, r#"{"clientKeys":"c"}"#),
            &[("3.2", answered(&response, "{}"))],
        ),
        row(
            "all attributes, short",
            attributes("v2/a/req/1", "{}"),
            &[("3.2", "PUBACK 7, PUBACK 7, PINGRESP"), ("3.4", answered("v2/a/res/1", ALL))],
        ),
        row(
            "all attributes, short, JSON",
            attributes("v2/a/req/j/1", "{}"),
            &[("3.2", "PUBACK 7, PUBACK 7, PINGRESP"), ("3.4", answered("v2/a/res/j/1", ALL))],
        ),
        row(
            "attributes at QoS 0",
            publish_at(QoS::AtMostOnce, 0, &request, b"{}"),
            &[("3.2", format!("{response} {{}}, PINGRESP").leak())],
        ),
        row(
            "limits",
            publish("v1/devices/me/rpc/request/1", r#"{"method":"getSessionLimits"}"#),
            &[
                acknowledged,
                (
                    "3.8",
                    r#"PUBACK 7, v1/devices/me/rpc/response/1 {"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{"messages":"","telemetryMessages":"","telemetryDataPoints":""}}, PINGRESP"#,
                ),
                (
                    "4.3",
                    r#"PUBACK 7, v1/devices/me/rpc/response/1 {"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{"messages":null,"telemetryMessages":null,"telemetryDataPoints":null}}, PINGRESP"#,
                ),
            ],
        ),
        row(
            "a number beyond 64 bits",
            publish(TELEMETRY, r#"{"a":99999999999999999999}"#),
            &[("3.2", "closed"), ("3.4", "PUBACK 7, PINGRESP")],
        ),
        row(
            "an exponent",
            publish(TELEMETRY, r#"{"a":1e5}"#),
            &[("3.2", "closed"), ("3.4", "PUBACK 7, PINGRESP")],
        ),
        row("no filter", [0x82, 2, 0, 9].to_vec(), &[("3.2", "SUBACK 9, PINGRESP")]),
        row("a ping with flags", [0xC1, 0].to_vec(), &[("3.2", "PINGRESP, PINGRESP"), ("3.4", "closed")]),
        row("the topic of provisioning", publish("/provision/request", "{}"), &[acknowledged]),
        row("an empty array", publish(TELEMETRY, "[]"), &[("3.2", "PINGRESP")]),
    ];
    for topic in ["telemetry", "connect", "attributes", "rpc"] {
        let topic = format!("v1/gateway/{topic}");
        cases.push(row("a gateway's topic", publish(&topic, "{}"), &[("3.2", "PINGRESP")]));
    }
    for topic in ["attributes/request/x", "attributes/request/", "rpc/request/1", "rpc/request/x"] {
        let topic = format!("v1/devices/me/{topic}");
        cases.push(row("a request that cannot be read", publish(&topic, "[]"), &[("3.2", "closed")]));
    }
    for topic in [
        "v2/t/p",
        "v2/a/p",
        "v2/fw/request/1/chunk/0",
        "v2/sw/request/1/chunk/0",
        "v2/r/req/1",
        "v2/r/req/j/1",
    ] {
        for (qos, old) in [(QoS::AtLeastOnce, acknowledged.1), (QoS::AtMostOnce, "PINGRESP")] {
            let sends = publish_at(qos, 7, topic, b"{}");
            cases.push(row("a short topic that cannot be read", sends, &[("3.2", old), ("3.4", "closed")]));
        }
    }
    let granted = |from| (from, "SUBACK 9 01, PINGRESP");
    let refused = |from| (from, "SUBACK 9 80, PINGRESP");
    for filter in ["v2/a", "v2/a/j", "v2/a/p", "v2/a/res/+", "v2/r/req/+", "v2/fw/response/+/chunk/+"] {
        cases.push(row("a short filter", subscribe(filter), &[refused("3.2"), granted("3.4")]));
    }
    cases.push(row("a long filter", subscribe("v1/devices/me/rpc/request/+"), &[granted("3.2")]));
    cases.push(row("another filter", subscribe("#"), &[refused("3.2")]));
    let provision = subscribe("/provision/response");
    cases.push(row("the filter of provisioning", provision, &[granted("3.2"), refused("4.0")]));
    cases
}
