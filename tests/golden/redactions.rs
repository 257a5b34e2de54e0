//! What differs from run to run, and the name that a snapshot has for it.

use std::path::Path;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// `(the pattern, what stands for it)`, in the order in which they are replaced.
const PATTERNS: &[(&str, &str)] = &[
    // What is on this machine.
    (r#"(\{"check":"port"[^}]*\},?)+"#, r#"{"check":"port","of":"[THIS MACHINE]"}"#),
    (r"localhost is [^\n\x22]*", "localhost is [ITS ADDRESSES]"),
    (r"(?m)(^[✓!✗-] port +.*\n?)+", "[PORTS OF THIS MACHINE]\n"),
    (r"(failed to lookup address information|nodename nor servname)[^\n\x22]*", "[THE RESOLVER'S WORDS]"),
    (r"run: (rustup|sudo|apt|brew|cargo)[^\n\x22]*", "run: [WHAT INSTALLS IT ON THIS MACHINE]"),
    (r"\(os error \d+\)", "(os error [N])"),
    (r"tbprov\.exe", "tbprov"),
    // Numbers that the system gives.
    (r"(localhost|127\.0\.0\.1|\[::1\]):\d{4,5}\b", "$1:[PORT]"),
    (r#""port":( ?)\d{5}\b"#, r#""port":$1"[PORT]""#),
    (r"(?m)^(  port +)\d{5}$", "$1[PORT]"),
    (r"--port \d{5}\b", "--port [PORT]"),
    (r"\(process \d+\)", "(process [PID])"),
    (r#""process":( ?)\d+"#, r#""process":$1"[PID]""#),
    // Times.
    (r"it was so on \d{4}-\d\d-\d\d at \d\d:\d\d UTC", "it was so on [TIME]"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?( UTC)?", "[TIME]"),
    (r"(\d{4}-\d\d-\d\d) +-?\d+ ", "$1 [DAYS] "),
    (r"\d{4}-\d\d-\d\d", "[DATE]"),
    (r#""days_left":( ?)-?\d+"#, r#""days_left":$1"[DAYS]""#),
    (r"\((\d+ days? left|it has ended|less than a day left)\)", "([DAYS] left)"),
    (r#"("ts":)\d{13}\b"#, r#"$1"[TIME]""#),
    (r#"(\\"ts\\":)\d{13}\b"#, "$1[TIME]"),
    (r#""(key|exchange|verify|delay_ms|held_back_ms)":\d+(\.\d+)?"#, r#""$1":"[MS]""#),
    (r#""(min|median|max)":\d+"#, r#""$1":"[MS]""#),
    (r"sent \(\d+ to \d+ ms\)", "sent"),
    (r"\b\d+(\.\d+)? ?ms\b", "[MS] ms"),
    (r"held back \(\d+\.\d s in all\)", "held back ([S] s in all)"),
    (r"connecting again in \d+(\.\d+)? s", "connecting again in [S] s"),
    (r"a packet of \d+ bytes", "a packet of [N] bytes"),
    // Keys, certificates and what is computed from them.
    (r"(?s)(-----BEGIN [A-Z ]+-----).*?(-----END [A-Z ]+-----)", "$1[PEM]$2"),
    (r"\b([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}\b", "[FINGERPRINT]"),
    (r"\b[0-9a-f]{64}\b", "[HASH]"),
    (r"unnamed-[0-9a-f]{12}", "unnamed-[HASH]"),
    (r#"("(?:identity_)?name":( ?))"[0-9a-f]{12}""#, r#"$1"[HASH]""#),
    (r"(?m)^((?:candidate|previous) +)[0-9a-f]{12} ", "$1[HASH] "),
    (r#"("serial":")[0-9A-Fa-f:]+"#, "$1[SERIAL]"),
    (r"(?m)^( *serial +)[0-9A-Fa-f:]+", "$1[SERIAL]"),
    // What is made up.
    (r"demo-[a-z0-9]{6}\b", "demo-[RANDOM]"),
    (r#"("provision_(?:key|secret)": ?")[A-Za-z0-9]{20}""#, "$1[RANDOM]\""),
    (r"(?m)^(provision (?:key|secret) +)[A-Za-z0-9]{20}$", "$1[RANDOM]"),
    (r"(TBPROV_PROVISION_SECRET=|--provision-key=)[A-Za-z0-9]{20}\b", "$1[RANDOM]"),
];

/// `text` as it is for everybody, where it was said in the folder `root`.
pub(crate) fn redact(text: &str, root: &Path) -> String {
    static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        PATTERNS.iter().map(|(pattern, name)| (Regex::new(pattern).unwrap(), *name)).collect()
    });
    let text = in_any_folder(text, root);
    COMPILED.iter().fold(text, |text, (pattern, name)| pattern.replace_all(&text, *name).into_owned())
}

/// A temporary folder has two names on macOS.
fn in_any_folder(text: &str, root: &Path) -> String {
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    [real.as_path(), root].iter().fold(text.to_owned(), |text, folder| {
        let folder = Regex::new(&regex::escape(folder.to_str().unwrap().trim_end_matches('/'))).unwrap();
        folder.replace_all(&text, |_: &Captures<'_>| "[FOLDER]".to_owned()).into_owned()
    })
}
