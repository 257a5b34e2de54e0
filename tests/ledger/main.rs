//! What every implementation of `Ledger` has to do, proved for folders, for one SQLite file and for a ledger in memory;
//! crashes of a whole provisioning, and of a rotation, at every event and at every pause; what the rotation of a device
//! does to its folder; and many devices that are provisioned over the same connections.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod bad;
mod crashes;
mod figures;
mod folders;
mod killed;
mod memory;
mod place;
mod roster;
mod rotations;
mod samples;
mod sessions;
mod suite;

/// A test of each case for each ledger.
macro_rules! prove {
    ($($case:ident),* $(,)?) => {
        mod for_folders {
            use crate::{place::InFolder, suite};
            $(#[tokio::test] async fn $case() { suite::$case(&InFolder::new()).await })*
        }
        mod for_memory {
            use crate::{place::InMemory, suite};
            $(#[tokio::test] async fn $case() { suite::$case(&InMemory::default()).await })*
        }
        mod for_sqlite {
            use crate::{place::InFile, suite};
            $(#[tokio::test] async fn $case() { suite::$case(&InFile::new()).await })*
        }
    };
}

prove!(
    a_lease_is_exclusive_and_free_when_it_is_dropped,
    whoever_makes_an_unnamed_device_holds_it_by_its_id_too,
    a_lost_lease_changes_nothing,
    a_device_is_staged_whole_and_once,
    a_place_has_one_unfinished_device,
    devices_are_found_by_name_and_unnamed_ones_by_id,
    profiles_never_get_each_others_devices,
    a_change_needs_the_device_as_it_was_read,
    states_are_recorded_with_their_times,
    a_server_that_moved_is_kept_with_its_certificates,
    notes_are_kept_and_a_note_of_another_identity_is_refused,
    a_list_has_the_damaged_beside_the_good,
    a_key_fits_the_record,
    a_device_that_was_never_rotated_keeps_the_first_schema,
    a_proved_candidate_succeeds_the_identity,
    a_candidate_that_is_not_proved_is_not_promoted,
    a_candidate_can_be_given_up,
    a_candidate_given_up_before_it_left_pushes_nothing_aside,
    a_promotion_can_be_undone,
    a_previous_identity_can_be_discarded,
    a_previous_identity_can_be_the_candidate,
    there_is_one_candidate_and_it_is_another_identity,
    tokens_are_rotated_too,
    a_removed_device_is_gone,
    a_change_that_nobody_waits_for_is_whole,
);
