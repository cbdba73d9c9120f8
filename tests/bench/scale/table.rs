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
        "{:<26} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7} {:>8} {:>5} {:>6} {:>8}",
        "",
        "CPU us",
        "to naive",
        "switches",
        "KiB/link",
        "start s",
        "start CPU",
        "stop s",
        "stop CPU",
        "left",
        "missed",
        "late ms"
    );
    let (_, first) = found[0];
    for (name, rounds) in found {
        let ratios = rounds.iter().zip(first).map(|(own, naive)| own.get("cpu") / naive.get("cpu"));
        let of = |name| median(rounds, name);
        // Whoever was left behind once was left behind.
        let left = rounds.iter().map(|figures| figures.get("left")).fold(f64::NAN, f64::max);
        println!(
            "{name:<26} {:>7.1} {:>8.2} {:>8.2} {:>8.1} {:>8.3} {:>9.3} {:>7.3} {:>8.3} {:>5.0} \
             {:>6.0} {:>8.1}",
            of("cpu"),
            middle(ratios.collect()),
            of("switches"),
            of("memory"),
            of("start"),
            of("start cpu"),
            of("stop"),
            of("stop cpu"),
            left,
            of("missed"),
            of("late") / 1e3,
        );
    }
}
