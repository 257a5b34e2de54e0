//! Those who may use the REST API, and what they prove themselves with: tokens, and API keys where the release has them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Result;
use crate::secret::Secret;
use crate::sim::config::Config;
use crate::sim::release::Release;
use crate::sim::state::StoredAccount;
use crate::sim::uuid::{Ids, Uuid};

/// How long a refresh token lives (`security.jwt.refreshTokenExpTime`).
const REFRESH_LIFETIME: Duration = Duration::from_secs(604_800);

/// How many tokens are known at once, refresh tokens included: the oldest make place.
const MOST_TOKENS: usize = 10_000;

/// How many API keys there may be.
const MOST_KEYS: usize = 1_000;

/// The characters of a password, and of an API key, that is made here.
const PASSWORD_LENGTH: usize = 20;
const API_KEY_LENGTH: usize = 86;

/// How ThingsBoard's tokens begin, which are JWTs: `{"alg":"HS512"}`.
const JWT_HEAD: &str = "eyJhbGciOiJIUzUxMiJ9";

/// Users that every simulator has beside the tenant's administrator.
const CUSTOMER_USER: &str = "customer@thingsboard.org";
const SYSTEM_ADMINISTRATOR: &str = "sysadmin@thingsboard.org";

/// What a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    TenantAdmin,
    CustomerUser,
    SysAdmin,
}

impl Authority {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TenantAdmin => "TENANT_ADMIN",
            Self::CustomerUser => "CUSTOMER_USER",
            Self::SysAdmin => "SYS_ADMIN",
        }
    }
}

/// A user.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: Uuid,
    pub(super) email: String,
    pub(super) authority: Authority,
    pub(super) tenant: Uuid,
    pub(super) customer: Uuid,
}

/// An API key, which proves its user.
#[derive(Debug, Clone)]
pub(super) struct ApiKey {
    pub(super) id: Uuid,
    pub(super) value: Secret,
    pub(super) user: Uuid,
    pub(super) description: Option<String>,
    pub(super) enabled: bool,
    /// Milliseconds since 1970; 0 for never.
    pub(super) expiration: i64,
}

/// A pair of tokens, as a login gives it.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) token: Secret,
    pub(super) refresh: Secret,
}

/// Why nobody is known by what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// Nothing was sent that proves anybody.
    Absent,
    Unknown,
    Expired,
    /// A refresh token in the place of a token, over which ThingsBoard fails.
    Refresh,
    /// `Basic`, which 4.3 answers with a page that is not there.
    Foreign,
}

#[derive(Debug)]
struct Token {
    user: Uuid,
    is_refresh: bool,
    end: Instant,
}

/// The users, and what is open for them.
#[derive(Debug)]
pub(in crate::sim) struct Accounts {
    users: [User; 3],
    /// The same for all users.
    password: Secret,
    first_key: Secret,
    lifetime: Duration,
    pub(super) tenant: Uuid,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    tokens: HashMap<String, Token>,
    order: VecDeque<String>,
    keys: BTreeMap<Uuid, ApiKey>,
    ids: Ids,
}

impl Accounts {
    /// The users of `config`. The password is the one that is given, else the one that was kept, else made here.
    /// Their ids follow from `seed`, which a state file keeps.
    pub(in crate::sim) fn new(config: &Config, kept: Option<&StoredAccount>, seed: Uuid) -> Result<Self> {
        let kept_password = kept.map(|kept| Secret::new(kept.password.as_str()));
        let password = config.api_password.clone().or(kept_password);
        let password = password.map_or_else(|| Secret::random(PASSWORD_LENGTH), Ok)?;
        let first_key = match kept {
            Some(kept) => Secret::new(kept.api_key.as_str()),
            None => new_key()?,
        };
        let mut open = Open::default();
        let [tenant, customer, first, second, third] = [1, 2, 3, 4, 5].map(|number| seed.relative(number));
        let user = |id, email: &str, authority, tenant, customer| User {
            id,
            email: email.to_owned(),
            authority,
            tenant,
            customer,
        };
        let users = [
            user(first, &config.api_user, Authority::TenantAdmin, tenant, Uuid::NULL),
            user(second, CUSTOMER_USER, Authority::CustomerUser, tenant, customer),
            user(third, SYSTEM_ADMINISTRATOR, Authority::SysAdmin, Uuid::NULL, Uuid::NULL),
        ];
        if config.release.has_api_keys() {
            let [administrator, ..] = &users;
            open.add_key(administrator.id, first_key.clone(), Some("tbprov sim".to_owned()), true, 0);
        }
        Ok(Self {
            users,
            password,
            first_key,
            lifetime: config.token_lifetime,
            tenant,
            open: Mutex::new(open),
        })
    }

    /// What is kept for the next run.
    pub(in crate::sim) fn stored(&self) -> StoredAccount {
        StoredAccount {
            password: self.password.expose().to_owned(),
            api_key: self.first_key.expose().to_owned(),
        }
    }

    /// The name of the tenant's administrator.
    pub(in crate::sim) fn administrator(&self) -> &str {
        let [administrator, ..] = &self.users;
        &administrator.email
    }

    pub(in crate::sim) fn password(&self) -> &Secret {
        &self.password
    }

    /// The API key that there is from the start.
    pub(in crate::sim) fn first_key(&self) -> &Secret {
        &self.first_key
    }

    pub(super) fn named(&self, email: &str) -> Option<&User> {
        self.users.iter().find(|user| user.email == email)
    }

    pub(super) fn user(&self, id: Uuid) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    pub(super) fn is_password(&self, given: &str) -> bool {
        self.password.expose() == given
    }

    /// A new pair of tokens of a user; with `expired`, the token is over from the start.
    pub(super) fn log_in(&self, user: &User, expired: bool) -> Result<Pair> {
        let (token, refresh) = (new_token()?, new_token()?);
        let now = Instant::now();
        let mut open = self.lock();
        let end = if expired { now } else { now + self.lifetime };
        open.add_token(&token, Token { user: user.id, is_refresh: false, end });
        open.add_token(&refresh, Token { user: user.id, is_refresh: true, end: now + REFRESH_LIFETIME });
        Ok(Pair { token, refresh })
    }

    /// Whose refresh token it is.
    pub(super) fn refreshed(&self, refresh: &str) -> Option<&User> {
        let open = self.lock();
        let token =
            open.tokens.get(refresh).filter(|token| token.is_refresh && token.end > Instant::now())?;
        self.user(token.user)
    }

    /// Who is known by the value of the header with the token or the key.
    pub(super) fn authorize(&self, header: Option<&str>, release: Release) -> Result<&User, Denied> {
        let header = header.ok_or(Denied::Absent)?;
        let denied = match header.split_once(' ') {
            Some(("ApiKey", key)) if release.has_api_keys() => return self.by_key(key),
            Some(("Bearer", token)) => return self.by_token(token, release),
            Some(("Basic", _)) if release.has_api_keys() => Denied::Foreign,
            _ => Denied::Unknown,
        };
        Err(denied)
    }

    fn by_key(&self, given: &str) -> Result<&User, Denied> {
        let open = self.lock();
        let now = super::answer::now();
        let is_valid = |key: &&ApiKey| {
            key.value.expose() == given && key.enabled && (key.expiration == 0 || key.expiration > now)
        };
        let key = open.keys.values().find(is_valid).ok_or(Denied::Unknown)?;
        self.user(key.user).ok_or(Denied::Unknown)
    }

    fn by_token(&self, given: &str, release: Release) -> Result<&User, Denied> {
        let open = self.lock();
        match open.tokens.get(given) {
            Some(token) if token.is_refresh => Err(Denied::Refresh),
            Some(token) if token.end > Instant::now() => self.user(token.user).ok_or(Denied::Unknown),
            Some(_) => Err(Denied::Expired),
            // What has the form of a token and a wrong signature counts as expired.
            None if given.split('.').count() == 3 && release.takes_bad_signature_for_expired() => {
                Err(Denied::Expired)
            }
            None => Err(Denied::Unknown),
        }
    }

    /// A new API key; nothing where there are too many.
    pub(super) fn add_key(
        &self,
        user: Uuid,
        description: Option<String>,
        enabled: bool,
        expiration: i64,
    ) -> Result<Option<ApiKey>> {
        let value = new_key()?;
        let mut open = self.lock();
        if open.keys.len() >= MOST_KEYS {
            return Ok(None);
        }
        Ok(Some(open.add_key(user, value, description, enabled, expiration)))
    }

    /// Whether there was such a key.
    pub(super) fn remove_key(&self, id: Uuid) -> bool {
        self.lock().keys.remove(&id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add_token(&mut self, text: &Secret, token: Token) {
        while self.order.len() >= MOST_TOKENS {
            let Some(oldest) = self.order.pop_front() else { break };
            self.tokens.remove(&oldest);
        }
        self.order.push_back(text.expose().to_owned());
        self.tokens.insert(text.expose().to_owned(), token);
    }

    fn add_key(
        &mut self,
        user: Uuid,
        value: Secret,
        description: Option<String>,
        enabled: bool,
        expiration: i64,
    ) -> ApiKey {
        let key = ApiKey { id: self.ids.next(), value, user, description, enabled, expiration };
        self.keys.insert(key.id, key.clone());
        key
    }
}

fn new_token() -> Result<Secret> {
    let (payload, signature) = (Secret::random(200)?, Secret::random(86)?);
    Ok(Secret::new(format!("{JWT_HEAD}.{}.{}", payload.expose(), signature.expose())))
}

fn new_key() -> Result<Secret> {
    Ok(Secret::new(format!("tb_{}", Secret::random(API_KEY_LENGTH)?.expose())))
}
