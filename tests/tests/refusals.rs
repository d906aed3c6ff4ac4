//! What must not be done is not done, and the message says why.

use dormouse_handoff::image::State;
use dormouse_tests::qemu::Setup;
use dormouse_tests::{Artefacts, Failure, Fill, Life, Options, SECOND_DISK, scenario};

/// `dormouse`'s exit status where it refuses before anything is changed.
const REFUSED: i32 = 3;

#[test]
fn a_target_that_is_mounted_or_too_small_or_none_is_refused() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let options = Options { target_bytes: Some(512 << 20), ..Options::default() };
    let mut life = Life::begin(&artefacts, "refusals", options)?;
    let small = life.target()?;
    let mounts = life.guest.run(&["cat", "/proc/mounts"])?.stdout;
    let mounted = mounts.lines().filter_map(|line| line.split_once(' '));
    let mut mounted =
        mounted.filter(|(_, rest)| rest.starts_with(SECOND_DISK)).map(|(disk, _)| disk);
    let mounted = mounted.next_back().unwrap_or_default();
    for (target, word) in [
        (&*small, "the image may need"),
        (mounted, "mounted"),
        ("/dev/null", "/dev/null"),
        ("/dev/no", "/dev/no"),
    ] {
        let ran = life.guest.run(&["dormouse", "hibernate", "--target", target])?;
        life.logged(|_| scenario::said(&ran, REFUSED, &[word]))?;
    }
    life.finish()?;
    Ok(())
}

#[test]
fn a_machine_unlike_the_one_that_slept_does_not_wake_it() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "another-machine", Options::default())?;
    let before = life.fill(&Fill::light())?;
    let asleep = scenario::sleep(&mut life, &[])?;
    let reader = life.reader();
    for other in [
        Setup { memory_mib: 768, ..reader.clone() },
        Setup { cpu: "qemu64".into(), ..reader.clone() },
    ] {
        life.be_refused(&other, "this machine is not as the image needs it")?;
        scenario::image(&life)?.header(State::Valid)?;
    }
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
}

#[test]
fn a_kernel_without_the_door_is_told_apart() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let options = Options { kernel: Some(artefacts.distribution_kernel()?), ..Options::default() };
    let mut life = Life::begin_bare(&artefacts, "without-the-door", options)?;
    let ran = life.guest.run(&["dormouse", "check"])?;
    life.logged(|_| scenario::said(&ran, REFUSED, &["CONFIG_KEXEC_JUMP=y"]))?;
    Ok(life.abandon()?)
}
