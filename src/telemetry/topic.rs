//! What a topic means to ThingsBoard (`MqttTopics`).

/// Topics of a device's readings: the long one, and its short forms.
const TELEMETRY: [&str; 3] = [super::TELEMETRY_TOPIC, "v2/t", "v2/t/j"];

/// How ThingsBoard's own topics begin. A device profile may name others for telemetry and attributes.
const OWN: [&str; 3] = ["v1/", "v2/", "/provision/"];

/// Whether messages on `topic` are readings.
pub fn is_telemetry(topic: &str) -> bool {
    TELEMETRY.contains(&topic) || !is_own(topic)
}

/// Whether it is a topic of ThingsBoard itself, and not one that a device profile made up.
pub(super) fn is_own(topic: &str) -> bool {
    OWN.iter().any(|own| topic.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_go_to_their_topic_or_to_one_of_a_profile() {
        for topic in ["v1/devices/me/telemetry", "v2/t", "v2/t/j", "sensors/1", "v1", "V1/x"] {
            assert!(is_telemetry(topic), "{topic}");
        }
        for topic in ["v1/devices/me/attributes", "v1/gateway/telemetry", "v2/a", "v2/t/p", "/provision/x"] {
            assert!(!is_telemetry(topic) && is_own(topic), "{topic}");
        }
        assert!(is_own("v2/t") && !is_own("sensors/1"));
    }
}
