//! ThingsBoard's REST API, as far as provisioning and its tools need it: accounts, device profiles, devices, their
//! credentials, and what devices have sent. One port speaks both TLS and plain HTTP.
//!
//! What is answered, release by release, is what 3.2.2, 3.4.4, 3.6.4, 3.8.1, 4.0.2 and 4.3.1.3 answered to the same
//! calls: status, `errorCode` and members. The controllers are named where a fact is used.

mod accounts;
mod answer;
mod connection;
mod credentials;
mod devices;
mod login;
mod names;
mod profiles;
mod request;
mod routes;
mod serve;
mod telemetry;

pub(super) use self::accounts::Accounts;
pub(super) use self::connection::serve_rest;
