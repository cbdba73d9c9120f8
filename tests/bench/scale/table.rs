//! The table: of each contestant the medians of its rounds.

use crate::measure::Figures;

/// Of a name the median of all rounds in which it was measured.
fn median(rounds: &[Figures], name: &str) -> f64 {
    middle(rounds.iter().map(|figures| figures.get(name)).collect())
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.retain(|figure| !figure.is_nan());
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn print(links: usize, rounds: usize, found: &[(&str, &Vec<Figures>)]) {
    println!("\n{links} links at one beat a second, medians of {rounds} rounds, own process only");
    println!("`to naive` is the processor time of a beat in comparison, round by round");
    println!(
        "{:<24} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8} {:>6} {:>7}",
        "", "CPU us", "to naive", "switches", "KiB/link", "start s", "stop s", "left", "missed"
    );
    let (_, first) = found[0];
    for (name, rounds) in found {
        let ratios = rounds.iter().zip(first).map(|(own, naive)| own.get("cpu") / naive.get("cpu"));
        let of = |name| median(rounds, name);
        // Whoever was left behind once was left behind.
        let left = rounds.iter().map(|figures| figures.get("left")).fold(f64::NAN, f64::max);
        println!(
            "{name:<24} {:>8.1} {:>8.2} {:>9.2} {:>9.1} {:>8.3} {:>8.3} {:>6.0} {:>7.0}",
            of("cpu"),
            middle(ratios.collect()),
            of("switches"),
            of("memory"),
            of("start"),
            of("stop"),
            left,
            of("missed"),
        );
    }
}
