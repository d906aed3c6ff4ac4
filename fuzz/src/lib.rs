//! From libFuzzer to a body of `bodies/`.

pub use dormouse_fuzz_bodies::target;
pub use libfuzzer_sys;

/// The target with this name.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            ($crate::target($name).expect("a target of that name").run)(data);
        });
    };
}
