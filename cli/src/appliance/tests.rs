//! Appliances built and looked at with the reader's own eyes.

use super::*;
use dormouse_boot::bzimage::HEAD;
use dormouse_boot::fat::Volume;
use dormouse_boot::models;
use dormouse_boot::{COMMAND_LINE, Disk, FOLDER, INITRD, KERNEL};
use dormouse_handoff::image::{Header, State};
use dormouse_handoff::partitions;
use dormouse_handoff::units::Lba;
use std::fs;
use std::ops::Range;
use tempfile::TempDir;

const FILE: &str = r#"
boot = "efi"
kernel = "bzImage"
initrd = "initrd"
command-line = "root={root} console=ttyS0"
guid-seed = "a test"

[image]
memory = "64M"

[root]
from = "root.squashfs"

[data]
size = "3M"
"#;

/// Files of the `bootloader` crate's loader, and their sizes: the stages are about as
/// large as they are.
const LOADER: [(&str, usize); 6] = [
    ("bootloader", 5000),
    ("kernel-x86_64", 6000),
    ("boot-sector", 512),
    ("boot-stage-2", 492_031),
    ("boot-stage-3", 118_786),
    ("boot-stage-4", 151_944),
];

struct Bench {
    folder: TempDir,
    reader: Reader,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut kernel = vec![7; models::SETUP_BYTES + 40960];
        kernel[..HEAD].copy_from_slice(&models::head(40960));
        fs::write(at("bzImage"), kernel).unwrap();
        fs::write(at("initrd"), [3; 100_000]).unwrap();
        fs::write(at("root.squashfs"), [5; 5000]).unwrap();
        let reader = Reader::in_folder(&at(""));
        fs::write(&reader.elf, [1; 3000]).unwrap();
        fs::write(&reader.bzimage, [2; 4000]).unwrap();
        fs::create_dir(&reader.bootloader).unwrap();
        for (name, bytes) in LOADER {
            let mut bytes = vec![name.len() as u8; bytes];
            if name == "boot-sector" {
                bytes[510..].copy_from_slice(&[0x55, 0xaa]);
            }
            fs::write(reader.bootloader.join(name), bytes).unwrap();
        }
        Self { folder, reader }
    }

    fn build(&self, text: &str, output: &str) -> Result<(Layout, PathBuf)> {
        let description = self.folder.path().join("appliance.toml");
        fs::write(&description, text).unwrap();
        let output = self.folder.path().join(output);
        build(&description, &self.reader, &output).map(|layout| (layout, output))
    }

    fn fault(&self, from: &str, to: &str) -> String {
        assert!(FILE.contains(from), "{from}");
        let error = self.build(&FILE.replace(from, to), "faulty.img").unwrap_err();
        assert!(!self.folder.path().join("faulty.img").exists());
        error.to_string()
    }
}

struct Bytes(Vec<u8>);

impl Disk for Bytes {
    type Error = String;

    fn read(&mut self, offset: u64, into: &mut [u8]) -> std::result::Result<(), String> {
        let from = offset as usize;
        into.copy_from_slice(self.0.get(from..from + into.len()).ok_or("past the end")?);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

fn file(disk: &mut Bytes, volume: &Volume, name: &str) -> Vec<u8> {
    let file = volume.find(disk, FOLDER, name).unwrap().unwrap();
    let runs = volume.runs(disk, &file).unwrap();
    assert_eq!(runs.len(), 1, "in one piece");
    let mut bytes = vec![0; file.bytes as usize];
    volume.read(disk, &runs, &mut bytes).unwrap();
    bytes
}

/// Where the reader looks, as the MBR and then the GPT have it.
fn starts(disk: &[u8]) -> Vec<u64> {
    let mut starts = Vec::new();
    let read = |at: Lba, block: &mut [u8]| {
        block.copy_from_slice(&disk[at.0 as usize * 512..][..512]);
        Ok::<bool, ()>(true)
    };
    partitions::starts(512, read, |start| starts.push(start.0 * 512)).unwrap();
    starts
}

#[test]
fn the_reader_finds_everything_where_it_looks() {
    let bench = Bench::new();
    let (layout, output) = bench.build(FILE, "disk.img").unwrap();
    let mut disk = Bytes(fs::read(output).unwrap());
    assert_eq!(disk.bytes(), layout.bytes);
    let names: Vec<&str> = layout.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["boot", "image", "root", "data"]);

    let mut starts = starts(&disk.0);
    // The first is that of the MBR that keeps the table from others.
    assert_eq!(starts.remove(0), 512);
    assert_eq!(starts, layout.parts.iter().map(|part| part.start).collect::<Vec<_>>());

    let volume = Volume::open(&mut disk, layout.parts[0].start).unwrap().unwrap();
    let kernel = fs::read(bench.folder.path().join("bzImage")).unwrap();
    assert_eq!(file(&mut disk, &volume, KERNEL), kernel);
    assert_eq!(file(&mut disk, &volume, INITRD), [3; 100_000]);
    let line = String::from_utf8(file(&mut disk, &volume, COMMAND_LINE)).unwrap();
    assert_eq!(line, format!("root=PARTUUID={} console=ttyS0\n", layout.parts[2].guid));
    let uefi = volume.find(&mut disk, "EFI", "BOOT");
    assert!(uefi.is_err(), "a folder where the firmware looks: {uefi:?}");

    let image = &disk.0[layout.parts[1].start as usize..][..4096];
    assert_eq!(Header::parse(image).unwrap().state(), State::Discarded);
    assert_eq!(&disk.0[layout.parts[2].start as usize..][..5000], [5; 5000]);
}

#[test]
fn a_seed_makes_the_same_disk_every_time() {
    let bench = Bench::new();
    let build = |text: &str, output| fs::read(bench.build(text, output).unwrap().1).unwrap();
    let one = build(FILE, "one.img");
    assert!(one == build(FILE, "two.img"));
    assert!(one != build(&FILE.replace("a test", "another"), "three.img"));
}

#[test]
fn a_root_without_an_initramfs_is_booted_without_one() {
    let bench = Bench::new();
    let text = FILE
        .replace("initrd = \"initrd\"\n", "")
        .replace("memory = \"64M\"", "size = \"2M\"\ncount = 2");
    let (layout, output) = bench.build(&text, "disk.img").unwrap();
    let names: Vec<&str> = layout.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["boot", "image-a", "image-b", "root", "data"]);
    let mut disk = Bytes(fs::read(output).unwrap());
    let volume = Volume::open(&mut disk, layout.parts[0].start).unwrap().unwrap();
    assert!(volume.find(&mut disk, FOLDER, INITRD).unwrap().is_none());
    let line = String::from_utf8(file(&mut disk, &volume, COMMAND_LINE)).unwrap();
    assert!(line.ends_with(" noinitrd\n"));
}

/// The start and length of an MBR's partition, in bytes, where it is of this kind.
fn entry(disk: &[u8], number: usize, kind: u8) -> Range<usize> {
    let entry = &disk[446 + 16 * number..][..16];
    assert_eq!(entry[4], kind);
    let field = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
    field(8) * 512..(field(8) + field(12)) * 512
}

#[test]
fn a_bios_finds_the_loader_where_it_looks() {
    let bench = Bench::new();
    let text = FILE.replace("\"efi\"", "\"bootloader\"");
    let (layout, output) = bench.build(&text, "disk.img").unwrap();
    let names: Vec<&str> = layout.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["boot", "image", "root", "data", "loader", "loader-files"]);
    let bytes = fs::read(output).unwrap();
    assert_eq!(bytes[..446], [11; 446]);
    assert_eq!(bytes[510..512], [0x55, 0xaa]);

    // The MBR names two partitions of the GPT, of which it has all before and behind.
    let (stage, files) = (entry(&bytes, 0, 0x20), entry(&bytes, 1, 0x01));
    let (before, behind) = (entry(&bytes, 2, 0xee), entry(&bytes, 3, 0xee));
    let part = |name| {
        let part = layout.part(name).unwrap();
        part.start as usize..(part.start + part.bytes) as usize
    };
    assert_eq!(stage, part(layout::name::LOADER));
    assert_eq!(stage.len(), 961 * 512);
    assert_eq!(files, part(layout::name::LOADER_FILES));
    assert_eq!(before, 512..stage.start);
    assert_eq!(behind, files.end..bytes.len());
    assert_eq!(part(layout::name::BOOT).start, behind.start);
    let in_mbr = [&stage, &files, &before, &behind].map(|place| place.start as u64);
    let in_gpt = layout.parts.iter().map(|part| part.start);
    assert_eq!(starts(&bytes), in_mbr.into_iter().chain(in_gpt).collect::<Vec<_>>());
    let active: Vec<u8> = (0..4).map(|number| bytes[446 + 16 * number]).collect();
    assert_eq!(active, [0x80, 0, 0, 0]);
    assert_eq!(bytes[stage.start..][..492_031], [12; 492_031]);

    // The reader takes it for no boot partition, and finds the one that is.
    let mut disk = Bytes(bytes);
    assert!(Volume::open(&mut disk, files.start as u64).unwrap().is_none());
    let boot = Volume::open(&mut disk, behind.start as u64).unwrap().unwrap();
    assert_eq!(file(&mut disk, &boot, INITRD), [3; 100_000]);

    let mut files = disk.0[files].to_vec();
    files[510..512].copy_from_slice(&[0x55, 0xaa]);
    let options = fatfs::FsOptions::new();
    let system = fatfs::FileSystem::new(io::Cursor::new(files), options).unwrap();
    assert_eq!(system.fat_type(), fatfs::FatType::Fat12);
    let reader = fs::read(&bench.reader.bzimage).unwrap();
    for (name, wanted) in [
        ("boot-stage-3", vec![12; 118_786]),
        ("boot-stage-4", vec![12; 151_944]),
        ("kernel-x86_64", vec![13; 6000]),
        ("ramdisk", reader),
    ] {
        let mut bytes = Vec::new();
        system.root_dir().open_file(name).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == wanted, "{name}");
    }
}

#[test]
fn each_file_of_the_loader_has_to_be_there() {
    let bench = Bench::new();
    for (name, _) in LOADER {
        let file = bench.reader.bootloader.join(name);
        let good = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let said = bench.fault("\"efi\"", "\"bootloader\"");
        assert!(said.contains("cargo xtask bootloader-disk"), "{name}: {said}");
        assert!(said.contains(name), "{name}: {said}");
        fs::write(&file, good).unwrap();
    }
    for (name, bytes) in
        [("boot-sector", 511), ("boot-sector", 512), ("boot-stage-2", 0), ("boot-stage-2", 1 << 20)]
    {
        let file = bench.reader.bootloader.join(name);
        let good = fs::read(&file).unwrap();
        fs::write(&file, vec![0; bytes]).unwrap();
        let said = bench.fault("\"efi\"", "\"bootloader\"");
        assert!(said.contains("is none of the bootloader crate's files"), "{name}: {said}");
        fs::write(&file, good).unwrap();
    }
}

#[test]
fn each_bad_field_is_named_with_its_line() {
    let bench = Bench::new();
    for (from, to, words) in [
        ("\"efi\"", "\"lilo\"", "at line 2"),
        ("\"bzImage\"", "\"nothing\"", "line 3: kernel: "),
        (
            "\"bzImage\"",
            "\"initrd\"",
            "line 3: kernel: the reader could not start it: it is no bzImage",
        ),
        ("{root}", "{boot}", "line 5: command-line: there is no partition {boot}"),
        ("memory", "mem", "at line 9"),
        ("\"64M\"", "\"64\"", "\"64\" is no size"),
        ("memory = \"64M\"", "count = 2", "line 8: image: one of memory and size"),
        (
            "memory = \"64M\"",
            "memory = \"64M\"\ncount = 9",
            "line 10: image.count: between 1 and 8",
        ),
        ("\"root.squashfs\"", "\"root.squashfs\"\nsize = \"1K\"", "line 13: root.size: "),
        ("size = \"3M\"", "", "line 14: data.size: one of from and size"),
        ("[image]", "[boot-partition]\nsize = \"1M\"\n[image]", "line 9: boot-partition.size: "),
        ("initrd = \"initrd\"", "initrd = 5", "at line 4"),
    ] {
        let said = bench.fault(from, to);
        assert!(said.contains(words), "{to}: {said}");
    }
}
