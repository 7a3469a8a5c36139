use std::collections::BTreeSet;

use proptest::prelude::*;

use super::calendar::Period;
use super::clock::Doubt;
use super::*;
use crate::Kind;
use crate::id::{ObjectId, SnapshotId, SourceId, Timestamp};

const HOUR: i64 = 3600 * 1_000_000;
const DAY: i64 = 24 * HOUR;
const SOURCE: SourceId = SourceId([1; 16]);

/// Snapshot `number` of a source, at so many microseconds.
fn at(number: u64, time: i64) -> Candidate<'static> {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Candidate {
        id: ObjectId(id),
        source: SOURCE,
        sequence: number,
        time: Timestamp(time),
        held: false,
        tags: Some(&[]),
    }
}

fn numbers(ids: impl IntoIterator<Item = SnapshotId>) -> Vec<u64> {
    ids.into_iter().map(|id| u64::from_be_bytes(id.0[..8].try_into().unwrap())).collect()
}

fn kept(rules: &Rules, snapshots: &[Candidate<'_>], now: i64) -> Vec<u64> {
    let decisions = plan(rules, snapshots, Timestamp(now), &fixed_zone(0));
    numbers(decisions.into_iter().filter(Decision::stays).map(|decision| decision.id))
}

/// One a day for ten days, at noon.
fn daily() -> Vec<Candidate<'static>> {
    (0..10).map(|day| at(day as u64 + 1, day * DAY + DAY / 2)).collect()
}

#[test]
fn without_rules_everything_stays() {
    assert_eq!(kept(&Rules::default(), &daily(), 10 * DAY), (1..=10).collect::<Vec<_>>());
}

#[test]
fn each_rule_keeps_what_it_says() {
    let now = 10 * DAY;
    for (rules, expected) in [
        (Rules { last: Some(3), ..Rules::default() }, vec![8, 9, 10]),
        (Rules { last: Some(1), ..Rules::default() }, vec![10]),
        (Rules { daily: Some(2), ..Rules::default() }, vec![9, 10]),
        (Rules { hourly: Some(2), ..Rules::default() }, vec![9, 10]),
        // Days 0 to 9 begin on Thursday: Monday is day 4, so the weeks end on days 3 and 9.
        (Rules { weekly: Some(5), ..Rules::default() }, vec![4, 10]),
        (Rules { monthly: Some(5), ..Rules::default() }, vec![10]),
        (Rules { yearly: Some(1), ..Rules::default() }, vec![10]),
        (Rules { within: Some("2d".parse().unwrap()), ..Rules::default() }, vec![8, 9, 10]),
        (Rules { last: Some(2), weekly: Some(2), ..Rules::default() }, vec![4, 9, 10]),
    ] {
        assert_eq!(kept(&rules, &daily(), now), expected, "{rules:?}");
    }
}

#[test]
fn of_a_period_the_newest_stays() {
    let snapshots: Vec<_> = (0..48).map(|hour| at(hour as u64 + 1, hour * HOUR)).collect();
    let rules = Rules { daily: Some(9), ..Rules::default() };
    assert_eq!(kept(&rules, &snapshots, 3 * DAY), [24, 48]);
    let east = plan(&rules, &snapshots, Timestamp(3 * DAY), &fixed_zone(8 * 60));
    let stays = numbers(east.into_iter().filter(Decision::stays).map(|decision| decision.id));
    assert_eq!(stays, [16, 40, 48], "days end eight hours earlier");
}

#[test]
fn sources_are_counted_apart() {
    let mut snapshots = daily();
    for snapshot in &mut snapshots[5..] {
        snapshot.source = SourceId([2; 16]);
    }
    let rules = Rules { last: Some(2), ..Rules::default() };
    assert_eq!(kept(&rules, &snapshots, 10 * DAY), [4, 5, 9, 10]);
}

#[test]
fn held_ones_and_those_with_a_kept_tag_stay() {
    let tags = ["release".to_owned()];
    let mut snapshots = daily();
    snapshots[0].held = true;
    snapshots[1].tags = Some(&tags);
    snapshots[2].tags = None;
    let rules = Rules { last: Some(1), tags: ["release".to_owned()].into(), ..Rules::default() };
    let decisions = plan(&rules, &snapshots, Timestamp(10 * DAY), &fixed_zone(0));
    assert_eq!(decisions[0].reasons, [Reason::Held]);
    assert_eq!(decisions[1].reasons, [Reason::Tag("release".to_owned())]);
    assert_eq!(decisions[2].reasons, [Reason::TagsUnknown]);
    assert_eq!(decisions[3].reasons, []);
    assert_eq!(decisions[9].reasons, [Reason::Newest, Reason::Last]);
}

#[test]
fn times_that_run_against_the_sequence_are_never_acted_on() {
    let rules = Rules { last: Some(1), within: Some("1d".parse().unwrap()), ..Rules::default() };
    let mut snapshots = daily();
    snapshots[4].time = Timestamp(400 * DAY);
    let decisions = plan(&rules, &snapshots, Timestamp(500 * DAY), &fixed_zone(0));
    assert_eq!(decisions[4].reasons, [Reason::Clock(Doubt::AgainstSequence)]);
    assert_eq!(kept(&rules, &snapshots, 500 * DAY), [5, 9, 10]);
    // The newest one is ahead: it stays, and what is younger than a day counts from the newest before it.
    let mut snapshots = daily();
    snapshots[9].time = Timestamp(400 * DAY);
    let decisions = plan(&rules, &snapshots, Timestamp(10 * DAY), &fixed_zone(0));
    assert_eq!(decisions[9].reasons, [Reason::Clock(Doubt::Ahead), Reason::Newest]);
    assert_eq!(kept(&rules, &snapshots, 10 * DAY), [8, 9, 10]);
    // With a clock of our own that went back nothing is known, and nothing goes.
    assert_eq!(kept(&rules, &daily(), -DAY).len(), 10);
}

#[test]
fn a_policy_is_read_back_as_it_was_written() {
    for (text, canonical) in [
        ("", ""),
        ("keep-last 3", "keep-last 3"),
        ("  keep-daily=7   keep-last 3 ", "keep-last 3 keep-daily 7"),
        (
            "keep-hourly 24 keep-weekly 4 keep-monthly 12 keep-yearly 5 keep-within 1y6m utc-offset +08:00",
            "keep-hourly 24 keep-weekly 4 keep-monthly 12 keep-yearly 5 keep-within 552d utc-offset +08:00",
        ),
        ("keep-within 36h utc-offset -03:30", "keep-within 1d12h utc-offset -03:30"),
    ] {
        let policy: Policy = text.parse().unwrap();
        assert_eq!(policy.to_string(), canonical);
        assert_eq!(canonical.parse::<Policy>().unwrap(), policy);
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    for text in [
        "keep-last",
        "keep-last 0",
        "keep-last -1",
        "keep-last many",
        "keep-last 1 keep-last 2",
        "keep-everything 1",
        "keep-tag release",
        "keep-within 3",
        "keep-within d",
        "keep-within 1h1d",
        "keep-within 1d1d",
        "keep-within 99999999y",
        "keep-within 9999999999999h",
        "utc-offset 8",
        "utc-offset +8:00",
        "utc-offset +08:60",
        "utc-offset +19:00",
        "utc-offset +０8:00",
    ] {
        let error = text.parse::<Policy>().unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{text}");
    }
}

#[test]
fn a_policy_lets_go_of_the_rest() {
    let policy: Policy = "keep-last 2".parse().unwrap();
    assert_eq!(numbers(let_go(&policy, &daily(), Timestamp(10 * DAY))), (1..=8).collect::<Vec<_>>());
    assert_eq!(let_go(&Policy::default(), &daily(), Timestamp(10 * DAY)), BTreeSet::new());
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let count = || prop::option::of(1u32..6);
    (count(), count(), count(), count(), count(), count(), prop::option::of(0u32..200)).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, hours)| Rules {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within: hours.map(|hours| Span::from_hours(hours).unwrap()),
            tags: BTreeSet::new(),
        },
    )
}

/// Rules that keep all that both sets keep.
fn either(left: &Rules, right: &Rules) -> Rules {
    Rules {
        last: left.last.max(right.last),
        hourly: left.hourly.max(right.hourly),
        daily: left.daily.max(right.daily),
        weekly: left.weekly.max(right.weekly),
        monthly: left.monthly.max(right.monthly),
        yearly: left.yearly.max(right.yearly),
        within: left.within.max(right.within),
        tags: &left.tags | &right.tags,
    }
}

/// Snapshots of two sources at any times, most of them in order.
fn any_snapshots() -> impl Strategy<Value = Vec<Candidate<'static>>> {
    let one = (0..2u8, 0..100 * DAY, prop::bool::weighted(0.1), prop::bool::weighted(0.05));
    prop::collection::vec(one, 0..40).prop_map(|mut drawn| {
        drawn.sort_by_key(|(_, time, _, _)| *time);
        let snapshots = drawn.into_iter().enumerate().map(|(number, (source, time, held, is_odd))| {
            let time = if is_odd { 100 * DAY - time } else { time };
            Candidate { source: SourceId([source; 16]), held, ..at(number as u64 + 1, time) }
        });
        snapshots.collect()
    })
}

proptest! {
    #[test]
    fn more_rules_never_drop_more(
        first in any_rules(),
        more in any_rules(),
        snapshots in any_snapshots(),
    ) {
        prop_assume!(!first.is_empty());
        let few = kept(&first, &snapshots, 100 * DAY);
        let many = kept(&either(&first, &more), &snapshots, 100 * DAY);
        prop_assert!(few.iter().all(|number| many.contains(number)));
    }

    #[test]
    fn the_last_so_many_stay_and_no_others(count in 1u32..8, total in 0usize..20) {
        let snapshots: Vec<_> = (0..total).map(|n| at(n as u64 + 1, n as i64 * HOUR)).collect();
        let rules = Rules { last: Some(count), ..Rules::default() };
        prop_assert_eq!(kept(&rules, &snapshots, 100 * DAY).len(), total.min(count as usize));
    }

    #[test]
    fn what_must_stay_stays(rules in any_rules(), snapshots in any_snapshots()) {
        let decisions = plan(&rules, &snapshots, Timestamp(100 * DAY), &fixed_zone(0));
        prop_assert_eq!(decisions.len(), snapshots.len());
        for (snapshot, decision) in snapshots.iter().zip(&decisions) {
            let newest = snapshots.iter().filter(|other| other.source == snapshot.source).map(|other| other.sequence).max();
            prop_assert!(decision.stays() || !snapshot.held && newest != Some(snapshot.sequence));
            prop_assert!(!rules.is_empty() || decision.stays());
        }
    }

    #[test]
    fn where_clocks_agree_forgetting_what_may_go_lets_nothing_more_go(
        rules in any_rules(),
        mut snapshots in any_snapshots(),
    ) {
        for (number, snapshot) in snapshots.iter_mut().enumerate() {
            snapshot.time.0 = snapshot.time.0 / 8 + number as i64 * DAY;
        }
        prop_assume!(snapshots.is_sorted_by_key(|snapshot| snapshot.time));
        let stays = kept(&rules, &snapshots, 100 * DAY);
        let left: Vec<_> =
            snapshots.iter().copied().filter(|snapshot| stays.contains(&snapshot.sequence)).collect();
        prop_assert_eq!(kept(&rules, &left, 100 * DAY), stays);
    }

    #[test]
    fn any_text_is_a_policy_or_refused(text in "[ =a-z0-9:+-]{0,40}") {
        if let Ok(policy) = text.parse::<Policy>() {
            prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        }
    }

    #[test]
    fn a_day_has_one_number(time in -DAY * 100_000..DAY * 100_000, offset in -1080i16..=1080) {
        let zone = fixed_zone(offset);
        let local = Timestamp(time + i64::from(offset) * 60 * 1_000_000);
        prop_assert_eq!(Period::Day.of(Timestamp(time), &zone), local.0.div_euclid(DAY));
    }
}
