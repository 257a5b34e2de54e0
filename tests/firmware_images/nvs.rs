//! The identity partition against Espressif's own generator (`esp-idf-nvs-partition-gen`): both make the same bytes,
//! so that any program of ESP-IDF reads ours, and we read theirs.

use std::time::Duration;

use tbprov_contract::partition::{SIZE, decode, encode};
use tbprov_contract::{Identity, Wifi};

use super::*;

const GENERATOR: &str = "esp_idf_nvs_partition_gen";

fn pem(label: &str, bytes: usize) -> String {
    let body: String = "QUJD".chars().cycle().take(bytes).collect();
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// An identity whose certificates and key have about so many bytes.
fn identity(bytes: usize) -> Identity {
    Identity {
        name: "sensor-01".to_owned(),
        host: "mqtt.example.com".to_owned(),
        port: 8883,
        address: Some("192.0.2.7:18883".parse().unwrap()),
        server_certificates: pem("CERTIFICATE", bytes),
        skip_name_check: true,
        certificate: pem("CERTIFICATE", bytes),
        key: pem("PRIVATE KEY", bytes).into(),
        wifi: Some(Wifi { ssid: "workshop".to_owned(), password: "correct horse".to_owned().into() }),
        interval: Duration::from_secs(5),
        topic: "v1/devices/me/telemetry".to_owned(),
        time_server: Some("pool.ntp.org".to_owned()),
        retry: Duration::from_secs(1),
    }
}

/// The generator's input, in the order in which we write.
fn csv(sandbox: &Sandbox, identity: &Identity) {
    for (name, text) in [
        ("server_certs", &identity.server_certificates),
        ("cert", &identity.certificate),
        ("key", &*identity.key),
    ] {
        sandbox.write(name, format!("{text}\0"));
    }
    let wifi = identity.wifi.as_ref();
    let rows = [
        "key,type,encoding,value".to_owned(),
        "tbprov,namespace,,".to_owned(),
        format!("name,data,string,{}", identity.name),
        format!("host,data,string,{}", identity.host),
        format!("port,data,u16,{}", identity.port),
        format!(
            "address,data,string,{}",
            identity.address.map(|address| address.to_string()).unwrap_or_default()
        ),
        "server_certs,file,binary,server_certs".to_owned(),
        format!("skip_name,data,u8,{}", u8::from(identity.skip_name_check)),
        "cert,file,binary,cert".to_owned(),
        "key,file,binary,key".to_owned(),
        format!("wifi_ssid,data,string,{}", wifi.map_or("", |wifi| &wifi.ssid)),
        format!("wifi_password,data,string,{}", wifi.map_or("", |wifi| &wifi.password)),
        format!("interval_ms,data,u32,{}", identity.interval.as_millis()),
        format!("topic,data,string,{}", identity.topic),
        format!("time_server,data,string,{}", identity.time_server.as_deref().unwrap_or_default()),
        format!("retry_ms,data,u32,{}", identity.retry.as_millis()),
        "schema,data,u8,1".to_owned(),
    ];
    sandbox.write("in.csv", &(rows.join("\n") + "\n"));
}

#[test]
fn espressifs_generator_makes_the_same_partition() {
    let Some(python) = python_with(GENERATOR) else { return };
    let sparse = Identity { address: None, wifi: None, time_server: None, ..identity(700) };
    // The last one fills several pages, with certificates over the ends of pages.
    for identity in [identity(700), sparse, identity(4500)] {
        let sandbox = Sandbox::new();
        csv(&sandbox, &identity);
        let size = format!("{SIZE:#x}");
        say(&sandbox, &python, &["-m", GENERATOR, "generate", "in.csv", "theirs.bin", &size]);
        let theirs = std::fs::read(sandbox.path("theirs.bin")).unwrap();
        assert_eq!(decode(&theirs).as_ref(), Ok(&identity));
        let ours = encode(&identity).unwrap();
        let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        assert_eq!((ours.len(), differs), (theirs.len(), None));
    }
}
