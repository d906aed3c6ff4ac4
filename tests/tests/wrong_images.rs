//! Images of which there is more than one, and images that another start of the
//! system has made stale.

use dormouse_guest::protocol::Call;
use dormouse_handoff::image::State;
use dormouse_tests::host_program;
use dormouse_tests::{Artefacts, Error, Failure, Fill, Life, Options, SECOND_DISK, scenario};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

#[test]
fn neither_a_clone_nor_a_stale_image_wakes() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "wrong-images", Options::default())?;
    let before = life.fill(&Fill::light())?;
    let asleep = scenario::sleep(&mut life, &[])?;
    let older = life.folder.join("older.img");
    host_program::run(
        Command::new("cp").arg("--sparse=always").arg(life.target_disk()).arg(&older),
    )?;
    scenario::wake(&mut life, &asleep, &before)?;
    scenario::sleep(&mut life, &[])?;
    parts_of_an_older_image(&mut life, &older)?;
    let clone = life.folder.join("clone.img");
    let copied = std::fs::copy(life.target_disk(), &clone).map(drop);
    copied.map_err(Error::host("copying the disk"))?;

    // Beside its original, on a disk that says the same of itself.
    let reader = life.reader();
    let mut both = reader.clone();
    let mut disk = both.disks[0].clone();
    disk.file = clone.clone();
    both.disks.push(disk.clone());
    life.be_refused(&both, "2 valid images were found")?;

    // Alone, on a disk that says another thing.
    let mut other = reader.clone();
    disk.serial = "another-disk".into();
    other.disks[0] = disk;
    life.be_refused(&other, "the image was written to another place or device")?;
    scenario::image(&life)?.header(State::Valid)?;

    // A system that starts anew gives up what sleeps, then mounts and writes:
    // the order of contrib/initramfs-tools.
    let discarded = life.beside(|guest| {
        let discarded = guest.run(&["dormouse", "discard", "--stale"])?;
        let device = guest.text(Call::FindDisk { serial: Life::SECOND_SERIAL.into() })?;
        guest.call(Call::Mount { device, directory: SECOND_DISK.into() })?;
        guest.run(&["sh", "-c", &format!("echo new > {SECOND_DISK}/new && sync")])?;
        guest.call(Call::Unmount { directory: SECOND_DISK.into() })?;
        Ok(discarded)
    })?;
    life.logged(|_| scenario::said(&discarded, 0, &["the sleeping system is given up"]))?;
    life.be_refused(&reader, "the image is discarded, not valid")?;
    for file in [clone, older] {
        std::fs::remove_file(&file).map_err(Error::host("removing a copy"))?;
    }
    Ok(life.abandon()?)
}

/// Parts of an image of another generation in the newer one's place, and a disk
/// that ends too soon.
fn parts_of_an_older_image(life: &mut Life, older: &Path) -> Result<(), Failure> {
    let header = scenario::image(life)?.header(State::Valid)?;
    let layout = header.layout();
    let table = layout.chunks.offset..layout.chunks.offset + header.chunks.pages * 4096;
    let data = layout.data.offset..layout.data.offset + header.data_length;
    let reader = life.reader();
    let disk = File::options().read(true).write(true).open(life.target_disk());
    let disk = disk.map_err(Error::host("opening the target"))?;
    let older = File::open(older).map_err(Error::host("opening the older image"))?;
    let exchange = |place: Range<u64>, from: &File| -> Result<Vec<u8>, Error> {
        let mut bytes = [(); 2].map(|()| vec![0; (place.end - place.start) as usize]);
        let read = disk.read_exact_at(&mut bytes[0], place.start);
        read.and_then(|()| from.read_exact_at(&mut bytes[1], place.start))
            .and_then(|()| disk.write_all_at(&bytes[1], place.start))
            .map_err(Error::host("putting older bytes in the place of newer ones"))?;
        let [newer, _] = bytes;
        Ok(newer)
    };
    for (place, reason) in [
        // A header of another generation; stale data under a newer one.
        (0..512, "does not match its checksum: it is damaged"),
        (table, "table page 0: the checksum does not match"),
        (data, "does not match its checksum: the image is damaged"),
    ] {
        let start = place.start;
        let newer = exchange(place, &older)?;
        life.be_refused(&reader, reason)?;
        disk.write_all_at(&newer, start).map_err(Error::host("putting them back"))?;
        scenario::image(life)?.header(State::Valid)?;
    }
    let whole = disk.metadata().map_err(Error::host("the disk's size"))?.len();
    let cut = |bytes| disk.set_len(bytes).map_err(Error::host("changing the disk's size"));
    cut(whole / 2)?;
    life.be_refused(&reader, "the image was written to another place or device")?;
    cut(whole)?;
    Ok(())
}
