//! The one scenario that is also part of `cargo xtask test --quick`.

use dormouse_tests::{Failure, Fill, Options, scenario};

#[test]
fn linux_sleeps_on_nvme_and_wakes_with_all_it_had() -> Result<(), Failure> {
    let options = Options::default();
    let fill = Fill::for_memory(options.memory());
    Ok(scenario::round_trip("one-round-trip", options, &fill)?)
}
