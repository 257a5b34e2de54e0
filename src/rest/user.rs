//! Who the account is, and what the server is.

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::failure;
use crate::error::{Hint, Result};
use crate::event::Progress;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Authority {
    /// Administers tenants, and no device.
    SysAdmin,
    /// Administers the devices and device profiles of a tenant.
    TenantAdmin,
    /// Sees the devices that are assigned to a customer.
    CustomerUser,
    /// Something that a fork has.
    #[serde(other)]
    Other,
}

impl Authority {
    /// Whether device profiles can be made, and credentials of devices be read and changed.
    pub const fn administers_devices(self) -> bool {
        matches!(self, Self::TenantAdmin)
    }
}

/// A user (`GET /api/auth/user`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// The user's name for logins.
    pub email: String,
    /// What the user may do.
    pub authority: Authority,
}

/// What the server is (`GET /api/system/info`, from 3.3 on).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Release {
    /// Such as `4.3.1.3`.
    pub version: String,
    /// The product, where it says so: `CE` or `PE`.
    #[serde(default, rename = "type")]
    pub edition: Option<String>,
}

impl Account {
    /// Who the account is.
    ///
    /// # Errors
    /// Those of the network and of TLS, and the `rest/…` codes.
    pub async fn user(&self, progress: &Progress) -> Result<User> {
        // Every release has it.
        self.find("/api/auth/user", progress)
            .await?
            .ok_or_else(|| failure::not_thingsboard(self.url(), "there is no user").hint(Hint::ApiUrlForm))
    }

    /// The server's release, where it tells it.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub async fn release(&self, progress: &Progress) -> Result<Option<Release>> {
        self.find("/api/system/info", progress).await
    }
}
