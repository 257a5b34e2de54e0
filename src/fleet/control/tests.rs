//! The controller against models of servers, in virtual time, and against any signals.

mod models;

use proptest::prelude::*;

use self::models::{Model, World};
use super::*;

fn fixed(jobs: usize) -> Jobs {
    Jobs::Fixed(NonZeroUsize::new(jobs).unwrap())
}

/// How long a run over so many devices takes, and how many attempts failed.
fn run(jobs: Jobs, model: Model, devices: usize) -> (Duration, usize) {
    let mut world = World::new(jobs, model);
    (world.run(devices), world.failed)
}

/// Compares with fixed numbers in runs over so many devices: the part of the best one's speed has to be `least`.
fn compare(name: &str, model: Model, numbers: &[usize], devices: usize, least: f64) -> usize {
    let runs = numbers.iter().map(|jobs| (run(fixed(*jobs), model, devices).0, *jobs));
    let (best, jobs) = runs.min().unwrap();
    let (time, failed) = run(Jobs::Auto, model, devices);
    let part = best.as_secs_f64() / time.as_secs_f64();
    assert!(part >= least, "{name}, {devices} devices: {part:.3} of the speed with {jobs} at once");
    assert!(failed * 4 <= devices, "{name}: {failed} attempts failed for {devices} devices");
    jobs
}

const SWEEP: [usize; 5] = [1, 4, 16, 64, 256];

#[test]
fn short_runs_are_nine_tenths_as_fast_as_with_the_best_fixed_number() {
    for (name, model) in Model::all() {
        // With the largest number from the beginning, such a run is over within ten times what one device takes.
        let least = if model.is_far() { 0.75 } else { 0.9 };
        compare(name, model, &SWEEP, 2_000, least);
    }
}

#[test]
fn long_runs_are_nine_tenths_as_fast_as_with_the_best_fixed_number() {
    for (name, model) in Model::all().into_iter().filter(|(_, model)| model.is_best_seen_late()) {
        compare(name, model, &[16, 256], 20_000, 0.9);
    }
}

#[test]
fn the_first_device_is_alone_and_after_a_block_another_one() {
    let begin = Instant::now();
    let after = |seconds| begin + Duration::from_secs(seconds);
    for jobs in [Jobs::Auto, fixed(64)] {
        let mut control = Control::new(jobs);
        assert_eq!(control.limit(), 1);
        control.finished(begin, after(1), Signal::Refused);
        assert_eq!((control.limit(), control.paused_until()), (1, None));
        control.finished(after(1), after(2), Signal::Good);
        assert!(control.limit() > 1);
        control.finished(after(2), after(3), Signal::Blocked);
        control.finished(after(2), after(4), Signal::Blocked);
        assert_eq!((control.limit(), control.paused_until()), (1, Some(after(68))));
        control.finished(after(68), after(69), Signal::Good);
        assert!(control.limit() > 1);
    }
}

#[test]
fn a_slow_first_device_makes_the_second_step_small() {
    let begin = Instant::now();
    let mut control = Control::new(Jobs::Auto);
    control.finished(begin, begin + Duration::from_secs(3), Signal::Good);
    assert_eq!(control.limit(), 1);
}

#[test]
fn pauses_double_while_nothing_is_good() {
    let begin = Instant::now();
    let mut control = Control::new(fixed(1));
    control.finished(begin, begin, Signal::Good);
    let mut limited_at = |second, signal| {
        let now = begin + Duration::from_secs(second);
        control.finished(now, now, signal);
        control.paused_until().unwrap().saturating_duration_since(now).as_secs()
    };
    let pauses = [0, 100, 200, 300, 400, 500, 600, 700].map(|second| limited_at(second, Signal::Limited));
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    limited_at(800, Signal::Good);
    assert_eq!(limited_at(900, Signal::Limited), 1);
}

#[test]
fn jobs_show_as_they_were_written() {
    for text in ["auto", "1", "256", "1000"] {
        assert_eq!(text.parse::<Jobs>().unwrap().to_string(), text);
    }
    for text in ["", "0", "-1", "many", "1.5"] {
        assert!(text.parse::<Jobs>().unwrap_err().contains("'auto'"), "{text}");
    }
}

const ALL: [Signal; 5] =
    [Signal::Good, Signal::Refused, Signal::Overloaded, Signal::Limited, Signal::Blocked];

proptest! {
    /// Whatever comes: the number stays within its bounds, and a pause ends.
    #[test]
    fn any_signals_leave_it_able_to_go_on(
        events in prop::collection::vec((0_u64..20_000, 0_u64..20_000, 0_usize..9), 1..400),
    ) {
        let mut now = Instant::now() + Duration::from_secs(60);
        let mut controls = [(Control::new(Jobs::Auto), MAX), (Control::new(fixed(300)), 300)];
        for (passed, took, signal) in events {
            now += Duration::from_millis(passed / 20);
            let signal = ALL.get(signal).copied().unwrap_or(Signal::Good);
            for (control, most) in &mut controls {
                control.finished(now.checked_sub(Duration::from_millis(took)).unwrap_or(now), now, signal);
                prop_assert!((1..=*most).contains(&control.limit()));
                prop_assert!(control.paused_until().is_none_or(|until| until <= now + BLOCKED));
            }
        }
    }
}
