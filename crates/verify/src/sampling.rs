//! Which objects to sample, and what a clean sample proves.
//!
//! Pure: the seed is an argument, and everybody who knows seed, population and count gets the same choice.
//!
//! If `bad` of `population` objects are bad, the chance that `sampled` drawn without replacement are all clean is
//!
//! ```text
//! C(population - bad, sampled) / C(population, sampled)
//! ```
//!
//! A clean sample therefore excludes, at a confidence c, every number of bad objects for which that chance is at most
//! 1 - c. Where the population is not known it is taken as endless, and the chance is `(1 - fraction)^sampled`.

use std::collections::HashSet;
use std::fmt;

/// Up to here the exact chance is computed.
const EXACT_POPULATION_MAX: u64 = 1 << 32;

/// How sure a statement must be: strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

impl Confidence {
    /// 99.9 %.
    pub const DEFAULT: Self = Self(0.999);

    /// A confidence of `value`, or `None` unless it lies strictly between 0 and 1.
    pub fn new(value: f64) -> Option<Self> {
        (value > 0.0 && value < 1.0).then_some(Self(value))
    }

    /// As a fraction below 1.
    pub fn value(self) -> f64 {
        self.0
    }

    /// The natural logarithm of the chance of error that is accepted.
    fn ln_error(self) -> f64 {
        (1.0 - self.0).ln()
    }
}

/// What a sample without a single bad object proves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanSample {
    population: Option<u64>,
    sampled: u64,
    confidence: Confidence,
}

impl CleanSample {
    /// `sampled` of `population` objects were drawn without replacement and all are clean. More samples than objects
    /// count as all of them.
    pub fn of(population: u64, sampled: u64, confidence: Confidence) -> Self {
        Self { population: Some(population), sampled: sampled.min(population), confidence }
    }

    /// `sampled` objects of a population of unknown size were drawn and all are clean.
    pub fn of_unknown(sampled: u64, confidence: Confidence) -> Self {
        Self { population: None, sampled, confidence }
    }

    /// The confidence at which it proves.
    pub fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// The largest number of bad objects that the sample does not exclude; `None` if the population is unknown.
    pub fn bad_max(&self) -> Option<u64> {
        let population = self.population?;
        // The chance of a clean sample falls as `bad` grows: find the first number that is excluded.
        let (mut possible, mut excluded) = (0, population - self.sampled + 1);
        while excluded - possible > 1 {
            let bad = possible + (excluded - possible) / 2;
            if is_excluded(population, self.sampled, bad, self.confidence) {
                excluded = bad;
            } else {
                possible = bad;
            }
        }
        Some(possible)
    }

    /// Less than this fraction of the objects is bad: 0 when all were sampled, 1 or more when nothing is proven.
    pub fn bad_fraction_below(&self) -> f64 {
        match (self.population, self.bad_max()) {
            (Some(population), Some(_)) if population == self.sampled => 0.0,
            (Some(population), Some(bad)) => (bad + 1) as f64 / population as f64,
            _ if self.sampled == 0 => 1.0,
            _ => -(self.confidence.ln_error() / self.sampled as f64).exp_m1(),
        }
    }
}

impl fmt::Display for CleanSample {
    /// What the sample proves: "under 0.1 % bad at 99.9 %".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = self.bad_fraction_below();
        if self.population == Some(self.sampled) {
            f.write_str("none bad: every one was read")
        } else if fraction >= 1.0 {
            f.write_str("nothing is proven: the sample is too small")
        } else {
            let confidence = percent_rounded_down(self.confidence.0);
            write!(f, "under {} % bad at {confidence} %", percent_rounded_up(fraction))
        }
    }
}

/// One sentence: `sentence(&sample, "packs")` gives "6,905 packs clean: under 0.1 % bad at 99.9 %".
pub fn sentence(sample: &CleanSample, objects: &str) -> String {
    let sampled = grouped(sample.sampled);
    match sample.population {
        Some(population) if population > sample.sampled => {
            format!("{sampled} of {} {objects} clean: {sample}", grouped(population))
        }
        Some(_) | None => format!("{sampled} {objects} clean: {sample}"),
    }
}

/// The fewest samples that, if all are clean, prove that less than `fraction` of `population` objects is bad. The
/// population itself if nothing less proves it.
pub fn samples_needed(population: u64, fraction: f64, confidence: Confidence) -> u64 {
    // The fewest bad objects that must be excluded.
    let bad = (population as f64 * fraction.clamp(0.0, 1.0)) as u64;
    let proves =
        |sampled| sampled == population || (bad > 0 && is_excluded(population, sampled, bad, confidence));
    let (mut low, mut high) = (0, population);
    while low < high {
        let middle = low + (high - low) / 2;
        if proves(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// How many objects `percent` of `population` are: rounded up, and at least one where there are any.
pub fn count_for_percent(population: u64, percent: f64) -> u64 {
    let count = (population as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as u64;
    count.clamp(population.min(1), population)
}

/// Whether a clean sample would be too unlikely if `bad` objects were bad.
///
/// Both products of the hypergeometric chance are equal; the shorter one is taken, and only until it is small enough.
/// That takes at most about the root of seven times the population. Larger populations count as endless, which claims
/// a little less than could be claimed.
fn is_excluded(population: u64, sampled: u64, bad: u64, confidence: Confidence) -> bool {
    if bad > population - sampled {
        return true;
    }
    if population > EXACT_POPULATION_MAX {
        return sampled as f64 * (-(bad as f64) / population as f64).ln_1p() <= confidence.ln_error();
    }
    let (terms, taken) = if sampled < bad { (sampled, bad) } else { (bad, sampled) };
    let mut ln_chance = 0.0;
    for term in 0..terms {
        ln_chance += (-(taken as f64) / (population - term) as f64).ln_1p();
        if ln_chance <= confidence.ln_error() {
            return true;
        }
    }
    false
}

/// `count` different numbers below `population`, in rising order, that depend on `seed` alone. All of them if `count`
/// is not smaller than `population`.
///
/// The numbers are drawn from the output stream of BLAKE3 in its key derivation mode by Floyd's method: each of them
/// is uniform, because draws beyond the largest multiple of the range are thrown away.
pub fn choose(seed: &[u8], population: u64, count: u64) -> Vec<u64> {
    if count >= population {
        return (0..population).collect();
    }
    let mut draws = Draws::new(seed);
    let mut chosen = HashSet::new();
    for last in population - count..population {
        let drawn = draws.below(last + 1);
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    let mut chosen: Vec<_> = chosen.into_iter().collect();
    chosen.sort_unstable();
    chosen
}

/// Numbers from a seed.
struct Draws(blake3::OutputReader);

impl Draws {
    fn new(seed: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("shudao verify 2026-08 choice of a sample");
        hasher.update(seed);
        Self(hasher.finalize_xof())
    }

    /// A uniform number below `range`, which must not be 0.
    fn below(&mut self, range: u64) -> u64 {
        let fair = u64::MAX - u64::MAX % range;
        loop {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            let drawn = u64::from_le_bytes(bytes);
            if drawn < fair {
                return drawn % range;
            }
        }
    }
}

/// Two significant digits, never less than the truth: a bound must not be rounded to look better.
fn percent_rounded_up(fraction: f64) -> String {
    let percent = fraction * 100.0;
    let decimals = (1 - percent.log10().floor() as i32).clamp(0, 12);
    let scale = 10_f64.powi(decimals);
    // What floating point adds below the twelfth digit is no part of the bound.
    let scaled = (percent * scale * (1.0 - 1e-12)).ceil();
    trimmed(scaled / scale, decimals)
}

/// At most six decimals, never more than the truth.
fn percent_rounded_down(fraction: f64) -> String {
    let scaled = (fraction * 100.0 * 1e6 * (1.0 + 1e-12)).floor();
    trimmed(scaled / 1e6, 6)
}

fn trimmed(number: f64, decimals: i32) -> String {
    let text = format!("{number:.*}", decimals.unsigned_abs() as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// Digits in groups of three: 6,905.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
