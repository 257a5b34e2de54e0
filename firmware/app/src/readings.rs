//! What is measured.

use alloc::string::String;

use tbprov_contract::telemetry;

/// A source of readings: a sensor, or something that stands in for one.
#[allow(async_fn_in_trait)] // Nothing here runs on more than one thread.
pub trait Readings {
    /// The next reading, as the JSON object that ThingsBoard shall store. One that cannot be taken is `None`: the
    /// application says so and tries again at the next interval.
    async fn read(&mut self) -> Option<String>;
}

/// The sample values of the example firmware: temperature 25, 25.5, 26 ... and humidity 26, 27, 28 ...
#[derive(Debug, Default)]
pub struct Samples {
    taken: u64,
}

impl Readings for Samples {
    async fn read(&mut self) -> Option<String> {
        let sample = telemetry::sample(self.taken);
        self.taken += 1;
        Some(sample)
    }
}
