//! What must not be done is not done, and the message says why.

use dormouse_handoff::image::State;
use dormouse_tests::qemu::{Boot, Setup};
use dormouse_tests::{Artefacts, Error, Failure, Fill, Life, Options, SECOND_DISK, scenario};
use std::fs;
use std::path::{Path, PathBuf};

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
    let with = |more: &[&str]| Setup {
        more: reader.more.iter().cloned().chain(more.iter().map(|w| (*w).to_owned())).collect(),
        ..reader.clone()
    };
    let build = another_build(&artefacts, &life.folder)?;
    let others = [
        (Setup { memory_mib: 768, ..reader.clone() }, "RAM at 0x2f"),
        (with(&["-machine", "max-ram-below-4g=512M"]), "RAM at 0x1f"),
        (Setup { cpu: "max,model=1".into(), ..reader.clone() }, "the processor's signature is"),
        (Setup { cpu: "max,aes=off".into(), ..reader.clone() }, "CPUID 1 ECX, bits 0x2000000"),
        (with(&["-device", "pvpanic"]), "ACPI tables (DSDT) have changed"),
        (reader.booting(Boot::Writer(build)), "written by another build of writer.elf"),
    ];
    for (other, reason) in others {
        life.be_refused(&other, reason)?;
        scenario::image(&life)?.header(State::Valid)?;
    }
    let what_to_do = "`dormouse discard` gives up what sleeps there";
    life.be_refused(&with(&["-device", "pvpanic"]), what_to_do)?;
    // The same machine all the same: it wakes.
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
}

/// Another build of the reader: one that says something else at its end.
fn another_build(artefacts: &Artefacts, folder: &Path) -> Result<PathBuf, Error> {
    let mut elf = fs::read(artefacts.writer()).map_err(Error::host("reading writer.elf"))?;
    let words = b"nothing was brought back";
    let place = elf.windows(words.len()).position(|window| window == words);
    let place = place.ok_or_else(|| Error::verdict("the reader has other words"))?;
    elf[place] = b'N';
    let file = folder.join("another-build.elf");
    fs::write(&file, elf).map_err(Error::host("writing another build"))?;
    Ok(file)
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
