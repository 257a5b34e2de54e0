//! The devices that a simulator has from the start.

use std::collections::HashSet;

use clap::Args;

use super::super::secret_file::clap_secret;
use tbprov::device::DeviceName;
use tbprov::identity::BasicCredentials;
use tbprov::sim::{HeldCredentials, PreProvisioned};
use tbprov::{Error, ErrorCode, Result, Secret};

/// The flags that name them. What holds a secret is read here and not by clap, which would show it in its error.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// A device that exists from the start (with a random token); may be given several times.
    #[arg(long = "device", value_name = "NAME")]
    with_any_token: Vec<String>,
    /// The same with this token. The name ends at the first '='.
    #[arg(long = "device-token", value_name = "NAME=TOKEN", value_parser = clap_secret)]
    with_token: Vec<Secret>,
    /// The same with this user name and password. The name ends at the first '=', the user name at the first ':'.
    #[arg(long = "device-basic", value_name = "NAME=USER:PASSWORD", value_parser = clap_secret)]
    with_basic: Vec<Secret>,
}

impl DevicesArgs {
    /// The devices, in the order of the flags above.
    ///
    /// # Errors
    /// `usage/invalid-value`, `usage/conflict` for a name that is given twice.
    pub(super) fn devices(self) -> Result<Vec<PreProvisioned>> {
        let any = self.with_any_token.iter().map(|name| name_in("--device", name).map(PreProvisioned::new));
        let token = self.with_token.iter().map(with_token);
        let basic = self.with_basic.iter().map(with_basic);
        let devices = any.chain(token).chain(basic).collect::<Result<Vec<_>>>()?;
        let mut names = HashSet::new();
        match devices.iter().find(|device| !names.insert(device.name.as_str())) {
            Some(twice) => {
                let message = format!("the device '{}' is given twice", twice.name);
                Err(Error::new(ErrorCode::UsageConflict, message))
            }
            None => Ok(devices),
        }
    }
}

fn with_token(given: &Secret) -> Result<PreProvisioned> {
    let wanted = "--device-token needs NAME=TOKEN";
    let (name, token) = named("--device-token", given, wanted)?;
    Ok(PreProvisioned::new(name).with(HeldCredentials::Token(Secret::new(token))))
}

fn with_basic(given: &Secret) -> Result<PreProvisioned> {
    let wanted = "--device-basic needs NAME=USER:PASSWORD";
    let (name, credentials) = named("--device-basic", given, wanted)?;
    let (user_name, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    if user_name.is_empty() || password.is_empty() {
        return Err(invalid(wanted));
    }
    Ok(PreProvisioned::new(name).with(HeldCredentials::Basic(BasicCredentials {
        client_id: String::new(),
        user_name: user_name.to_owned(),
        password: Secret::new(password),
    })))
}

/// The name, and what stands behind the first `=`; no message shows the latter.
fn named<'a>(flag: &str, given: &'a Secret, wanted: &str) -> Result<(String, &'a str)> {
    let (name, credentials) = given.expose().split_once('=').ok_or_else(|| invalid(wanted))?;
    let name = name_in(flag, name)?;
    if credentials.is_empty() {
        return Err(invalid(wanted));
    }
    if credentials.chars().any(char::is_control) {
        return Err(invalid(&format!("{flag}: the credentials of '{name}' hold a control character")));
    }
    Ok((name, credentials))
}

fn name_in(flag: &str, name: &str) -> Result<String> {
    let name = DeviceName::parse(name)?.ok_or_else(|| invalid(&format!("{flag}: the name is empty")))?;
    Ok(name.as_str().to_owned())
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorCode::UsageInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(token: &[&str], basic: &[&str]) -> Result<Vec<PreProvisioned>> {
        let secrets = |texts: &[&str]| texts.iter().map(|text| Secret::new(*text)).collect();
        DevicesArgs { with_any_token: Vec::new(), with_token: secrets(token), with_basic: secrets(basic) }
            .devices()
    }

    #[test]
    fn the_name_ends_at_the_first_sign() {
        let token = read(&["a=b=c=="], &[]).unwrap().remove(0);
        assert_eq!(
            (token.name.as_str(), token.credentials),
            ("a", Some(HeldCredentials::Token(Secret::new("b=c=="))))
        );
        let basic = read(&[], &["a=u:p:=q"]).unwrap().remove(0);
        let Some(HeldCredentials::Basic(held)) = basic.credentials else { panic!("{basic:?}") };
        assert_eq!((held.user_name.as_str(), held.password.expose()), ("u", "p:=q"));
    }

    #[test]
    fn what_is_not_complete_is_refused_and_not_shown() {
        for (token, basic) in [
            (&["hunter2"][..], &[][..]),
            (&["=hunter2"], &[]),
            (&["a="], &[]),
            (&["a=hunter2\n"], &[]),
            (&[], &["hunter2"]),
            (&[], &["a=hunter2"]),
            (&[], &["a=:hunter2"]),
            (&[], &["a=hunter2:"]),
            (&["a=hunter2"], &["a=u:hunter2"]),
        ] {
            let error = read(token, basic).unwrap_err();
            assert!(!error.message.contains("hunter2"), "{}", error.message);
        }
    }
}
