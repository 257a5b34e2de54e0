//! What `tbprov doctor` says about the firmware. None of it is needed by who has no board, so nothing that is missing is
//! a failure.

use std::path::PathBuf;

use tbprov::doctor::{self, Check};
use tbprov::firmware::health::{self, Finding, Named, Subject, Usable};

use crate::cli::advice;

/// Every check, in order. Sources count only where the environment names them: a configuration file in the current
/// folder is the folder's word, which a look at it must not obey.
pub(in crate::cli) async fn checks() -> Vec<Check> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let named = Named { sources: variable("TBPROV_FIRMWARE_DIR"), qemu: variable("TBPROV_QEMU") };
    match health::look(named).await {
        Ok(findings) => findings.into_iter().map(check).collect(),
        Err(error) => vec![Check { name: "toolchain", finding: doctor::Finding::Failed(error) }],
    }
}

fn check(found: Finding) -> Check {
    let name = match found.subject {
        Subject::Toolchain => "toolchain",
        Subject::Emulator => "emulator",
        Subject::Port => "port",
    };
    let text = match &found.error {
        Some(error) => format!("{}; {}", found.detail, advice::help(error)),
        None => found.detail,
    };
    let finding = match found.usable {
        Usable::Yes => doctor::Finding::Passed(text),
        Usable::Doubtful => doctor::Finding::Warning(text),
        Usable::Missing => doctor::Finding::Absent(text),
    };
    Check { name, finding }
}
