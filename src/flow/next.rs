//! The state machine: what a run does next, from what it knows. Pure, and the only place that knows the order.
//!
//! `?` is a connect with the device's own identity. If no answer of this run vouches for (confirms) the device, the
//! server must first refuse a throw-away identity.
//!
//! | state | registration | what was just learnt | becomes | next |
//! |---|---|---|---|---|
//! | staged | by request | the run begins, tbprov made the pair | | ask (`sent` before the request leaves) |
//! | staged | by request | the run begins, the pair was given | | ? |
//! | staged | by request | ? refused | | ask |
//! | staged | by request | ? accepted | | fail: it is a device's already |
//! | staged | at connect | the run begins | sent | ? |
//! | sent | by request | SUCCESS with these credentials | accepted | ?, or done: provisioned |
//! | sent | by request | SUCCESS with a token or basic credentials of the device's own | | keep them as the candidate |
//! | sent | by request | NOT_FOUND, or another certificate | staged | fail |
//! | sent | by request | FAILURE, or no readable answer | | ?, or fail where no proof is wanted |
//! | sent | any | the run begins | | ? |
//! | sent | by request | ? refused, nothing was asked in this run | | ask |
//! | sent | by request | ? refused after FAILURE | staged | fail: FAILURE |
//! | sent | by request | ? refused after a lost answer | | fail: the loss |
//! | sent | at connect | ? refused | staged | fail |
//! | sent | any | ? accepted | proved | done: recovered; provisioned where the connect itself registers |
//! | accepted, proved | any | the run begins | | ?, or done where no proof is wanted |
//! | accepted | any | ? accepted | proved | done: provisioned after SUCCESS in this run, else recovered |
//! | proved | any | ? accepted | | done: verified |
//! | accepted, proved | any | ? refused | | fail: the server does not know it |
//! | any | by request | the request never left | | fail |
//! | any | any | ? unclear | | fail; after FAILURE or a loss with that |
//! | any | any | ? not asked for, anonymous | | fail; after FAILURE with that |
//!
//! A candidate is an identity that will replace the current one. It goes through the same states, and is promoted where
//! the first identity would be done. It is never tried before the server was told of it.
//!
//! Credentials that the server gave a device that it had before (`CHECK_PRE_PROVISIONED_DEVICES`) are such a candidate,
//! `accepted` from the beginning. They go the way of the table above.
//!
//! The candidate of a rotation goes the way of this table. 'Ask' looks first at what the server has, with an account,
//! and tells it of the candidate if that is the current identity (`sent` before that).
//!
//! | state | switch | what was just learnt | becomes | next |
//! |---|---|---|---|---|
//! | staged, sent, accepted | account | the run begins | | ask |
//! | staged | at connect | the run begins | sent | ?, which registers |
//! | staged | by hand | the run begins | sent | show the certificate |
//! | sent, accepted | at connect, by hand | the run begins | | ? |
//! | proved | any | the run begins | | promote |
//! | any | account | the server could not be looked at | | fail |
//! | any | account | it has the candidate | accepted | ? |
//! | any | account | it refused the candidate, or has neither of the two | staged | fail |
//! | sent | account | it is unknown what it has | | ? |
//! | sent | by hand | the certificate was shown, or ? refused or unclear | | wait, then ? |
//! | sent, accepted | any | ? accepted | proved | promote |
//! | accepted | account | ? not accepted | | put the current identity back on the server |
//! | accepted | account | that is done and proved | staged | fail |
//! | accepted | account | that failed too | | fail: both failures |
//! | sent | account | ? not accepted | | fail with what made it unknown |
//! | sent, accepted | at connect | ? refused | staged | fail |
//! | sent, accepted | at connect | ? unclear | | fail |
//! | sent, accepted | at connect, by hand | ? not asked for, anonymous | | fail |
//!
//! With 'at connect' the connect itself is the switch: ThingsBoard's chain strategy uses the certificate that connected
//! last. So once the candidate is `sent`, nothing here tries the old identity, not even to find out.

use crate::device::State;

/// How the server learns of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// By a provision request, or an administrator's call.
    ByRequest,
    /// By the connect itself: ThingsBoard's X.509 certificate chain strategy.
    AtConnect,
}

/// How the server learns of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// It knows: the candidate is what the server gave.
    Given,
    /// An account tells it.
    Account,
    /// By the connect itself: ThingsBoard's X.509 certificate chain strategy.
    AtConnect,
    /// Somebody pastes the certificate in its web form.
    ByHand,
}

/// What does not change during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// How the server learns of the device.
    pub registration: Registration,
    /// Whether the key and the certificate came from elsewhere, and so may be known to the server.
    pub given: bool,
    /// Whether a connect shall prove the identity.
    pub prove: bool,
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The identity's state.
    pub state: State,
    /// The answer to this run's request.
    pub answer: Option<Answered>,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It never left.
    NotSent,
    /// SUCCESS, with exactly these credentials.
    Success,
    /// NOT_FOUND: no profile has this key and secret, so nothing was made.
    NotFound,
    /// FAILURE, which is also what the server says when an earlier request made the device.
    Failure,
    /// SUCCESS with another device's certificate: what the server has is known, and it is not this identity.
    OtherCredentials,
    /// SUCCESS with a token or basic credentials that the device had at the server before it was asked for.
    PreProvisioned,
    /// No answer, or none that can be read.
    Lost,
}

/// What came of a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connected {
    /// The server asked for the certificate (where there is one), and CONNACK is 0.
    Accepted,
    /// CONNACK 0, and the server never asked for the certificate.
    NotAsked,
    /// A throw-away identity was accepted, so that a connect proves nothing.
    Anonymous,
    /// Refused by CONNACK, or by a TLS alert after the certificate was presented.
    Refused,
    /// Anything else: a network or a server that could not be asked.
    Unclear,
}

/// What was just learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// Nothing yet: the run begins.
    Begun,
    /// What came of the request.
    Answered(Answered),
    /// What came of a connect.
    Connected(Connected),
    /// What came of a connect that was to register the device.
    Registered(Connected),
    /// The certificate was shown to whoever tells the server.
    Shown,
    /// Some time has passed since.
    Waited,
    /// Whether the current identity is the server's again, and proved.
    PutBack(bool),
}

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server accepted the request, or the registering connect, of this run.
    Provisioned,
    /// An earlier request, or one whose answer was lost, turned out to have been accepted.
    Recovered,
    /// The device was proved before.
    Verified,
    /// The server had the device already, and gave its credentials.
    PreProvisioned,
}

impl Outcome {
    /// The word in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "provisioned",
            Self::Recovered => "recovered",
            Self::Verified => "verified",
            Self::PreProvisioned => "pre-provisioned",
        }
    }
}

/// Why a run fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The request's failure.
    Answer,
    /// The connect's failure.
    Connect,
    /// The given certificate is a device's on this server already.
    Taken,
    /// The server answered SUCCESS in this run, and refuses the identity.
    RefusedAfterSuccess,
    /// The server accepted the identity in an earlier run, and does not know it any more.
    Forgotten,
    /// The connect was to register the device, and was refused.
    NotRegistered,
    /// The server has the candidate and does not accept it; the current identity is its device's again.
    Undone,
    /// The server has the candidate and does not accept it, and the current identity could not be put back.
    NotUndone,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the request; `sent` is recorded before it leaves.
    Ask,
    /// Connect. Unless an answer of this run vouches for the device, a throw-away identity is tried first.
    Connect {
        /// Whether an answer of this run vouches for it.
        vouched: bool,
    },
    /// Connect, which registers the device.
    Register,
    /// Keep what the server gave as the candidate, which goes on from there.
    Keep,
    /// Show the certificate to whoever tells the server.
    Show,
    /// Wait until it may have been told, or end the run here.
    Wait,
    /// Make the current identity the server's again, and prove it.
    PutBack,
    /// Make the proved candidate the device's identity.
    Promote,
    /// The end.
    Done(Outcome),
    /// The end.
    Fail(Failed),
}

/// The next thing to do, and the state that is reached before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The new state, where it changes.
    pub state: Option<State>,
    /// What to do.
    pub action: Action,
}

const fn stay(action: Action) -> Next {
    Next { state: None, action }
}

const fn to(state: State, action: Action) -> Next {
    Next { state: Some(state), action }
}

/// What is next for a device's first identity.
pub const fn first(case: Case, position: Position, learnt: Learnt) -> Next {
    use Answered as A;
    use Connected as C;
    use Registration::{AtConnect, ByRequest};
    use State::{Accepted, Proved, Sent, Staged};

    const TRY: Action = Action::Connect { vouched: false };
    let Case { registration, given, prove } = case;
    let Position { state, answer } = position;
    match (state, learnt) {
        (Staged, Learnt::Begun) => match registration {
            AtConnect => to(Sent, Action::Register),
            ByRequest if given => stay(TRY),
            ByRequest => stay(Action::Ask),
        },
        (Sent, Learnt::Begun) => stay(TRY),
        (Accepted | Proved, Learnt::Begun) if prove => stay(TRY),
        (Accepted, Learnt::Begun) => stay(Action::Done(Outcome::Recovered)),
        (Proved, Learnt::Begun) => stay(Action::Done(Outcome::Verified)),

        (_, Learnt::Answered(A::NotSent)) => stay(Action::Fail(Failed::Answer)),
        (_, Learnt::Answered(A::Success)) if prove => to(Accepted, Action::Connect { vouched: true }),
        (_, Learnt::Answered(A::Success)) => to(Accepted, Action::Done(Outcome::Provisioned)),
        (_, Learnt::Answered(A::PreProvisioned)) => stay(Action::Keep),
        (_, Learnt::Answered(A::NotFound | A::OtherCredentials)) => to(Staged, Action::Fail(Failed::Answer)),
        (_, Learnt::Answered(A::Failure | A::Lost)) if prove => stay(TRY),
        (_, Learnt::Answered(A::Failure | A::Lost)) => stay(Action::Fail(Failed::Answer)),

        (Staged, Learnt::Connected(C::Accepted)) => stay(Action::Fail(Failed::Taken)),
        (Sent, Learnt::Connected(C::Accepted)) => to(Proved, Action::Done(Outcome::Recovered)),
        (Sent, Learnt::Registered(C::Accepted)) => to(Proved, Action::Done(Outcome::Provisioned)),
        (Accepted, Learnt::Connected(C::Accepted)) => match answer {
            Some(A::Success) => to(Proved, Action::Done(Outcome::Provisioned)),
            _ => to(Proved, Action::Done(Outcome::Recovered)),
        },
        (Proved, Learnt::Connected(C::Accepted)) => stay(Action::Done(Outcome::Verified)),

        (Sent, Learnt::Registered(C::Refused)) => to(Staged, Action::Fail(Failed::NotRegistered)),
        (Sent, Learnt::Connected(C::Refused)) => match (registration, answer) {
            (AtConnect, _) => to(Staged, Action::Fail(Failed::NotRegistered)),
            (ByRequest, None) => stay(Action::Ask),
            (ByRequest, Some(A::Failure)) => to(Staged, Action::Fail(Failed::Answer)),
            (ByRequest, Some(_)) => stay(Action::Fail(Failed::Answer)),
        },
        (Staged, Learnt::Connected(C::Refused)) => stay(Action::Ask),
        (Accepted, Learnt::Connected(C::Refused)) => match answer {
            Some(A::Success) => stay(Action::Fail(Failed::RefusedAfterSuccess)),
            _ => stay(Action::Fail(Failed::Forgotten)),
        },
        (Proved, Learnt::Connected(C::Refused)) => stay(Action::Fail(Failed::Forgotten)),

        (_, Learnt::Connected(C::Unclear)) => match answer {
            Some(A::Failure | A::Lost) => stay(Action::Fail(Failed::Answer)),
            _ => stay(Action::Fail(Failed::Connect)),
        },
        (_, Learnt::Connected(C::NotAsked | C::Anonymous)) => match answer {
            Some(A::Failure) => stay(Action::Fail(Failed::Answer)),
            _ => stay(Action::Fail(Failed::Connect)),
        },
        // The others are a rotation's.
        (_, Learnt::Registered(_) | Learnt::Shown | Learnt::Waited | Learnt::PutBack(_)) => {
            stay(Action::Fail(Failed::Connect))
        }
    }
}

/// What is next for an identity that will replace the current one.
pub const fn candidate(switch: Switch, position: Position, learnt: Learnt) -> Next {
    match switch {
        Switch::Given => given(position, learnt),
        Switch::Account | Switch::AtConnect | Switch::ByHand => rotated(switch, position, learnt),
    }
}

/// What is next for the candidate of a rotation.
const fn rotated(switch: Switch, position: Position, learnt: Learnt) -> Next {
    use Answered as A;
    use Connected as C;
    use State::{Accepted, Proved, Sent, Staged};

    const TRY: Action = Action::Connect { vouched: false };
    match (switch, position.state, learnt) {
        (_, Proved, Learnt::Begun) => stay(Action::Promote),
        (Switch::Account, _, Learnt::Begun) => stay(Action::Ask),
        (Switch::AtConnect, Staged, Learnt::Begun) => to(Sent, Action::Register),
        (_, Staged, Learnt::Begun) => to(Sent, Action::Show),
        (_, _, Learnt::Begun | Learnt::Waited) => stay(TRY),
        (_, _, Learnt::Shown) => stay(Action::Wait),

        (_, _, Learnt::Answered(A::NotSent)) => stay(Action::Fail(Failed::Answer)),
        (_, _, Learnt::Answered(A::Success)) => to(Accepted, Action::Connect { vouched: true }),
        (_, _, Learnt::Answered(A::NotFound | A::Failure | A::OtherCredentials | A::PreProvisioned)) => {
            to(Staged, Action::Fail(Failed::Answer))
        }
        (_, _, Learnt::Answered(A::Lost)) => stay(TRY),

        (_, _, Learnt::Connected(C::Accepted) | Learnt::Registered(C::Accepted)) => {
            to(Proved, Action::Promote)
        }
        (Switch::Account, _, Learnt::Connected(_) | Learnt::Registered(_)) => match position.answer {
            Some(A::Success) => stay(Action::PutBack),
            _ => stay(Action::Fail(Failed::Answer)),
        },
        (_, _, Learnt::PutBack(true)) => to(Staged, Action::Fail(Failed::Undone)),
        (_, _, Learnt::PutBack(false)) => stay(Action::Fail(Failed::NotUndone)),
        (Switch::ByHand, _, Learnt::Connected(C::Refused | C::Unclear)) => stay(Action::Wait),
        (_, _, Learnt::Connected(C::Refused) | Learnt::Registered(C::Refused)) => {
            to(Staged, Action::Fail(Failed::NotRegistered))
        }
        (_, _, Learnt::Connected(_) | Learnt::Registered(_)) => stay(Action::Fail(Failed::Connect)),
    }
}

/// What is next for a candidate that the server gave.
const fn given(position: Position, learnt: Learnt) -> Next {
    // Nothing is promoted that was not proved.
    let case = Case { registration: Registration::ByRequest, given: false, prove: true };
    let next = match (position.state, learnt) {
        (State::Proved, Learnt::Begun) => return stay(Action::Promote),
        _ => first(case, position, learnt),
    };
    match next.action {
        Action::Done(_) => Next { action: Action::Promote, ..next },
        _ => next,
    }
}

#[cfg(test)]
mod tests;
