//! No copy of a private key is left in memory once it was dropped. The test looks at its own memory.

#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use tbprov::dial::Dialer;
use tbprov::event::Progress;
use tbprov::flow::{self, IdentityPlan, Outcome, Prover, ProvisionPlan, RegistrationPlan, Run};
use tbprov::identity::{Issue, Profile, SoftwareIdentity, Validity, issue};
use tbprov::keys::{Exportable as _, KeyType, SoftwareKey};
use tbprov::ledger::folder::Folders;
use tbprov::server::Server;
use tbprov::tls::{Trust, TrustSource};
use tbprov::{DeviceName, Secret, sim};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Bytes that are looked for at once: no chance makes as many alike.
const PIECE: usize = 16;

/// Bytes that are read at once.
const BLOCK: usize = 4096;
static NOTHING: [u8; BLOCK + PIECE] = [0; BLOCK + PIECE];

/// What is looked for is kept inverted, so that it is not found in itself.
type Inverted = [u8; PIECE];

/// The pieces of a private key: of its DER, of the numbers in it as AWS-LC keeps them (the lowest byte first), and of its
/// PEM text.
struct Pieces(Vec<Inverted>);

impl Pieces {
    fn of(key: &Path, key_type: KeyType) -> Self {
        let mut file = File::open(key).unwrap();
        let size = file.metadata().unwrap().len() as usize;
        let mut pem = Zeroizing::new(vec![0; size]);
        file.read_exact(&mut pem).unwrap();
        let mut text = Zeroizing::new(Vec::with_capacity(size));
        let lines = pem.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"-"));
        lines.for_each(|line| text.extend_from_slice(line));
        let mut der = Zeroizing::new(vec![0; size]);
        let length = base64::engine::general_purpose::STANDARD.decode_slice(&*text, &mut der).unwrap();
        // Where the secret part is in the PKCS#8.
        let secret = match key_type {
            KeyType::EcP256 => 36..68,
            KeyType::EcP384 => 35..83,
            KeyType::Ed25519 => 16..48,
            // The private exponent and all behind it.
            _ => 310..length,
        };
        let mut pieces = Vec::with_capacity(4 * length);
        for piece in der[secret.clone()].chunks_exact(PIECE) {
            pieces.push(std::array::from_fn(|index| !piece[index]));
            pieces.push(std::array::from_fn(|index| !piece[PIECE - 1 - index]));
        }
        // Of the text those pieces that no line's end cuts.
        for start in (secret.start.div_ceil(48) * 48..secret.end - 12).step_by(48) {
            let piece = &text[start / 3 * 4..][..PIECE];
            pieces.push(std::array::from_fn(|index| !piece[index]));
        }
        Self(pieces)
    }

    /// How often any of them is in the memory of this process.
    fn found(&self) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut begins = vec![false; 1 << 16];
        self.0.iter().for_each(|piece| begins[two_bytes(&[!piece[0], !piece[1]])] = true);
        let is_piece = |window: &[u8]| {
            begins[two_bytes(window)]
                && self
                    .0
                    .iter()
                    .any(|piece| piece.iter().zip(window).all(|(inverted, byte)| !inverted == *byte))
        };
        // The last bytes of each block are looked at again with the next one.
        let mut block = Zeroizing::new([0; BLOCK + PIECE]);
        let mut found = 0;
        for map in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, end) = map.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            for at in (start..end).step_by(BLOCK) {
                let length = (end - at).min(block.len() as u64) as usize;
                // What another thread has given back meanwhile cannot be read.
                if memory.read_exact_at(&mut block[..length], at).is_ok()
                    && block[..length] != NOTHING[..length]
                {
                    found += block[..length].windows(PIECE).filter(|window| is_piece(window)).count();
                }
            }
        }
        found
    }
}

fn two_bytes(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn write(path: &Path, secret: &Secret) {
    tbprov::files::write_new(path, secret.expose().as_bytes(), tbprov::files::Access::Owner).unwrap();
}

#[test]
fn a_key_that_was_made_written_read_and_used_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Ed25519, KeyType::Rsa2048] {
        let path = |name: &str| folder.path().join(format!("{key_type}-{name}"));
        let (key_file, certificate_file) = (path("key.pem"), path("cert.pem"));
        let key = SoftwareKey::generate(key_type).unwrap();
        let validity = Validity::days(1);
        let wanted =
            Issue { name: "sensor", profile: &Profile::Authority, validity, key: &key, issuer: None };
        let leaf = issue(&wanted).unwrap().leaf;
        write(&key_file, &key.to_pem());
        write(&certificate_file, &Secret::new(leaf.to_pem()));
        let pieces = Pieces::of(&key_file, key_type);
        assert!(pieces.found() > 0, "{key_type}: the search finds what is there");
        drop(key);
        assert_eq!(pieces.found(), 0, "{key_type}: made");

        let identity = SoftwareIdentity::read(&certificate_file, &key_file).unwrap();
        assert!(pieces.found() > 0);
        let other = SoftwareKey::generate(KeyType::EcP256).unwrap();
        let issuer = identity.into();
        let wanted =
            Issue { name: "sensor", profile: &Profile::Device, validity, key: &other, issuer: Some(&issuer) };
        issue(&wanted).unwrap();
        drop(issuer);
        assert_eq!(pieces.found(), 0, "{key_type}: read and used");
    }
}

#[test]
fn a_provisioning_and_a_connect_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = sim::Config::new("key", Secret::new("secret"));
    let simulator = runtime.block_on(sim::Simulator::start(config, Arc::new(()))).unwrap();
    let provision = |expected| {
        let pin = vec![simulator.certificate().clone()];
        let trust = Trust::from_certificates(pin, TrustSource::File("server.pem".into()), false);
        let (host, port) = ("localhost".parse().unwrap(), simulator.address().port());
        let server = Server { host, port, trust: Arc::new(trust) };
        let prover = Prover::new(Arc::new(Dialer::new(server, Duration::from_secs(15))));
        let ledger = Folders::new(folder.path().join("devices"));
        let (interrupt, progress) = (CancellationToken::new(), Progress::silent());
        let run = Run {
            ledger: &ledger,
            prover: &prover,
            interrupt: &interrupt,
            stop_telemetry: &interrupt,
            progress: &progress,
        };
        let plan = ProvisionPlan {
            device_name: DeviceName::parse("sensor").unwrap(),
            registration: RegistrationPlan::ByRequest {
                provision_key: "key".to_owned(),
                provision_secret: Secret::new("secret"),
                gateway: false,
            },
            identity: IdentityPlan::Generate { key_type: None, days: None },
            verify_connect: true,
            answer_timeout: flow::DEFAULT_ANSWER_TIMEOUT,
            telemetry: None,
        };
        // A runtime of its own, whose threads end with it.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        assert_eq!(runtime.block_on(flow::provision(&plan, run)).unwrap().outcome, expected);
    };
    provision(Outcome::Provisioned);
    let pieces = Pieces::of(&folder.path().join("devices/sensor/key.pem"), KeyType::EcP256);
    assert_eq!(pieces.found(), 0, "after the provisioning");
    provision(Outcome::Verified);
    assert_eq!(pieces.found(), 0, "after a connect with the saved key");
}
