//! Any bytes into any parser; what must hold is said in `parse_all.rs`.
#![no_main]

#[path = "../../it/fuzzed/parse_all.rs"]
mod parse_all;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    parse_all::parse_all(data);
});
