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

#[test]
fn the_reader_finds_everything_where_it_looks() {
    let bench = Bench::new();
    let (layout, output) = bench.build(FILE, "disk.img").unwrap();
    let mut disk = Bytes(fs::read(output).unwrap());
    assert_eq!(disk.bytes(), layout.bytes);
    let names: Vec<&str> = layout.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["boot", "image", "root", "data"]);

    let mut starts = Vec::new();
    let read = |at: Lba, block: &mut [u8]| {
        block.copy_from_slice(&disk.0[at.0 as usize * 512..][..512]);
        Ok::<bool, ()>(true)
    };
    partitions::starts(512, read, |start| starts.push(start.0 * 512)).unwrap();
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
        ("boot = \"efi\"", "boot = \"bootloader\"", "cargo xtask bootloader-disk"),
    ] {
        let said = bench.fault(from, to);
        assert!(said.contains(words), "{to}: {said}");
    }
}
