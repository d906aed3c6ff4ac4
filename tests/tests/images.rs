//! An image is a kernel's memory: other people's programs find a Linux in it.

use dormouse_handoff::image::State;
use dormouse_tests::disk::Table;
use dormouse_tests::{Artefacts, Error, Failure, Fill, Life, Options, host_program, scenario};
use std::fs;
use std::path::Path;
use std::process::Command;

/// `dormouse` on the host, with `--json`.
fn dormouse(artefacts: &Artefacts, arguments: &[&str], files: &[&Path]) -> Result<String, Error> {
    let mut command = Command::new(artefacts.cli());
    host_program::run(command.arg("--json").args(arguments).args(files))
}

/// Fails unless `text` has all of `words`.
fn expect(what: &str, text: &str, words: &[&str]) -> Result<(), Error> {
    match words.iter().find(|word| !text.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(Error::verdict(format!("{what}: no word of {word:?}:\n{text}"))),
    }
}

#[test]
fn crash_gdb_and_makedumpfile_find_a_linux_in_an_image() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let symbols = artefacts.kernel_with_symbols()?;
    // On a partition: the tools find the image by the partition table.
    let options = Options { partition: Some(Table::Gpt), ..Options::default() };
    let mut life = Life::begin(&artefacts, "images", options)?;
    let before = life.fill(&Fill::light())?;
    let release = life.guest.facts()?.kernel_release;
    let asleep = scenario::sleep(&mut life, &[])?;
    scenario::image(&life)?.header(State::Valid)?;
    let folder = life.folder.clone();
    let (disk, core) = (life.target_disk(), folder.join("vmcore"));

    let made = dormouse(&artefacts, &["extract"], &[&disk, &core])?;
    let whole = ["\"window_pages_found\": 512", "\"registers\": true", "\"vmcoreinfo\": true"];
    expect("extract", &made, &whole)?;
    makedumpfile_reads(&core, &release)?;
    crash_reads(&core, &symbols, &release)?;
    gdb_reads(&core, &symbols, &release)?;

    let map = folder.join("map.png");
    dormouse(&artefacts, &["inspect", "--map"], &[&map, &disk])?;
    let first = folder.join("first.img");
    fs::copy(&disk, &first).map_err(Error::host("copying the image"))?;
    scenario::wake(&mut life, &asleep, &before)?;
    let asleep = scenario::sleep(&mut life, &[])?;
    let differences = dormouse(&artefacts, &["diff"], &[&first, &disk])?;
    for nothing in ["\"same\": 0,", "\"changed\": 0,"] {
        if differences.contains(nothing) {
            return Err(Error::verdict(format!("two sleeps of one life: {differences}")).into());
        }
    }
    for file in [&core, &first] {
        fs::remove_file(file).map_err(Error::host("removing what was made"))?;
    }
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
}

fn makedumpfile_reads(core: &Path, release: &str) -> Result<(), Error> {
    let (log, dump) = (core.with_file_name("dmesg"), core.with_file_name("kdump"));
    let mut command = Command::new("makedumpfile");
    host_program::run(command.arg("--dump-dmesg").args([core, &log]))?;
    let text = fs::read_to_string(&log).map_err(Error::host("reading the kernel's log"))?;
    expect("the kernel's log", &text, &["Linux version", release, "Disabling non-boot CPUs"])?;
    let mut command = Command::new("makedumpfile");
    host_program::run(command.args(["-d", "31", "-c"]).args([core, &dump]))?;
    for file in [log, dump] {
        fs::remove_file(file).map_err(Error::host("removing what was made"))?;
    }
    Ok(())
}

fn crash_reads(core: &Path, symbols: &Path, release: &str) -> Result<(), Error> {
    let commands = core.with_file_name("crash-commands");
    // crash 8.0.2 does not find its way through the table of processes of a
    // kernel with CONFIG_BASE_SMALL, so `ps` shows few; the list it can follow.
    let lines = "sys\nlist task_struct.tasks -s task_struct.comm -h init_task\nbt\nquit\n";
    fs::write(&commands, lines).map_err(Error::host("writing commands"))?;
    let mut command = Command::new("crash");
    command.args(["--kaslr", "auto", "--no_scroll", "-s", "-i"]);
    let said = host_program::run(command.arg(&commands).args([symbols, core]))?;
    let words = [release, "dormouse-guest", "kswapd0", "machine_kexec", "__do_sys_reboot"];
    expect("crash", &said, &words)
}

fn gdb_reads(core: &Path, symbols: &Path, release: &str) -> Result<(), Error> {
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch"]);
    for line in [
        format!("symbol-file {} -o {:#x}", symbols.display(), kaslr_offset(core)?),
        format!("core-file {}", core.display()),
        "print init_uts_ns.name.release".into(),
        "print (char *)linux_banner".into(),
    ] {
        command.args(["-ex", &line]);
    }
    let said = host_program::run(&mut command)?;
    expect("gdb", &said, &[&format!("\"{release}\""), "\"Linux version"])
}

/// `KERNELOFFSET` of the core's VMCOREINFO note.
fn kaslr_offset(core: &Path) -> Result<u64, Error> {
    use std::io::Read;
    let mut head = Vec::new();
    let file = fs::File::open(core).and_then(|file| file.take(64 << 10).read_to_end(&mut head));
    file.map_err(Error::host("reading the core's notes"))?;
    let text = String::from_utf8_lossy(&head);
    let value = text.lines().find_map(|line| line.strip_prefix("KERNELOFFSET="));
    let offset = value.and_then(|value| u64::from_str_radix(value, 16).ok());
    offset.ok_or_else(|| Error::verdict("the core's notes name no KERNELOFFSET"))
}
