//! The names of devices and device profiles, as the REST API checks them.

use tbprov_contract::identity::{LONGEST_NAME, name_length};

use super::answer::Refusal;
use crate::sim::provisioning::has_markup;
use crate::sim::release::Release;

/// What the database says to what it does not take.
const DATABASE: &str = "could not execute statement; SQL [n/a]; nested exception is \
    org.hibernate.exception.DataException: could not execute statement";

/// Fails where `name` is none; `what` has it (`@Length`, `@NoXss`, `DataValidator.validateString`).
pub(super) fn check_name<'a>(
    name: Option<&'a str>,
    what: &str,
    release: Release,
) -> Result<&'a str, Refusal> {
    let name = name.unwrap_or_default();
    if release.checks_names() {
        if name_length(name) > LONGEST_NAME {
            let why = format!("Validation error: name length must be equal or less than {LONGEST_NAME}");
            return Err(Refusal::bad(why));
        }
        if has_markup(name, release) {
            return Err(Refusal::bad("Validation error: name is malformed"));
        }
    }
    if name.trim().is_empty() {
        return Err(Refusal::bad(format!("{what} name should be specified!")));
    }
    if name.contains('\0') && release.refuses_nul_in_names() {
        return Err(Refusal::bad(format!("{what} name should not contain 0x00 symbol!")));
    }
    if name.contains('\0') || name.chars().count() > LONGEST_NAME {
        return Err(Refusal::failed(DATABASE));
    }
    Ok(name)
}
