//! Reusable snapshots: a machine that is simply there at every power-on, and
//! knows that it is another moment each time.

use dormouse_guest::protocol::Call;
use dormouse_handoff::image::{Kind, State};
use dormouse_tests::scenario::said;
use dormouse_tests::{Artefacts, Attempt, Error, Failure, Life, Options, scenario};
use serde_json::Value;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the clocks of machines show at power-on: after the snapshot, long before
/// it, and again the same.
const CLOCKS: [(&str, u64); 4] = [
    ("2031-05-04T03:02:01", 1_935_630_121),
    ("2001-02-03T04:05:06", 981_173_106),
    ("2037-12-31T23:00:00", 2_145_913_200),
    ("2031-05-04T03:02:01", 1_935_630_121),
];

/// A hook as an appliance would have it, which notes what it was told.
const HOOK: &str = "#!/bin/sh\n\
    echo $1 $DORMOUSE_ACTION $DORMOUSE_KIND $DORMOUSE_OUTCOME $DORMOUSE_WOKEN_BEFORE \
    > /run/woken\n";

/// Puts a hook into the guest's `wake.d`.
fn with_hook(artefacts: &Artefacts, mut options: Options) -> Result<Options, Error> {
    let hook = artefacts.fresh_run("power-ons-hook")?.join("note");
    std::fs::write(&hook, HOOK).map_err(Error::host("writing a hook"))?;
    options.files.push((PathBuf::from("/etc/dormouse/wake.d/note"), hook));
    Ok(options)
}

/// Makes a reusable snapshot, and cuts the power.
fn snapshot(life: &mut Life, more: &[&str]) -> Result<Attempt, Error> {
    let attempt = life.dormouse("snapshot", &[&["--reusable"], more].concat())?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 0, &["\"outcome\": \"done\""]))?;
    life.cut_power();
    Ok(attempt)
}

/// The guest's clock, in seconds since 1970, less what has passed since `from`.
fn clock_at(life: &mut Life, from: Instant) -> Result<f64, Error> {
    let now = life.guest.facts()?.realtime_ns as f64 / 1e9;
    Ok(now - from.elapsed().as_secs_f64())
}

#[test]
fn twenty_power_ons_are_twenty_moments() -> Result<(), Failure> {
    // The harder case: no random numbers to be had of the processor.
    let cpu = "max,rdrand=off,rdseed=off".into();
    let artefacts = Artefacts::from_environment()?;
    let options = with_hook(&artefacts, Options { cpus: 1, cpu, ..Options::default() })?;
    let mut life = Life::begin_bare(&artefacts, "power-ons", options)?;
    let attempt = snapshot(&mut life, &[])?;
    let asleep = attempt.in_its_image();
    let mut drawn = HashSet::new();
    let from = Instant::now();
    for number in 0..20u64 {
        let (base, seconds) = CLOCKS[number as usize % CLOCKS.len()];
        let mut machine = life.reader();
        machine.more.extend(["-rtc".into(), format!("base={base},clock=host")]);
        let awake = life.wake_on(&asleep, &machine)?;
        life.logged(|_| said(&awake.said, 0, &["\"outcome\": \"woken\""]))?;
        let report: Value =
            serde_json::from_str(&awake.said.stdout).map_err(Error::host("its report"))?;
        assert_eq!(report["woken_before"], number);

        let clock = clock_at(&mut life, awake.started)?;
        let off = (clock - seconds as f64).abs();
        assert!(off < 5.0, "power-on {number}: the clock is {off:.0} s from {base}");

        let entropy = &report["entropy"];
        let bits = entropy["bits"].as_u64().unwrap_or(0);
        assert!(bits >= 128, "{entropy}");
        let sources = entropy["sources"].to_string();
        assert!(sources.contains("timings") && sources.contains("carried"), "{sources}");
        assert!(!sources.contains("rd"), "{sources}");
        let uuid = life.guest.text(Call::Read { path: "/proc/sys/kernel/random/uuid".into() })?;
        assert!(drawn.insert(uuid.clone()), "power-on {number} drew {uuid} once more");

        let noted = life.guest.text(Call::Read { path: "/run/woken".into() })?;
        assert_eq!(noted.trim(), format!("post snapshot reusable woken {number}"));
        life.cut_power();
    }
    let each = from.elapsed() / 20;
    println!("20 power-ons, {each:.1?} each");
    let header = scenario::image(&life)?.header(State::Valid)?;
    assert_eq!(header.kind(), Kind::Reusable);
    assert!(each < Duration::from_secs(30));
    Ok(life.abandon()?)
}
