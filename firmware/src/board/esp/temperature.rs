//! The chip's own temperature sensor as a source of readings.

use alloc::string::String;

use esp_hal::peripherals::TSENS;
use esp_hal::tsens::{Config, TemperatureSensor};
use tbprov_contract::telemetry;
use tbprov_firmware_app::Readings;

/// The temperature inside the chip, which is some degrees above that of the room. Not calibrated.
pub(super) struct ChipTemperature(Option<TemperatureSensor<'static>>);

impl ChipTemperature {
    pub(super) fn new(sensor: TSENS<'static>) -> Self {
        Self(TemperatureSensor::new(sensor, Config::default()).ok())
    }
}

impl Readings for ChipTemperature {
    async fn read(&mut self) -> Option<String> {
        let celsius = self.0.as_ref()?.get_temperature().to_celsius();
        // A step of the sensor is 0.44 degrees: more digits would say more than it knows.
        let tenths = (celsius * 10.0) as i32;
        Some(telemetry::reading(tenths as f32 / 10.0, f32::NAN))
    }
}
