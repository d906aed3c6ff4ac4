//! Images of which there is more than one, and images that another start of the
//! system has made stale.

use dormouse_guest::protocol::Call;
use dormouse_handoff::image::State;
use dormouse_tests::{Artefacts, Error, Failure, Fill, Life, Options, SECOND_DISK, scenario};

#[test]
fn neither_a_clone_nor_a_stale_image_wakes() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "wrong-images", Options::default())?;
    life.fill(&Fill::light())?;
    scenario::sleep(&mut life, &[])?;
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
    std::fs::remove_file(&clone).map_err(Error::host("removing the clone"))?;
    Ok(life.abandon()?)
}
