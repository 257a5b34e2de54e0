//! The questions of a registration, in the order in which they are asked.

use crate::cli::prompt::Question;

pub(in crate::cli) const HOST: Question = Question {
    text: "ThingsBoard host",
    otherwise: "--host HOST, TBPROV_HOST, or host = \"…\" in tbprov.toml",
};
pub(super) const PORT: Question =
    Question { text: "TLS port", otherwise: "--port PORT, TBPROV_PORT, or port = … in tbprov.toml" };
pub(super) const KEY: Question = Question {
    text: "Provision key",
    otherwise: "--provision-key KEY, TBPROV_PROVISION_KEY, or provision-key = \"…\" in tbprov.toml",
};
pub(super) const SECRET: Question = Question {
    text: "Provision secret",
    otherwise: "--provision-secret-file FILE ('-' is stdin), TBPROV_PROVISION_SECRET, or provision-secret = \"…\" in tbprov.toml",
};
pub(in crate::cli) const NAME: Question = Question {
    text: "Device name (empty: the server makes one up)",
    otherwise: "--device-name NAME, TBPROV_DEVICE_NAME, or device-name = \"…\" in tbprov.toml",
};
