//! A log that grows while somebody looks at it.

use shudao_tests::content::plant_small;
use shudao_vault::object::log_path;
use shudao_verify::check::{CheckProgress, check_names};
use tempfile::TempDir;

use crate::place::{Place, back_up, open_as_owner};

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_others_append_during_a_check_are_no_gap_and_one_that_is_lost_is() {
    let home = TempDir::new().unwrap();
    plant_small(home.path(), 1);
    let mut place = Place::new().await;
    let checked = open_as_owner(place.store()).await.unwrap();
    let next = checked.replica().state().next();
    for _ in 0..2 {
        back_up(&mut place.owner, "letters", home.path()).await;
    }
    assert!(place.owner.replica().state().next() >= next + 4);
    let progress = CheckProgress::default();
    let report = check_names(checked.replica(), &progress).await.unwrap();
    assert!(!report.is_damaged(), "{report}");
    for lost in [next + 1, next] {
        place.store().delete(&log_path(lost)).await.unwrap();
        let report = check_names(checked.replica(), &progress).await.unwrap();
        let named: Vec<&str> = report.findings.iter().map(|finding| finding.object.as_str()).collect();
        assert_eq!(named, [log_path(lost)], "{report}");
    }
}
