//! The readings that are sent by default, by `tbprov connect` and by the firmware.

use alloc::format;
use alloc::string::String;

/// ThingsBoard's topic for a device's readings (ThingsBoard, "MQTT Device API": Telemetry upload API).
pub const TOPIC: &str = "v1/devices/me/telemetry";

/// The sample reading number `index`, as JSON: temperature 25, 25.5, 26 ... and humidity 26, 27, 28 ..., from the
/// beginning again after a hundred.
pub fn sample(index: u64) -> String {
    let step = u32::try_from(index % 100).unwrap_or_default();
    reading(25.0 + 0.5 * step as f32, (26 + step) as f32)
}

/// A reading of temperature, in degrees Celsius, and relative humidity, in percent, as JSON. A value that is not
/// a number, which JSON does not know, is left out.
pub fn reading(temperature: f32, humidity: f32) -> String {
    let fields = [("temperature", temperature), ("humidity", humidity)];
    let fields = fields.iter().filter(|(_, value)| value.is_finite());
    let mut json = String::from("{");
    for (index, (name, value)) in fields.enumerate() {
        let separator = if index == 0 { "" } else { "," };
        json.push_str(&format!(r#"{separator}"{name}":{value}"#));
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_the_example_firmware() {
        assert_eq!(sample(0), r#"{"temperature":25,"humidity":26}"#);
        assert_eq!(sample(1), r#"{"temperature":25.5,"humidity":27}"#);
        assert_eq!(sample(100), sample(0));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        assert_eq!(reading(f32::NAN, 40.5), r#"{"humidity":40.5}"#);
        assert_eq!(reading(f32::NAN, f32::INFINITY), "{}");
    }
}
