//! The servers of a fleet: most have one.

use std::sync::Arc;
use std::time::Duration;

use crate::dial::{Dialer, Proxy};
use crate::error::Result;
use crate::flow::Prover;
use crate::identity::CredentialsType;
use crate::ledger::Entry;
use crate::ledger::roster::Roster;
use crate::server::Server;
use crate::tls::TrustSource;

pub(super) struct Servers {
    timeout: Duration,
    proxy: Option<Proxy>,
    provers: Vec<Arc<Prover>>,
    /// The kinds of credentials that were tried at a server.
    tried: Vec<(Arc<Prover>, CredentialsType)>,
}

impl Servers {
    pub(super) const fn new(timeout: Duration, proxy: Option<Proxy>) -> Self {
        Self { timeout, proxy, provers: Vec::new(), tried: Vec::new() }
    }

    /// What proves the identity of the device: one for all devices of a server that believe it for the same reasons.
    pub(super) async fn prover(&mut self, roster: &dyn Roster, entry: &Entry) -> Result<Arc<Prover>> {
        // The system's roots are many, and the same for all.
        if !entry.record.server_pem
            && let Some(known) = self.provers.iter().find(|known| trusts_system(&known.dialer.server, entry))
        {
            return Ok(Arc::clone(known));
        }
        let (host, port) = (entry.record.host.clone(), entry.record.port);
        let server = Server { host, port, trust: Arc::new(roster.trust(entry).await?) };
        if let Some(known) = self.provers.iter().find(|known| is_same(&known.dialer.server, &server)) {
            return Ok(Arc::clone(known));
        }
        let dialer = Dialer::new(server, self.timeout).through(self.proxy.clone());
        let prover = Arc::new(Prover::new(Arc::new(dialer)));
        self.provers.push(Arc::clone(&prover));
        Ok(prover)
    }

    /// Whether this kind of credentials was not tried there yet; from now on it was.
    pub(super) fn is_new(&mut self, prover: &Arc<Prover>, kind: CredentialsType) -> bool {
        let is_known = |(known, of): &(Arc<Prover>, _)| Arc::ptr_eq(known, prover) && *of == kind;
        if self.tried.iter().any(is_known) {
            return false;
        }
        self.tried.push((Arc::clone(prover), kind));
        true
    }
}

fn trusts_system(server: &Server, entry: &Entry) -> bool {
    let record = &entry.record;
    server.is_at(&record.host, record.port)
        && server.trust.source == TrustSource::System
        && server.trust.skip_name_check == record.skip_name_check
}

/// Whether both are one server that is believed for the same reasons.
fn is_same(one: &Server, other: &Server) -> bool {
    one.is_at(&other.host, other.port)
        && one.trust.skip_name_check == other.trust.skip_name_check
        && one.trust.certificates == other.trust.certificates
}
