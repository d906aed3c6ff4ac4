//! Reusable snapshots: a machine that is simply there at every power-on, and
//! knows that it is another moment each time.

use dormouse_attacks::{Attack, record};
use dormouse_guest::protocol::Call;
use dormouse_handoff::image::{Kind, State};
use dormouse_tests::kiosk::{Kiosk, Model, System, Way};
use dormouse_tests::qemu::Chipset;
use dormouse_tests::scenario::said;
use dormouse_tests::{Appliance, Artefacts, Attempt, Error, Failure, Life, Options, scenario};
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

/// Two places for snapshots, and the guest that makes them.
struct TwoPlaces {
    life: Life,
    places: [String; 2],
}

impl TwoPlaces {
    /// The target, and the second disk, which the image of so little memory fits.
    fn begin(name: &str) -> Result<Self, Error> {
        let options = Options { memory_mib: 256, cpus: 1, ..Options::default() };
        let mut life = Life::begin_bare(&Artefacts::from_environment()?, name, options)?;
        let first = life.target()?;
        let second = life.guest.text(Call::FindDisk { serial: Life::SECOND_SERIAL.into() })?;
        let ran = life.guest.run(&["dormouse", "prepare", &second, "--erase"])?;
        life.logged(|_| said(&ran, 0, &["is a target now"]))?;
        Ok(Self { life, places: [first, second] })
    }

    fn words<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        let targets = self.places.iter().flat_map(|place| ["--target", place]);
        ["dormouse", "--json"].into_iter().chain(command.iter().copied()).chain(targets).collect()
    }

    /// Runs a command that ends well, with both places.
    fn run(&mut self, command: &[&str], words: &[&str]) -> Result<(), Error> {
        let argv: Vec<String> = self.words(command).into_iter().map(str::to_owned).collect();
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let ran = self.life.guest.run(&argv)?;
        self.life.logged(|_| said(&ran, 0, words))
    }

    /// Leaves a mark in memory, and makes the next generation.
    fn snapshot(&mut self, mark: &str, more: &[&str]) -> Result<Attempt, Error> {
        let script = format!("echo {mark} > /run/mark");
        let ran = self.life.guest.run(&["sh", "-c", &script])?;
        self.life.logged(|_| said(&ran, 0, &[]))?;
        let command = [&["snapshot", "--reusable"], more].concat();
        let argv: Vec<String> = self.words(&command).into_iter().map(str::to_owned).collect();
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let attempt = self.life.attempt(&argv)?;
        let ran = self.life.return_from(&attempt)?;
        self.life.logged(|_| said(&ran, 0, &["\"outcome\": \"done\""]))?;
        Ok(attempt)
    }

    /// Cuts the power and starts the machine: `attempt`'s snapshot must wake, with
    /// its mark, and say all of `words`.
    fn power_on(&mut self, attempt: &Attempt, mark: &str, words: &[&str]) -> Result<(), Error> {
        self.life.cut_power();
        let awake = self.life.wake(&attempt.in_its_image())?;
        let woken = ["\"outcome\": \"woken\""];
        self.life.logged(|_| said(&awake.said, 0, &[&woken, words].concat()))?;
        let found = self.life.guest.text(Call::Read { path: "/run/mark".into() })?;
        if found.trim() == mark {
            return Ok(());
        }
        Err(self.life.with_log(Error::verdict(format!("{found:?} woke instead of {mark}"))))
    }
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

#[test]
fn a_newer_snapshot_takes_over_unless_it_does_not_wake_or_is_taken_back() -> Result<(), Failure> {
    let mut two = TwoPlaces::begin("generations")?;
    let first = two.snapshot("one", &[])?;
    let second = two.snapshot("two", &[])?;
    two.run(&["status"], &["generation 1", "generation 2"])?;
    for _ in 0..2 {
        two.power_on(&second, "two", &[])?;
    }

    // Taken back, from within the one that is given up.
    two.run(&["snapshot", "--rollback"], &["given_up", "woken_from_now_on"])?;
    two.power_on(&first, "one", &[])?;
    let argv = two.words(&["snapshot", "--rollback"]).join(" ");
    let ran = two.life.guest.run(&["sh", "-c", &argv])?;
    said(&ran, 3, &["no older snapshot"])?;

    // Read to its end, and then an error: the older wakes in the same power-on,
    // and from the third on without that.
    let faulty = ["--test-fault", "consume:error", "--attempts", "2"];
    two.snapshot("three", &faulty)?;
    for _ in 0..2 {
        two.power_on(&first, "one", &["generation 3 was passed over: ", "a test asked for"])?;
    }
    two.power_on(&first, "one", &["generation 3 was passed over: 2 wake-ups"])?;

    // One that takes the reader down with it.
    let deadly = ["--test-fault", "read:panic", "--attempts", "1"];
    two.snapshot("four", &deadly)?;
    two.life.cut_power();
    let reader = two.life.reader();
    two.life.be_refused(&reader, "a panic that a test asked for")?;
    two.power_on(&first, "one", &["generation 4 was passed over: 1 wake-ups"])?;

    // What does not wake is overwritten before what does.
    let fifth = two.snapshot("five", &[])?;
    two.power_on(&fifth, "five", &[])?;
    Ok(two.life.abandon()?)
}

/// A hook that mounts something, after it was seen that nothing is mounted.
#[test]
fn what_a_hook_mounts_for_writing_is_seen_before_the_jump() -> Result<(), Failure> {
    const HOOK: &str = "/etc/dormouse/sleep.d/mounts";
    let options = Options { memory_mib: 256, cpus: 1, ..Options::default() };
    let mut life = Life::begin_bare(&Artefacts::from_environment()?, "hook-mounts", options)?;
    let disk = life.guest.text(Call::FindDisk { serial: Life::SECOND_SERIAL.into() })?;
    let made = format!(
        "mkdir -p /etc/dormouse/sleep.d /data && \
         printf '#!/bin/sh\\necho a word of a hook\\nmount {disk} /data\\n' > {HOOK} && \
         chmod +x {HOOK}"
    );
    let ran = life.guest.run(&["sh", "-c", &made])?;
    life.logged(|_| said(&ran, 0, &[]))?;
    let attempt = life.dormouse("snapshot", &["--reusable"])?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 3, &["mounted for writing at /data", "a word of a hook"]))?;
    let answer: Value = serde_json::from_str(&ran.stdout).map_err(Error::host(&ran.stdout))?;
    assert!(answer["findings"].is_array(), "{answer}");
    assert!(life.target_page(0)?.iter().all(|byte| *byte == 0), "an image was begun");
    Ok(life.abandon()?)
}

#[test]
fn an_update_cut_at_any_instant_leaves_the_older_snapshot_or_the_newer() -> Result<(), Failure> {
    const CUTS: u32 = 5;
    let mut rng = fastrand::Rng::new();
    println!("seed {}", rng.get_seed());
    let mut two = TwoPlaces::begin("update-cut")?;
    let mut mark = "first".to_owned();
    let first = two.snapshot(&mark, &[])?;
    two.power_on(&first, &mark, &[])?;
    let mut took_over = 0;
    for cut in 0..CUTS {
        let next = format!("after-{cut}");
        let script = format!("echo {next} > /run/mark");
        let ran = two.life.guest.run(&["sh", "-c", &script])?;
        said(&ran, 0, &[])?;
        let argv = two.words(&["snapshot", "--reusable"]).join(" ");
        two.life.attempt(&["sh", "-c", &argv])?;
        two.life.machine()?.console.wait_for("target: ", Duration::from_secs(60))?;
        let instant = Duration::from_millis(rng.u64(0..700));
        std::thread::sleep(instant);
        two.life.power_on()?;
        let found = two.life.guest.text(Call::Read { path: "/run/mark".into() });
        let found = found.map_err(|error| two.life.with_log(error))?;
        println!("cut after {instant:.0?}: {} woke", found.trim());
        assert!([&mark, &next].contains(&&found.trim().to_owned()), "{found} woke");
        took_over += u32::from(found.trim() == next);
        mark = found.trim().to_owned();
    }
    record(Attack {
        promise: 2,
        attack: "the power is cut in QEMU while a reusable snapshot is updated".into(),
        cases: CUTS.into(),
        command: "cargo test -p dormouse-tests --test snapshots".into(),
    });
    println!("{took_over} of {CUTS} updates were complete");
    Ok(two.life.abandon()?)
}

#[test]
fn the_kiosk_answers_at_every_power_on_and_knows_the_moment() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let model = Model { chipset: Chipset::Pc, appliance: Appliance::Pvh };
    let kiosk = Kiosk::new(&artefacts, "kiosk-answers", &System::Busybox, model, None)?;
    kiosk.put_to_sleep(Way::Dormouse)?;
    let mut ids = HashSet::new();
    for before in ["0", "1"] {
        let (running, took) = kiosk.power_on(Way::Dormouse)?;
        println!("the first answer after {:.2} s: {took:.2?}", took.total());
        assert!(running.get("/")?.contains("simply there"));
        let moment = running.get("/cgi-bin/moment")?;
        let value = |name: &str| -> String {
            let line = moment.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        assert_eq!(value("woken-before"), before, "{moment}");
        assert_eq!(value("cache"), "104857600 bytes", "{moment}");
        assert!(value("id").len() == 36 && ids.insert(value("id")), "{moment}");
    }
    Ok(kiosk.remove()?)
}
