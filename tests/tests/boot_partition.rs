//! Where there is no image to wake, or a wrong one, the reader starts Linux from
//! a boot partition; and where it cannot, it says why.

use dormouse_guest::protocol::Call;
use dormouse_handoff::image::State;
use dormouse_tests::qemu::{Chipset, DiskKind, Setup};
use dormouse_tests::{Artefacts, Entry, Error, Failure, Fill, Life, Options, entry, scenario};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A guest that the reader starts from a boot partition, that sleeps, and that
/// the same reader wakes.
fn comes_up_sleeps_and_wakes(name: &str, options: Options) -> Result<(), Failure> {
    let options = Options { by_reader: true, ..options };
    Ok(scenario::round_trip(name, options, &Fill::light())?)
}

#[test]
fn a_wrong_image_is_told_of_and_linux_comes_up_instead() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let options = Options { by_reader: true, ..Options::default() };
    let mut life = Life::begin(&artefacts, "boot-partition", options)?;
    let before = life.fill(&Fill::light())?;
    // QEMU puts the reader there again whenever the machine wakes from S3.
    let iomem = life.guest.text(Call::Read { path: "/proc/iomem".into() })?;
    assert!(iomem.contains("06000000-061fffff : Reserved\n"), "not reserved: {iomem}");
    life.suspend_by_linux(1)?;
    scenario::well(&mut life, &before)?;
    let asleep = scenario::sleep(&mut life, &[])?;
    let copies = [life.target_disk(), life.second_disk()].map(|disk| {
        let copy = disk.with_extension("asleep");
        (disk, copy)
    });
    for (disk, copy) in &copies {
        fs::copy(disk, copy).map_err(Error::host("copying a disk"))?;
    }

    // One bit of the memory that is read first, then the rest: what was put in
    // place by then is in nobody's way.
    let header = scenario::image(&life)?.header(State::Valid)?;
    let data = header.layout().data.offset + header.data_length / 2;
    flip(&life.target_disk(), data)?;
    let discarded = life.beside(|guest| guest.run(&["dormouse", "discard", "--stale"]))?;
    life.logged(|_| scenario::said(&discarded, 0, &["the sleeping system is given up"]))?;
    scenario::image(&life)?.header(State::Discarded)?;
    let log = fs::read(life.folder.join("serial.log")).map_err(Error::host("the serial log"))?;
    let log = String::from_utf8_lossy(&log).into_owned();
    for words in ["error: read: ", "starting Linux"] {
        if !log.contains(words) {
            let error = Error::verdict(format!("the reader did not say {words:?}"));
            return Err(life.with_log(error).into());
        }
    }

    for (disk, copy) in &copies {
        fs::rename(copy, disk).map_err(Error::host("putting a disk back"))?;
    }
    scenario::wake(&mut life, &asleep, &before)?;
    let attempt = life.attempt(&["dormouse", "--json", "suspend"])?;
    life.suspended(&attempt, 1)?;
    let (ran, _) = life.wake_from_ram(&attempt)?;
    life.logged(|_| scenario::said(&ran, 0, &["\"outcome\": \"woken-from-ram\""]))?;
    scenario::well(&mut life, &before)?;
    life.finish()?;
    Ok(())
}

#[test]
fn it_does_so_for_uefi_firmware() -> Result<(), Failure> {
    let (firmware, entry) = (Entry::Uefi.firmware(), Entry::Uefi);
    let options = Options { firmware, entry, chipset: Chipset::Q35, ..Options::default() };
    let options = Options { disk: DiskKind::Ahci, ..options };
    comes_up_sleeps_and_wakes("boot-partition-uefi", options)
}

#[test]
fn it_does_so_on_a_microvm() -> Result<(), Failure> {
    let (chipset, disk) = (Chipset::Microvm, DiskKind::VirtioBlk);
    let options = Options { chipset, disk, ..Options::default() };
    comes_up_sleeps_and_wakes("boot-partition-microvm", options)
}

#[test]
fn it_does_so_for_grub() -> Result<(), Failure> {
    let options = Options { entry: Entry::Multiboot2, ..Options::default() };
    comes_up_sleeps_and_wakes("boot-partition-grub", options)
}

/// What is on a boot partition that does not start, and what the reader says.
struct Broken {
    why: &'static str,
    make: fn(&Broth<'_>) -> Result<(), Error>,
}

/// What boot partitions are made of.
struct Broth<'a> {
    disk: &'a Path,
    kernel: &'a Path,
    other_kernel: &'a Path,
}

impl Broth<'_> {
    fn with_kernel(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let mut kernel = fs::read(self.kernel).map_err(Error::host("reading the kernel"))?;
        change(&mut kernel);
        fs::write(self.other_kernel, kernel).map_err(Error::host("writing a kernel"))?;
        entry::boot_partition(self.disk, self.other_kernel, None, "noinitrd")
    }
}

const BROKEN: [Broken; 6] = [
    Broken {
        why: "there is no dormouse/initrd",
        make: |broth| entry::boot_partition(broth.disk, broth.kernel, None, "quiet"),
    },
    Broken {
        why: "the file has 1000000 bytes, the kernel ",
        make: |broth| broth.with_kernel(|kernel| kernel.truncate(1_000_000)),
    },
    Broken {
        // init_size, in Linux's boot protocol.
        why: "the kernel needs 1792 MiB of memory in one piece",
        make: |broth| {
            broth.with_kernel(|kernel| kernel[0x260..0x264].copy_from_slice(&[0, 0, 0, 0x70]))
        },
    },
    Broken {
        why: "dormouse/kernel cannot be started: it is no bzImage",
        make: |broth| broth.with_kernel(|kernel| kernel[0x202] = b'h'),
    },
    Broken {
        why: "the FAT file system is damaged: broken after cluster",
        make: |broth| {
            broth.with_kernel(|_| {})?;
            let disk =
                File::options().write(true).open(broth.disk).map_err(Error::host("opening"))?;
            // Both tables, but for the root folder's and the other folder's entries.
            disk.write_all_at(&[0; 900 << 10], (1 << 20) + 32 * 512 + 16)
                .map_err(Error::host("writing"))
        },
    },
    Broken {
        why: "the FAT file system is larger than its disk",
        make: |broth| {
            broth.with_kernel(|_| {})?;
            let disk =
                File::options().write(true).open(broth.disk).map_err(Error::host("opening"))?;
            disk.set_len(32 << 20).map_err(Error::host("cutting a disk off"))
        },
    },
];

#[test]
fn what_cannot_be_started_is_told_of() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let folder = artefacts.fresh_run("boot-partition-broken")?;
    let (disk, other_kernel) = (folder.join("boot.img"), folder.join("kernel"));
    let broth = Broth { disk: &disk, kernel: artefacts.kernel(), other_kernel: &other_kernel };
    for broken in BROKEN {
        (broken.make)(&broth)?;
        let setup = Setup::of_reader(Entry::Pvh.boot(&artefacts, &folder)?, &disk);
        Life::refused(&setup, &folder, broken.why)?;
    }
    fs::remove_dir_all(&folder).map_err(Error::host("removing the disks"))?;
    Ok(())
}

/// Flips a bit of a disk.
fn flip(disk: &Path, at: u64) -> Result<(), Error> {
    let file = File::options().read(true).write(true).open(disk).map_err(Error::host("opening"))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).map_err(Error::host("reading"))?;
    byte[0] ^= 1;
    file.write_all_at(&byte, at).map_err(Error::host("writing"))
}
