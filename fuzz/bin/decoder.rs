//! libFuzzer's entry: runs the target that `SHUDAO_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8]) -> bool> = LazyLock::new(|| {
    let name = std::env::var("SHUDAO_FUZZ_TARGET").expect("SHUDAO_FUZZ_TARGET names the decoder to search");
    shudao_fuzz::target(&name).expect("SHUDAO_FUZZ_TARGET is one of the names in TARGETS")
});

fuzz_target!(|bytes: &[u8]| {
    TARGET(bytes);
});
