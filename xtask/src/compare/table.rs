//! The table at the end.

use std::fmt::Write as _;

use serde::Serialize;

use super::measure::{Better, ENSEMBLE_MEASURES, MEASURES, Measure};
use super::results::{Results, Side};
use super::scenario::{ENSEMBLE_SCENARIOS, OBSERVER_SCENARIOS, SCENARIOS, Scenario};

/// A line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    measure: &'static str,
    scenario: &'static str,
    unit: &'static str,
    apache: Option<f64>,
    ostler: Option<f64>,
    ratio: Option<Ratio>,
    must: f64,
    aim: f64,
    /// Whether it is good enough.
    pub(crate) mark: Option<Mark>,
    #[serde(skip)]
    better: Better,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Ratio {
    median: f64,
    min: f64,
    max: f64,
    pairs: usize,
}

/// Whether a measure is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Mark {
    /// It reaches what is aimed at.
    Aim,
    /// It reaches what it must.
    Must,
    /// It does not.
    Missed,
}

/// The lines for these scenarios.
pub(crate) fn rows(results: &Results, scenarios: &[&Scenario], rounds: u32) -> Vec<Row> {
    let all = MEASURES.iter().chain(ENSEMBLE_MEASURES);
    let wanted = all.filter(|it| scenarios.iter().any(|scenario| scenario.name == it.scenario));
    wanted.map(|it| row(results, it, rounds)).collect()
}

fn row(results: &Results, measure: &Measure, rounds: u32) -> Row {
    let figure = |round, side| results.get(measure.scenario, round, side).map(|it| (measure.figure)(&it));
    let all = |side| -> Vec<f64> { (1..=rounds).filter_map(|round| figure(round, side)).collect() };
    let pairs = (1..=rounds).filter_map(|it| Some(figure(it, Side::Ostler)? / figure(it, Side::Apache)?));
    let ratio = ratio(pairs.collect());
    let counts = match measure.better {
        Better::Absolute => median(all(Side::Ostler)),
        Better::Less | Better::More => ratio.map(|it| it.median),
    };
    let mark = counts.map(|it| {
        let reaches = |goal| measure.better.reaches(it, goal);
        match (reaches(measure.aim), reaches(measure.must)) {
            (true, _) => Mark::Aim,
            (false, true) => Mark::Must,
            (false, false) => Mark::Missed,
        }
    });
    Row {
        measure: measure.name,
        scenario: measure.scenario,
        unit: measure.unit,
        apache: median(all(Side::Apache)),
        ostler: median(all(Side::Ostler)),
        ratio,
        must: measure.must,
        aim: measure.aim,
        mark,
        better: measure.better,
    }
}

fn ratio(pairs: Vec<f64>) -> Option<Ratio> {
    Some(Ratio {
        min: pairs.iter().copied().reduce(f64::min)?,
        max: pairs.iter().copied().reduce(f64::max)?,
        pairs: pairs.len(),
        median: median(pairs)?,
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The table as text.
pub(crate) fn render(rows: &[Row], sides: &[Side]) -> String {
    // Writing to a String cannot fail.
    let mut text = format!("{:<28}{:>14}{:>14}", "measure (medians)", "Apache", "Ostler");
    let both = sides.len() > 1;
    if both {
        let _ = write!(text, "   {:<22}{:<10}{:<10}met", "ratio (min-max)", "must", "aim");
    }
    text.push('\n');
    for row in rows {
        let figure = |it: Option<f64>| it.map_or_else(|| "-".to_owned(), |it| format!("{} {}", short(it), row.unit));
        let _ = write!(text, "{:<28}{:>14}{:>14}", row.measure, figure(row.apache), figure(row.ostler));
        if both {
            let ratio = row
                .ratio
                .map_or_else(|| "-".to_owned(), |it| format!("{:.2} ({:.2}-{:.2})", it.median, it.min, it.max));
            let goal = |goal: f64| match row.better {
                Better::Absolute => format!("{} {goal} {}", row.better.sign(), row.unit),
                Better::Less | Better::More => format!("{} {goal:.2}", row.better.sign()),
            };
            let met = match row.mark {
                Some(Mark::Aim) => "aim",
                Some(Mark::Must) => "must",
                Some(Mark::Missed) => "MISSED",
                None => "",
            };
            let _ = write!(text, "   {ratio:<22}{:<10}{:<10}{met}", goal(row.must), goal(row.aim));
        }
        text.push('\n');
    }
    text
}

/// Three digits that matter.
fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// What there is to compare.
pub(crate) fn list() -> String {
    let mut text = String::from("scenarios:\n");
    for scenario in SCENARIOS.iter().chain(ENSEMBLE_SCENARIOS).chain(OBSERVER_SCENARIOS) {
        let _ = writeln!(text, "  {:<16}{}", scenario.name, scenario.about);
    }
    text += "measures (ratio of Ostler's figure to Apache's: what it must be, what is aimed at):\n";
    for it in MEASURES.iter().chain(ENSEMBLE_MEASURES) {
        let (sign, must, aim) = (it.better.sign(), it.must, it.aim);
        let _ = writeln!(text, "  {:<16}{:<30}{sign} {must:.2}, {sign} {aim:.2}", it.scenario, it.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::results::{Figures, WithObservers};
    use super::*;

    #[test]
    fn what_observers_come_to_is_told_one_by_one() {
        let mut figures = Figures::default();
        for (n, (reads_per_second, voters_cpu_us_per_set)) in [(1000.4, 20.0), (1500.0, 20.26)].into_iter().enumerate()
        {
            figures.observers[n] = Some(WithObservers { reads_per_second, voters_cpu_us_per_set });
        }
        assert_eq!(
            figures.line(),
            "0 observers: 1000 reads/s, 20.0 us of the voters' CPU a set; 1 observers: 1500 reads/s, 20.3 us of the voters' CPU a set"
        );
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn every_measure_has_its_scenario_and_an_aim_beyond_its_must() {
        for measure in MEASURES.iter().chain(ENSEMBLE_MEASURES) {
            assert!(
                SCENARIOS.iter().chain(ENSEMBLE_SCENARIOS).any(|it| it.name == measure.scenario),
                "{}",
                measure.name
            );
            assert!(measure.better.reaches(measure.aim, measure.must), "{}", measure.name);
        }
    }
}
