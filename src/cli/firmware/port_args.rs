//! The serial port of a board.

use clap::Args;

use super::super::context::Context;
use super::super::prompt::Question;
use tbprov::Result;
use tbprov::firmware::serial::{self, SerialPort};

/// Where the board is.
#[derive(Debug, Args)]
pub(super) struct PortArgs {
    /// The board's serial port, such as /dev/ttyUSB0 or COM3 [default: the one that looks like a board].
    #[arg(long, env = "TBPROV_SERIAL_PORT", value_name = "PORT")]
    port: Option<String>,
}

const WHICH: Question = Question { text: "Serial port", otherwise: "--port PORT or TBPROV_SERIAL_PORT" };

impl PortArgs {
    /// The port that was named, or the only board's; asks where there are several.
    pub(super) async fn find(&self, context: &Context) -> Result<SerialPort> {
        if let Some(path) = &self.port {
            return Ok(serial::named(path));
        }
        let boards = serial::candidates()?;
        match boards.first() {
            Some(first) if boards.len() > 1 && context.may_ask => {
                for board in &boards {
                    context.output.note(&format!("  {board}"));
                }
                WHICH.ask(context, Some(&first.path), |path| Ok(serial::named(path.trim()))).await
            }
            _ => serial::only(),
        }
    }
}
