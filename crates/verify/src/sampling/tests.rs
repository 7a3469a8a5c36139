use proptest::prelude::*;

use super::*;

fn at(confidence: f64) -> Confidence {
    Confidence::new(confidence).unwrap()
}

#[test]
fn clean_samples_are_stated_in_one_sentence() {
    let sure = Confidence::DEFAULT;
    for (sample, expected) in [
        (CleanSample::of_unknown(6_905, sure), "6,905 packs clean: under 0.1 % bad at 99.9 %"),
        (CleanSample::of_unknown(6_904, sure), "6,904 packs clean: under 0.11 % bad at 99.9 %"),
        (CleanSample::of_unknown(1, sure), "1 packs clean: under 100 % bad at 99.9 %"),
        (
            CleanSample::of(1_000_000_000, 6_905, sure),
            "6,905 of 1,000,000,000 packs clean: under 0.1 % bad at 99.9 %",
        ),
        (CleanSample::of(10_000, 6_905, sure), "6,905 of 10,000 packs clean: under 0.06 % bad at 99.9 %"),
        (CleanSample::of(100, 50, at(0.95)), "50 of 100 packs clean: under 5 % bad at 95 %"),
        (CleanSample::of(100, 100, sure), "100 packs clean: none bad: every one was read"),
        (CleanSample::of(100, 200, sure), "100 packs clean: none bad: every one was read"),
        (CleanSample::of(100, 0, sure), "0 of 100 packs clean: nothing is proven: the sample is too small"),
        (CleanSample::of_unknown(0, sure), "0 packs clean: nothing is proven: the sample is too small"),
    ] {
        assert_eq!(sentence(&sample, "packs"), expected);
    }
}

/// C(population - bad, sampled) / C(population, sampled) from its definition.
fn chance_of_clean(population: u64, sampled: u64, bad: u64) -> f64 {
    (0..sampled)
        .map(|drawn| (population - bad).saturating_sub(drawn) as f64 / (population - drawn) as f64)
        .product()
}

#[test]
fn the_bound_is_the_exact_hypergeometric_one() {
    for population in 1..40 {
        for sampled in 0..=population {
            for confidence in [0.5, 0.9, 0.999] {
                let bad_max = CleanSample::of(population, sampled, at(confidence)).bad_max().unwrap();
                let allowed = 1.0 - confidence;
                assert!(bad_max == 0 || chance_of_clean(population, sampled, bad_max) > allowed * 0.999_999);
                assert!(
                    bad_max == population
                        || chance_of_clean(population, sampled, bad_max + 1) <= allowed * 1.000_001,
                    "{population} {sampled} {confidence}"
                );
            }
        }
    }
}

#[test]
fn enough_samples_are_the_fewest_that_prove() {
    let sure = Confidence::DEFAULT;
    for (population, fraction, expected) in [
        (u64::MAX / 4, 0.001, 6_905),
        (10_000, 0.001, 4_986),
        (1_000_000, 0.001, 6_881),
        (1_000, 0.0001, 1_000),
        (0, 0.001, 0),
        (10, 1.0, 1),
    ] {
        assert_eq!(samples_needed(population, fraction, sure), expected, "{population}");
    }
}

#[test]
fn percentages_are_rounded_to_the_honest_side() {
    for (fraction, up) in
        [(0.001, "0.1"), (0.00100001, "0.11"), (0.0999, "10"), (0.5, "50"), (0.000_000_123, "0.000013")]
    {
        assert_eq!(percent_rounded_up(fraction), up, "{fraction}");
    }
    for (fraction, down) in [(0.999, "99.9"), (0.95, "95"), (0.999_999_999_9, "99.999999")] {
        assert_eq!(percent_rounded_down(fraction), down, "{fraction}");
    }
}

#[test]
fn a_percentage_of_something_is_at_least_one() {
    for (population, percent, expected) in
        [(0, 5.0, 0), (10, 0.0, 1), (10, 5.0, 1), (1_000, 2.5, 25), (7, 100.0, 7), (7, 900.0, 7)]
    {
        assert_eq!(count_for_percent(population, percent), expected);
    }
}

/// Everybody who samples with a published seed must make the same choice, now and in ten years.
#[test]
fn a_seed_makes_one_choice_for_ever() {
    assert_eq!(choose(b"seed", 1_000, 8), CHOSEN);
    assert_ne!(choose(b"Seed", 1_000, 8), CHOSEN);
}

const CHOSEN: [u64; 8] = [11, 170, 506, 688, 696, 831, 868, 897];

#[test]
fn each_object_is_equally_likely() {
    let mut hits = [0_u32; 10];
    for seed in 0..3_000_u32 {
        for chosen in choose(&seed.to_le_bytes(), 10, 3) {
            hits[chosen as usize] += 1;
        }
    }
    // 900 each on average, with a standard deviation of 25.
    assert!(hits.iter().all(|hits| (780..1_020).contains(hits)), "{hits:?}");
}

proptest! {
    #[test]
    fn a_choice_has_no_doubles_and_stays_inside(seed: [u8; 4], population in 0_u64..500, count in 0_u64..600) {
        let chosen = choose(&seed, population, count);
        prop_assert_eq!(chosen.len() as u64, count.min(population));
        prop_assert!(chosen.is_sorted_by(|one, next| one < next));
        prop_assert!(chosen.last().is_none_or(|last| *last < population));
    }

    #[test]
    fn more_samples_never_prove_less(population in 1_u64..5_000, sampled in 0_u64..5_000) {
        let bound = |sampled| CleanSample::of(population, sampled, Confidence::DEFAULT).bad_fraction_below();
        prop_assert!(bound(sampled + 1) <= bound(sampled));
    }
}
