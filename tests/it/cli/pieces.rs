//! The pieces of the binary that depend on time or on the terminal, by themselves: the same files,
//! with times as arguments.

#![allow(dead_code)] // the binary uses the rest

#[path = "../../../examples/keepbeat/alive.rs"]
mod alive;
#[path = "../../../examples/keepbeat/columns.rs"]
mod columns;
#[path = "../../../examples/keepbeat/crowd.rs"]
mod crowd;
#[path = "../../../examples/keepbeat/nearest.rs"]
mod nearest;
#[path = "../../../examples/keepbeat/order.rs"]
mod order;
#[path = "../../../examples/keepbeat/screen.rs"]
mod screen;
#[path = "../../../examples/keepbeat/shown.rs"]
mod shown;
#[path = "../../../examples/keepbeat/terminal.rs"]
mod terminal;
#[path = "../../../examples/keepbeat/wrap.rs"]
mod wrap;

use std::time::{Duration, Instant, SystemTime};

use keepbeat::Cause;

use alive::{Alive, grouped};
use columns::{Columns, Mark, RED};
use crowd::{Crowd, Member};
use order::Order;
use screen::{Screen, Width, is_ascii};
use wrap::{padded, width, wrapped};

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn words_stay_whole_and_wide_letters_count_as_what_they_take() {
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("one incomprehensibility", 7), ["one", "incomprehensibility"]);
    assert_eq!(wrapped("", 7), [""]);
    assert_eq!(wrapped("データ ベース x", 9), ["データ", "ベース x"]);
    for (text, columns) in [("abc", 3), ("データ", 6), ("café", 4), ("cafe\u{301}", 4), ("👩‍💻", 2)]
    {
        assert_eq!(width(text), columns, "{text}");
        assert_eq!(width(&padded(text, 9)), 9, "{text}");
    }
}

#[test]
fn letters_are_ascii_where_the_locale_or_the_terminal_says_so() {
    let with = |pairs: &[(&str, &str)]| {
        is_ascii(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into()))
    };
    for plain in [
        [("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")].as_slice(),
        &[("LANG", "POSIX")],
        &[("LC_CTYPE", "en_US.ISO-8859-1"), ("LANG", "en_US.UTF-8")],
        &[("TERM", "dumb"), ("LANG", "en_US.UTF-8")],
    ] {
        assert!(with(plain), "{plain:?}");
    }
    for rich in [
        [("LC_ALL", "C.UTF-8"), ("LANG", "C")].as_slice(),
        &[("LANG", "de_DE.utf8"), ("TERM", "xterm")],
        &[],
    ] {
        assert!(!with(rich), "{rich:?}");
    }
    let screen = Screen { colors: false, ascii: true, width: Width::Unlimited };
    assert_eq!(screen.letters("231.0µs, …, データ"), "231.0us, ..., \\u{30c7}\\u{30fc}\\u{30bf}");
}

fn columns(width: usize, names: usize) -> Columns {
    Columns::new(Screen { colors: false, ascii: false, width: Width::Fixed(width) }, names)
}

const DOWN: Mark = Mark::new('✖', 'x', "down", RED);

#[test]
fn lines_keep_to_every_width_from_sixty_columns_on_and_lose_no_word() {
    let detail = "no ack of 3 beats in a row, each within 300ms, and a few words more";
    let name = "a-name-of-middling-size";
    for most in 60..200 {
        let columns = columns(most, name.len());
        for cause in [None, Some(Cause::PeerSilent), Some(Cause::ConversationSilent)] {
            let text = columns.line(SystemTime::now(), DOWN, name, cause, detail);
            let text = text + &columns.below("remedy", detail) + &columns.act(detail);
            for line in text.lines() {
                assert!(width(line) <= most, "{most}: {} columns\n{text}", width(line));
            }
            let words: Vec<_> = text.split_whitespace().collect();
            for word in detail.split(' ').chain([name, "down"]) {
                assert!(words.contains(&word), "{most}: no `{word}`\n{text}");
            }
            let at: Vec<_> = text.lines().filter_map(|line| line.find("down")).collect();
            assert_eq!(at[0], 19, "the columns stay\n{text}");
        }
    }
}

#[test]
fn the_day_is_told_when_it_is_another_one() {
    let columns = columns(100, 1);
    let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let midnight = 1_800_057_600; // 2027-01-16
    let line = |secs| columns.line(at(secs), DOWN, "a", None, "x");
    assert!(line(midnight - 2).starts_with("23:59:58.000Z  "));
    assert!(line(midnight - 1).starts_with("23:59:59.000Z  "));
    let next = line(midnight);
    assert!(next.starts_with("-- 2027-01-16\n00:00:00.000Z  "), "{next}");
    assert!(line(midnight + 1).starts_with("00:00:01.000Z  "));
}

#[test]
fn events_of_links_come_in_the_order_of_their_times_and_those_of_one_link_stay() {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let ms = Duration::from_millis;
    let mut order = Order::new();
    order.push("b", wall + ms(7), "b7", now);
    order.push("a", wall + ms(3), "a3", now);
    // The clock was set back for a moment between them.
    order.push("a", wall + ms(1), "a1", now);
    order.push("c", wall + ms(5), "c5", now + ms(40));
    assert_eq!(order.due(), Some(now + ms(50)));
    assert!(order.take(now + ms(49), false).is_empty(), "they are held for a moment");
    assert_eq!(order.take(now + ms(50), false), ["a3", "a1", "c5", "b7"]);
    order.push("d", wall + ms(9), "d9", now + ms(60));
    assert_eq!(order.take(now + ms(60), true), ["d9"]);
    assert_eq!(order.due(), None);
}

#[test]
fn a_clock_that_is_set_back_for_good_is_followed() {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let mut order = Order::new();
    order.push("a", wall, "a", now);
    order.push("a", wall - 3600 * S, "a again", now);
    order.push("b", wall - 3599 * S, "b", now);
    assert_eq!(order.take(now, true), ["a again", "b", "a"]);
}

fn member(link: u32) -> (u32, String, String) {
    (link, format!("t{link}"), format!("10.0.0.{}", link % 2))
}

fn admits(crowd: &mut Crowd<&'static str, u32>, kind: &'static str, n: u32, now: Instant) -> bool {
    let (link, name, host) = member(n);
    crowd.admits(kind, &Member { link, name: &name, host: &host }, now)
}

#[test]
fn of_many_who_fare_alike_the_first_have_lines_and_the_others_share_one() {
    let now = Instant::now();
    let mut crowd = Crowd::new(500);
    let shown = (0..500).filter(|n| admits(&mut crowd, "down", *n, now)).count();
    assert_eq!((shown, crowd.due()), (3, Some(now + 5 * S)));
    assert!(admits(&mut crowd, "down", 1, now), "who had a line goes on to have it");
    assert!(admits(&mut crowd, "up", 400, now), "another kind");
    assert!(crowd.take(now + 4 * S, false).is_empty(), "more may come");
    let told = crowd.take(now + 5 * S, false);
    assert_eq!(told.len(), 1);
    let (kind, words) = &told[0];
    assert_eq!(*kind, "down");
    assert_eq!(words, "497 more targets, on 10.0.0.1 (249), 10.0.0.0 (248)");
    assert_eq!(crowd.due(), None);
    assert!(admits(&mut crowd, "down", 77, now + 11 * S), "another time");
}

#[test]
fn a_burst_without_an_end_is_told_of_all_the_same() {
    let start = Instant::now();
    let mut crowd = Crowd::new(100);
    let mut told = Vec::new();
    for n in 0..100 {
        let now = start + n * S;
        admits(&mut crowd, "down", n, now);
        told.extend(crowd.take(now, false));
    }
    told.extend(crowd.take(start + 100 * S, true));
    assert!((9..=11).contains(&told.len()), "{told:?}");
    let sum: usize = told
        .iter()
        .map(|(_, words)| words.split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(sum, 97, "{told:?}");
}

#[test]
fn few_targets_share_no_line_and_few_others_are_named() {
    let now = Instant::now();
    let mut few = Crowd::new(10);
    assert!((0..10).all(|n| admits(&mut few, "down", n, now)));
    let mut many = Crowd::new(11);
    let shown = (0..5).filter(|n| admits(&mut many, "down", *n, now)).count();
    assert_eq!((shown, many.take(now, true)[0].1.as_str()), (3, "2 more targets: t3, t4"));
    let _ = (0..4).filter(|n| admits(&mut many, "up", *n, now)).count();
    assert_eq!(many.take(now, true)[0].1, "1 more target: t3");
}

#[test]
fn signs_of_life_come_ever_more_seldom_and_only_while_nothing_else_is_told() {
    let start = Instant::now();
    let mut alive = Alive::new(Some(10 * MINUTE), start);
    let mut at = Vec::new();
    for minute in 0..2000 {
        if alive.take(start + minute * MINUTE) {
            at.push(minute);
        }
    }
    assert_eq!(at, [10, 30, 70, 150, 310, 630, 1270, 1990]);
    let later = start + 2000 * MINUTE;
    alive.on_told(later);
    assert_eq!(alive.due(), Some(later + 10 * MINUTE), "from the beginning");
    assert_eq!(Alive::new(None, start).due(), None);
    assert_eq!(["7", "1 234", "1 234 567"], [7, 1234, 1_234_567].map(grouped));
}

#[test]
fn what_was_typed_is_shown_without_passwords_and_without_what_a_terminal_obeys() {
    for (text, shown) in [
        ("redis://bob:hunter2@h:1", "redis://***@h:1"),
        ("redis://bob:hunter2@h:1/x@y", "redis://***@y"),
        ("redis://:hunter2", "redis://***"),
        ("bob:hunter2@h", "***@h"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("/home/a@b/file", "/home/a@b/file"),
        ("a\x1b[31m\r\n\tb\u{202e}c\u{9b}", "a\\x1b[31m\\r\\n\\tb\\u{202e}c\\u{9b}"),
        ("データ", "データ"),
    ] {
        assert_eq!(shown::typed(text), shown);
    }
}

#[test]
fn a_slip_of_the_finger_finds_its_word() {
    let words = ["help", "demo", "explain", "demo-firewall"];
    for (typed, word) in [
        ("hepl", "help"),
        ("explian", "explain"),
        ("demo-firewal", "demo-firewall"),
        ("dmo", "demo"),
    ] {
        assert_eq!(nearest::find(typed, &words), Some(word));
        assert_eq!(nearest::hint(typed, &words), format!(" (did you mean `{word}`?)"));
    }
    for far in ["host", "database", "h"] {
        assert_eq!(nearest::find(far, &words), None, "{far}");
    }
}
