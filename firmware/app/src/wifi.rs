//! What a radio's reasons mean for an identity.

/// Why no access point of the network's name has a security that suits the identity: what the radio calls 'no access
/// point found with compatible security' has another cause with a password than without.
pub const fn unsuited(has_password: bool) -> &'static str {
    if has_password {
        "the network's security does not fit the identity's password: the network is open, or WPA3 only"
    } else {
        "the network wants a password, and the identity has none"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_security_that_does_not_fit_is_told_by_what_the_identity_has() {
        assert!(unsuited(false).contains("the identity has none"));
        let with = unsuited(true);
        assert!(with.contains("open") && with.contains("WPA3 only") && !with.contains("has none"));
    }
}
