//! What differs between the releases of ThingsBoard, as questions that the rest of the simulator asks.

use std::fmt;
use std::str::FromStr;

/// A release of ThingsBoard whose behaviour on the wire the simulator shows.
///
/// Each stands for the releases around it that behave alike; forks behave as the release they were
/// forked from. Ordered from old to new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Release {
    /// 3.2.2: of the first releases that provision with X.509.
    V3_2,
    /// 3.3 to 3.4.4.
    V3_4,
    /// 3.5 to 3.6.4.
    V3_6,
    /// 3.7 to 3.8.1 (with 3.8's `gateway` flag).
    V3_8,
    /// 3.9 to 4.2.1.
    V4_0,
    /// 4.2.1.1 to 4.3.
    #[default]
    V4_3,
}

impl Release {
    /// Every release, from old to new.
    pub const ALL: &[Self] = &[Self::V3_2, Self::V3_4, Self::V3_6, Self::V3_8, Self::V4_0, Self::V4_3];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3_2 => "3.2",
            Self::V3_4 => "3.4",
            Self::V3_6 => "3.6",
            Self::V3_8 => "3.8",
            Self::V4_0 => "4.0",
            Self::V4_3 => "4.3",
        }
    }

    /// Whether SUBSCRIBE and UNSUBSCRIBE are answered on a provisioning connection: from 3.9 on
    /// (`MqttTransportHandler.processProvisionSessionMsg`, commit 608e646ca8).
    pub fn acknowledges_subscribe(self) -> bool {
        self >= Self::V4_0
    }

    /// Whether a client certificate that no device has is refused during TLS, with the alert
    /// certificate_unknown (46): up to 3.4.4 (`MqttSslHandlerProvider`, v3.4, `checkClientTrusted`).
    pub fn refuses_unknown_certificate_in_tls(self) -> bool {
        self <= Self::V3_4
    }

    /// Whether each certificate of a client's chain must be signed by the next, else TLS fails with the
    /// alert certificate_unknown (46): from 3.5 on (`MqttSslHandlerProvider.checkClientTrusted`).
    pub fn checks_chain_order(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether a bad provision request gets its PUBACK before the connection is closed: from 3.7 on
    /// (`MqttTransportHandler.processProvisionSessionMsg`).
    pub fn acknowledges_before_close(self) -> bool {
        self >= Self::V3_8
    }

    /// Whether a pre-provisioned device may be provisioned again: up to 4.2.1 (commit b1bffdfd58).
    pub fn repeats_pre_provisioned(self) -> bool {
        self <= Self::V4_0
    }

    /// The CONNACK code for a client with neither certificate nor user name: 2 (identifier rejected)
    /// from 3.5 on, 5 (not authorized) before (`ReturnCodeResolver`).
    pub fn no_identity_code(self) -> u8 {
        if self >= Self::V3_6 { 2 } else { 5 }
    }

    /// Whether TLS sessions may be resumed: from 3.3 on, where connections share one `SSLContext`.
    /// A resumed session keeps the client certificate (or the lack of one) of the original session.
    pub fn resumes_tls_sessions(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether a device profile may have the strategy `X509_CERTIFICATE_CHAIN`: from 3.5 on.
    pub fn has_chain_strategy(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether another certificate for a device ends the session that it has: from 3.7 on, when the data layer tells
    /// of new credentials (`EntityStateSourcingListener`). Before, the session lives until the device's next CONNECT.
    pub fn ends_sessions_of_replaced_certificates(self) -> bool {
        self >= Self::V3_8
    }

    /// Whether the request's `gateway` flag is read: from 3.8 on (`JsonConverter`).
    pub fn reads_gateway_flag(self) -> bool {
        self >= Self::V3_8
    }

    /// Whether numbers without a point that have more than 64 bits, or an exponent, close the connection: 3.2 alone
    /// (`JsonConverter.buildNumericKeyValueProto`). Later releases store them.
    pub fn refuses_big_integers(self) -> bool {
        self == Self::V3_2
    }

    /// Whether the short topics (`v2/…`) are known, those for Protobuf among them: from 3.3 on.
    pub fn has_short_topics(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether a device may ask for its limits: from 3.8 on (`getSessionLimits`).
    pub fn tells_session_limits(self) -> bool {
        self >= Self::V3_8
    }

    /// Whether a limit that is not set is told as null: from 4.2 on. Before, it is an empty text.
    pub fn tells_no_limit_as_null(self) -> bool {
        self >= Self::V4_3
    }

    /// Whether control characters in tokens and basic credentials are refused: from 4.3.1.3 on
    /// (`DeviceCredentialsDataValidator`). NUL always is, by the database.
    pub fn refuses_control_characters(self) -> bool {
        self >= Self::V4_3
    }

    /// Whether flags of a packet that has none must be zero: from 3.3 on (netty's `MqttDecoder`). Before, they are not
    /// looked at.
    pub fn checks_unused_flags(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether what a client sends before CONNACK waits: from 3.3 on. Before, it closes the connection.
    pub fn queues_early_packets(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether a request that the core does not answer gets its PUBACK before the connection is closed: from 3.5 on
    /// (`DeviceProvisionCallback.onError`).
    pub fn acknowledges_unanswered(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether JSON that lies too deep for the parser counts as a bad request, and not as no JSON: from 3.7 to 4.2
    /// (Gson's `JsonParseException`; later versions of Gson have a limit).
    pub fn takes_deep_json_for_a_bad_request(self) -> bool {
        matches!(self, Self::V3_8 | Self::V4_0)
    }

    /// Whether `LWM2M_CREDENTIALS` is a type that a request may name: from 3.3 on.
    pub fn knows_lwm2m(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether a device's name is checked for markup and for its length: from 3.3 on. Before, the database alone
    /// refuses what is too long, and the request is never answered.
    pub fn checks_names(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether `{{…}}` in a device's name counts as markup: from 4.2.1.1 on.
    pub fn refuses_templates(self) -> bool {
        self >= Self::V4_3
    }

    /// Whether a certificate with NUL is refused: from 3.3 on. Before, such a request is never answered.
    pub fn answers_hash_with_nul(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether a password with a client id needs a user name: from 3.3 on (`DeviceCredentialsServiceImpl`).
    pub fn wants_user_with_password(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether basic credentials of a client id alone log in with any user name: 3.2 alone
    /// (`DefaultTransportApiService.validateCredentials`).
    pub fn ignores_user_of_client_only(self) -> bool {
        self == Self::V3_2
    }

    /// Whether `<`, `>`, `&`, `=` and `'` are escaped in an answer: 3.2 alone (Gson's HTML-safe writer).
    pub fn escapes_html(self) -> bool {
        self == Self::V3_2
    }

    /// Whether a device may subscribe to the topic of provision answers: up to 3.8.1.
    pub fn grants_provision_topic_to_devices(self) -> bool {
        self <= Self::V3_8
    }

    /// The newest version of those that it stands for, as `GET /api/system/info` tells it.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V3_2 => "3.2.2",
            Self::V3_4 => "3.4.4",
            Self::V3_6 => "3.6.4",
            Self::V3_8 => "3.8.1",
            Self::V4_0 => "4.0.2",
            Self::V4_3 => "4.3.1.3",
        }
    }

    /// Whether the REST API has `GET /api/system/info`: from 3.3 on.
    pub fn tells_its_version(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether the REST API takes tokens in `Authorization` too, and not in `X-Authorization` alone: from 3.3 on
    /// (`JwtTokenAuthenticationProcessingFilter`).
    pub fn takes_authorization_header(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether there are API keys: from 4.3 on (`ApiKeyController`).
    pub fn has_api_keys(self) -> bool {
        self >= Self::V4_3
    }

    /// Whether a token with a wrong signature counts as expired (401/11): from 3.3 on. Before, it is unknown (401/10).
    pub fn takes_bad_signature_for_expired(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether a pair of tokens has the member `scope`, null: from 3.3 to 3.6.4 (`JwtPair`).
    pub fn shows_scope_of_tokens(self) -> bool {
        matches!(self, Self::V3_4 | Self::V3_6)
    }

    /// Whether entities have a `version`, by which a change of somebody else is noticed (409/35): from 3.8 on
    /// (`HasVersion`).
    pub fn counts_versions(self) -> bool {
        self >= Self::V3_8
    }

    /// Whether the time in an error of the REST API is text: up to 3.4.4. Later it is a number.
    pub fn writes_times_as_text(self) -> bool {
        self <= Self::V3_4
    }

    /// Whether bodies that cannot be read, and other methods than a path has, get Spring's own form of an error, with
    /// an empty `message`: 3.2 alone. Later, ThingsBoard's form (`ThingsboardErrorResponseHandler`).
    pub fn shows_errors_of_spring(self) -> bool {
        self == Self::V3_2
    }

    /// Whether a path that is not there gets ThingsBoard's form of an error: from 3.5 on. Before, Spring's.
    pub fn codes_unknown_paths(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether the texts and paths are those of Spring 6: from 3.7 on. A slash at the end of a path then counts.
    pub fn speaks_spring_6(self) -> bool {
        self >= Self::V3_8
    }

    /// Whether a controller is chosen by the path alone, and not by the parameters there are: from 4.3 on.
    pub fn maps_by_path_alone(self) -> bool {
        self >= Self::V4_3
    }

    /// Whether 404 names the entity and its id: from 3.3 on (`BaseController.checkNotNull`).
    pub fn names_what_is_not_found(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether a body without a member that must be there is told so: from 3.5 on (`ConstraintValidator`).
    pub fn checks_missing_members(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether NUL in a device's name is refused before the database does it: from 3.5 on.
    pub fn refuses_nul_in_names(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether there is `POST /api/device-with-credentials`: from 3.3 on.
    pub fn makes_devices_with_credentials(self) -> bool {
        self >= Self::V3_4
    }

    /// Whether that call, with a name that is taken, gives the device of this name the credentials: 3.3 to 3.4.4.
    pub fn reuses_devices_of_the_name(self) -> bool {
        self == Self::V3_4
    }

    /// Whether there is `GET /api/deviceProfile/names`: from 3.5 on.
    pub fn lists_profile_names(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether there is `GET /api/device-connectivity/mqtts/certificate/download`: from 3.5 on.
    pub fn gives_certificate(self) -> bool {
        self >= Self::V3_6
    }

    /// Whether saving the credentials that a device has already closes its session: up to 4.2.1.
    pub fn ends_sessions_of_the_same_credentials(self) -> bool {
        self <= Self::V4_0
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|release| release.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|release| release.as_str()).collect();
            format!("unknown release '{text}': one of {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_parsing() {
        for release in Release::ALL {
            assert_eq!(release.to_string().parse::<Release>().unwrap(), *release);
        }
        assert!("4.4".parse::<Release>().unwrap_err().contains("3.2, 3.4, 3.6, 3.8, 4.0, 4.3"));
    }

    /// One row a release, in the order of the questions above.
    #[test]
    fn the_matrix_is_that_of_the_releases() {
        let row = |release: Release| {
            [
                release.acknowledges_subscribe(),
                release.refuses_unknown_certificate_in_tls(),
                release.checks_chain_order(),
                release.acknowledges_before_close(),
                release.repeats_pre_provisioned(),
                release.no_identity_code() == 2,
                release.resumes_tls_sessions(),
                release.has_chain_strategy(),
                release.ends_sessions_of_replaced_certificates(),
                release.reads_gateway_flag(),
                release.refuses_big_integers(),
                release.has_short_topics(),
                release.tells_session_limits(),
                release.tells_no_limit_as_null(),
                release.refuses_control_characters(),
                release.checks_unused_flags(),
                release.queues_early_packets(),
                release.acknowledges_unanswered(),
                release.takes_deep_json_for_a_bad_request(),
                release.knows_lwm2m(),
                release.checks_names(),
                release.refuses_templates(),
                release.answers_hash_with_nul(),
                release.wants_user_with_password(),
                release.ignores_user_of_client_only(),
                release.escapes_html(),
                release.grants_provision_topic_to_devices(),
                release.tells_its_version(),
                release.takes_authorization_header(),
                release.has_api_keys(),
                release.takes_bad_signature_for_expired(),
                release.shows_scope_of_tokens(),
                release.counts_versions(),
                release.writes_times_as_text(),
                release.shows_errors_of_spring(),
                release.codes_unknown_paths(),
                release.speaks_spring_6(),
                release.maps_by_path_alone(),
                release.names_what_is_not_found(),
                release.checks_missing_members(),
                release.refuses_nul_in_names(),
                release.makes_devices_with_credentials(),
                release.reuses_devices_of_the_name(),
                release.lists_profile_names(),
                release.gives_certificate(),
                release.ends_sessions_of_the_same_credentials(),
            ]
            .map(|answer| if answer { '1' } else { '.' })
            .into_iter()
            .collect::<String>()
        };
        assert_eq!(row(Release::V3_2), ".1..1.....1.............111......11..........1");
        assert_eq!(row(Release::V3_4), ".1..1.1....1...11..11.11..111.11.1....1..11..1");
        assert_eq!(row(Release::V3_6), "..1.1111...1...111.11.11..111.11...1..1111.111");
        assert_eq!(row(Release::V3_8), "..11111111.11..111111.11..111.1.1..11.1111.111");
        assert_eq!(row(Release::V4_0), "1.11111111.11..111111.11...11.1.1..11.1111.111");
        assert_eq!(row(Release::V4_3), "1.11.11111.1111111.11111...1111.1..1111111.11.");
    }
}
