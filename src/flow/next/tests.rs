//! The machine against a model of a server and a disk: every position, and random runs with crashes.

use proptest::prelude::*;

use super::*;

const STATES: [State; 4] = [State::Staged, State::Sent, State::Accepted, State::Proved];
const ANSWERS: [Answered; 7] = [
    Answered::NotSent,
    Answered::Success,
    Answered::NotFound,
    Answered::Failure,
    Answered::OtherCredentials,
    Answered::PreProvisioned,
    Answered::Lost,
];
const CONNECTS: [Connected; 5] =
    [Connected::Accepted, Connected::NotAsked, Connected::Anonymous, Connected::Refused, Connected::Unclear];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for registration in [Registration::ByRequest, Registration::AtConnect] {
        for (given, prove) in [(false, false), (false, true), (true, false), (true, true)] {
            cases.push(Case { registration, given, prove });
        }
    }
    cases
}

fn everything_learnt() -> Vec<Learnt> {
    std::iter::once(Learnt::Begun)
        .chain(ANSWERS.map(Learnt::Answered))
        .chain(CONNECTS.map(Learnt::Connected))
        .chain(CONNECTS.map(Learnt::Registered))
        .chain([Learnt::Shown, Learnt::Waited, Learnt::PutBack(true), Learnt::PutBack(false)])
        .collect()
}

/// Calls `check` for every case, position and thing learnt.
fn everywhere(check: impl Fn(Case, Position, Learnt, Next)) {
    for case in cases() {
        for state in STATES {
            for answer in std::iter::once(None).chain(ANSWERS.map(Some)) {
                for learnt in everything_learnt() {
                    let position = Position { state, answer };
                    check(case, position, learnt, first(case, position, learnt));
                }
            }
        }
    }
}

#[test]
fn nothing_but_an_accepted_connect_leads_to_proved() {
    everywhere(|_, position, learnt, next| {
        if next.state == Some(State::Proved) {
            let accepted = matches!(
                learnt,
                Learnt::Connected(Connected::Accepted) | Learnt::Registered(Connected::Accepted)
            );
            assert!(accepted, "{position:?} {learnt:?}");
        }
    });
}

#[test]
fn a_connect_is_vouched_for_by_an_answer_of_this_run_alone() {
    everywhere(|_, _, learnt, next| {
        if next.action == (Action::Connect { vouched: true }) {
            assert_eq!(learnt, Learnt::Answered(Answered::Success));
        }
    });
}

#[test]
fn what_is_not_known_changes_no_state() {
    let unknown = [Connected::NotAsked, Connected::Anonymous, Connected::Unclear];
    everywhere(|_, position, learnt, next| {
        let is_unknown = unknown
            .into_iter()
            .any(|what| learnt == Learnt::Connected(what) || learnt == Learnt::Registered(what));
        if is_unknown {
            assert_eq!(next.state, None, "{position:?}");
            assert!(matches!(next.action, Action::Fail(_)), "{position:?} {learnt:?}");
        }
    });
}

#[test]
fn only_a_refusal_that_is_sure_goes_back_to_staged() {
    everywhere(|_, position, learnt, next| {
        if next.state == Some(State::Staged) {
            let is_sure = match learnt {
                Learnt::Answered(answer) => {
                    matches!(answer, Answered::NotFound | Answered::OtherCredentials)
                }
                Learnt::Connected(Connected::Refused) | Learnt::Registered(Connected::Refused) => {
                    position.state == State::Sent
                }
                _ => false,
            };
            assert!(is_sure, "{position:?} {learnt:?}");
        }
    });
}

#[test]
fn a_given_pair_is_tried_before_it_is_registered_by_request() {
    everywhere(|case, position, learnt, next| {
        if case.given && next.action == Action::Ask {
            assert_eq!(learnt, Learnt::Connected(Connected::Refused), "{position:?}");
        }
    });
}

/// Calls `check` for every way, position and thing learnt of a candidate.
fn every_candidate(check: impl Fn(Switch, Position, Learnt, Next)) {
    for switch in [Switch::Given, Switch::Account, Switch::AtConnect, Switch::ByHand] {
        for state in STATES {
            for answer in std::iter::once(None).chain(ANSWERS.map(Some)) {
                for learnt in everything_learnt() {
                    let position = Position { state, answer };
                    check(switch, position, learnt, candidate(switch, position, learnt));
                }
            }
        }
    }
}

#[test]
fn a_candidate_is_promoted_only_when_proved_and_never_tried_before_the_server_knows() {
    every_candidate(|switch, position, learnt, next| {
        let state = position.state;
        let after = next.state.unwrap_or(state);
        if next.action == Action::Promote {
            assert_eq!(after, State::Proved, "{switch:?} {state:?} {learnt:?}");
        }
        // It is answered, and waited for, when the server may have been told.
        let is_possible = state != State::Staged || matches!(learnt, Learnt::Begun | Learnt::PutBack(_));
        if is_possible && matches!(next.action, Action::Connect { .. } | Action::Register) {
            assert_ne!(after, State::Staged, "{switch:?} {state:?} {learnt:?}");
        }
        assert!(!matches!(next.action, Action::Done(_)), "{switch:?} {state:?} {learnt:?}");
    });
}

#[test]
fn nothing_but_an_accepted_connect_proves_a_candidate() {
    every_candidate(|switch, position, learnt, next| {
        let accepted = matches!(
            learnt,
            Learnt::Connected(Connected::Accepted) | Learnt::Registered(Connected::Accepted)
        );
        if next.state == Some(State::Proved) {
            assert!(accepted, "{switch:?} {position:?} {learnt:?}");
        }
    });
}

#[test]
fn the_current_identity_is_put_back_by_an_account_alone_and_only_after_it_told_the_server() {
    every_candidate(|switch, position, learnt, next| {
        if next.action == Action::PutBack {
            assert_eq!((switch, position.answer), (Switch::Account, Some(Answered::Success)), "{learnt:?}");
        }
        // By the chain strategy a connect of either identity is a switch: there is no way back but a new command.
        if switch == Switch::AtConnect && position.state == State::Sent {
            let is_sure = learnt == Learnt::Connected(Connected::Refused)
                || learnt == Learnt::Registered(Connected::Refused)
                || learnt == Learnt::PutBack(true)
                || matches!(learnt, Learnt::Answered(_));
            assert!(next.state != Some(State::Staged) || is_sure, "{position:?} {learnt:?}");
        }
    });
}

/// The server's and the disk's part of a rotation.
#[derive(Debug)]
struct Swap {
    switch: Switch,
    /// Whether the server has the candidate; otherwise it has the current identity.
    has_candidate: bool,
    /// The candidate's state on the disk; none once it is promoted.
    disk: Option<State>,
}

impl Swap {
    fn tell(&mut self, chance: Chance) -> Answered {
        if chance.unreachable {
            return Answered::NotSent;
        }
        if self.has_candidate {
            return Answered::Success;
        }
        self.disk = Some(State::Sent);
        match chance.loses {
            Some(false) => return Answered::Lost,
            None if chance.refuses => return Answered::Failure,
            _ => self.has_candidate = true,
        }
        if chance.loses == Some(true) { Answered::Lost } else { Answered::Success }
    }

    fn connect(&mut self, chance: Chance) -> Connected {
        if chance.unreachable {
            return Connected::Unclear;
        }
        if self.switch == Switch::AtConnect && !chance.refuses {
            self.has_candidate = true;
        }
        // A balancer may keep the certificate although the server has it, but never with the chain strategy.
        let is_kept = chance.refuses && self.switch == Switch::Account;
        if self.has_candidate && !is_kept { Connected::Accepted } else { Connected::Refused }
    }

    fn put_back(&mut self, chance: Chance) -> bool {
        if chance.loses == Some(false) || chance.unreachable {
            return false;
        }
        self.has_candidate = false;
        chance.loses != Some(true)
    }

    /// One run, until its end or its death.
    fn run(&mut self, chances: &mut impl Iterator<Item = Chance>) {
        let Some(mut state) = self.disk else { return };
        let (mut answer, mut learnt) = (None, Learnt::Begun);
        for chance in chances.by_ref() {
            let next = candidate(self.switch, Position { state, answer }, learnt);
            if let Some(reached) = next.state {
                state = reached;
                if !(reached == State::Accepted && matches!(next.action, Action::Connect { .. })) {
                    self.disk = Some(reached);
                }
            }
            if chance.dies == Some(false) {
                return;
            }
            learnt = match next.action {
                Action::Ask => {
                    let told = self.tell(chance);
                    state = if told == Answered::NotSent { state } else { State::Sent };
                    self.disk = Some(state);
                    answer = Some(told);
                    Learnt::Answered(told)
                }
                Action::Register => Learnt::Registered(self.connect(chance)),
                Action::Connect { .. } => Learnt::Connected(self.connect(chance)),
                Action::Show => Learnt::Shown,
                Action::Wait => {
                    // Somebody pastes it, sooner or later.
                    self.has_candidate |= !chance.refuses;
                    Learnt::Waited
                }
                Action::PutBack => Learnt::PutBack(self.put_back(chance)),
                Action::Promote => {
                    assert!(self.has_candidate, "promoted, and the server does not know it");
                    self.disk = None;
                    return;
                }
                Action::Fail(_) => return,
                Action::Keep | Action::Done(_) => panic!("a rotation does not do that"),
            };
            if chance.dies == Some(true) {
                return;
            }
        }
    }
}

proptest! {
    #[test]
    fn no_crash_answer_or_rerun_leaves_a_rotated_device_without_its_identity(
        chances in prop::collection::vec(chance(), 1..120),
        switch in prop::sample::select(vec![Switch::Account, Switch::AtConnect, Switch::ByHand]),
    ) {
        let mut swap = Swap { switch, has_candidate: false, disk: Some(State::Staged) };
        let mut chances = chances.into_iter().peekable();
        while chances.peek().is_some() && swap.disk.is_some() {
            swap.run(&mut chances);
            // What the server may have is never taken for something that it does not know.
            prop_assert!(!(swap.has_candidate && swap.disk == Some(State::Staged)), "forgotten: {swap:?}");
        }
        let quiet = Chance { dies: None, loses: None, unreachable: false, refuses: false };
        swap.run(&mut std::iter::repeat_n(quiet, 10));
        prop_assert!(swap.has_candidate && swap.disk.is_none(), "{swap:?}");
    }
}

/// What chance decides at one step of a run.
#[derive(Debug, Clone, Copy)]
struct Chance {
    /// The process dies: before the step has an effect, after it, or not at all.
    dies: Option<bool>,
    /// The request is lost on its way, the answer on its way back, or neither.
    loses: Option<bool>,
    /// The connect finds nobody.
    unreachable: bool,
    /// The server does not let it: a wrong secret, a name that is taken.
    refuses: bool,
}

fn chance() -> impl Strategy<Value = Chance> {
    (
        prop_oneof![6 => Just(None), 1 => any::<bool>().prop_map(Some)],
        prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)],
        prop_oneof![4 => Just(false), 1 => Just(true)],
        prop_oneof![4 => Just(false), 1 => Just(true)],
    )
        .prop_map(|(dies, loses, unreachable, refuses)| Chance { dies, loses, unreachable, refuses })
}

/// The server, and the disk of the machine.
struct World {
    registered: bool,
    /// How often a request made a device.
    made: u32,
    disk: State,
}

impl World {
    /// The request: what comes of it for the run.
    fn ask(&mut self, chance: Chance) -> Answered {
        self.disk = State::Sent;
        if chance.loses == Some(false) {
            return Answered::Lost;
        }
        let answer = if chance.refuses {
            Answered::NotFound
        } else if self.registered {
            Answered::Failure
        } else {
            self.registered = true;
            self.made += 1;
            Answered::Success
        };
        if chance.loses == Some(true) { Answered::Lost } else { answer }
    }

    fn connect(&mut self, chance: Chance, registers: bool) -> Connected {
        if chance.unreachable {
            return Connected::Unclear;
        }
        if registers && !chance.refuses && !self.registered {
            self.registered = true;
            self.made += 1;
        }
        if self.registered { Connected::Accepted } else { Connected::Refused }
    }

    /// One run, until its end or its death.
    fn run(&mut self, case: Case, chances: &mut impl Iterator<Item = Chance>) {
        let (mut answer, mut learnt) = (None, Learnt::Begun);
        let mut state = self.disk;
        for chance in chances.by_ref() {
            let next = first(case, Position { state, answer }, learnt);
            if let Some(reached) = next.state {
                state = reached;
                // What only a connect follows is written with its outcome.
                if !(reached == State::Accepted && matches!(next.action, Action::Connect { .. })) {
                    self.disk = reached;
                }
            }
            if chance.dies == Some(false) {
                return;
            }
            learnt = match next.action {
                Action::Ask => {
                    assert!(!self.registered || self.disk != State::Staged, "asked again for a known device");
                    state = State::Sent;
                    let came = self.ask(chance);
                    answer = Some(came);
                    Learnt::Answered(came)
                }
                Action::Connect { .. } => {
                    // The chain strategy registers at any connect.
                    Learnt::Connected(self.connect(chance, case.registration == Registration::AtConnect))
                }
                Action::Register => Learnt::Registered(self.connect(chance, true)),
                Action::Keep | Action::Promote | Action::Show | Action::Wait | Action::PutBack => {
                    unreachable_in_first()
                }
                Action::Done(_) => {
                    assert!(self.registered, "done, and the server does not know it");
                    return;
                }
                Action::Fail(_) => {
                    self.disk = state;
                    return;
                }
            };
            if chance.dies == Some(true) {
                return;
            }
        }
    }
}

fn unreachable_in_first() -> Learnt {
    panic!("a first identity is never promoted")
}

proptest! {
    #[test]
    fn no_crash_answer_or_rerun_makes_a_second_device_or_forgets_one(
        chances in prop::collection::vec(chance(), 1..120),
        at_connect: bool,
        prove: bool,
    ) {
        let registration = if at_connect { Registration::AtConnect } else { Registration::ByRequest };
        // What registers at connect is always proved by it.
        let case = Case { registration, given: false, prove: prove || at_connect };
        let mut world = World { registered: false, made: 0, disk: State::Staged };
        let mut chances = chances.into_iter().peekable();
        while chances.peek().is_some() {
            world.run(case, &mut chances);
            prop_assert!(world.made <= 1, "{} devices", world.made);
            prop_assert!(!world.registered || world.disk != State::Staged, "forgotten");
        }
        // A quiet rerun always ends well.
        let quiet = Chance { dies: None, loses: None, unreachable: false, refuses: false };
        world.run(case, &mut std::iter::repeat_n(quiet, 10));
        prop_assert!(world.registered && world.made == 1 && world.disk != State::Staged);
    }
}
