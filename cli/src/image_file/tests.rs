//! Images made by code, whole and damaged.

use super::fake::{file, image};
use super::*;
use dormouse_handoff::image::State;

/// Pages of the old kernel's memory in the image.
const PAGES: u64 = 2048;

fn fault(result: Result<impl Sized>) -> ImageError {
    match result.map(|_| ()).unwrap_err() {
        Error::Image { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn every_part_of_a_whole_image_comes_out() {
    let file = file(&image(State::Valid));
    let image = ImageFile::open(file.path()).unwrap();
    assert_eq!(image.header().state(), State::Valid);
    assert_eq!(image.attempts().unwrap().begun, 1);
    assert_eq!(image.plan().unwrap().checked().unwrap().memory_pages(), PAGES);
    assert_eq!(image.jump_back().unwrap().entry, 0x1234);
    assert_eq!(image.kept_page().unwrap().0, [0x5a; 4096]);
    assert_eq!(image.log().unwrap(), "plan ok\n");
    let mut seen = Vec::new();
    assert_eq!(verify(&image, |done| seen.push(done)).unwrap(), 2);
    assert_eq!(image.runs().count(), 4);
    seen.dedup();
    assert_eq!(seen, [256 * 4096, 300 * 4096]);
}

#[test]
fn an_image_in_a_partition_is_found() {
    let mut disk = vec![0; 1 << 20];
    disk[446 + 4] = 0x82;
    disk[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    let image = image(State::Valid);
    disk[446 + 12..446 + 16].copy_from_slice(&(image.len() as u32 / 512).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend_from_slice(&image);
    let file = file(&disk);
    let image = ImageFile::open(file.path()).unwrap();
    assert_eq!(image.start(), 1 << 20);
    verify(&image, |_| ()).unwrap();
}

#[test]
fn a_disk_without_an_image_is_told() {
    let nothing = ImageFile::open(file(&[0; 8192]).path());
    assert_eq!(fault(nothing), ImageError::Header(HeaderError::None));
    let empty = ImageFile::open(file(&[]).path());
    assert_eq!(fault(empty), ImageError::Header(HeaderError::None));
}

#[test]
fn damage_is_named_where_it_is() {
    let whole = image(State::Valid);
    let data = Layout::for_pages(PAGES).data.offset as usize;
    let expected = [
        (Layout::PLAN as usize + 100, ImageError::Section("plan")),
        (Layout::KEPT_PAGE as usize, ImageError::Section("kept page")),
        (Layout::JUMP_BACK as usize, ImageError::Section("jump-back state")),
        (Layout::LOG as usize, ImageError::Section("log")),
        (data + 5, ImageError::Chunk { index: 0, offset: 0 }),
        (data + 299 * 4096, ImageError::Chunk { index: 1, offset: 256 * 4096 }),
    ];
    for (at, expected) in expected {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let file = file(&damaged);
        let image = ImageFile::open(file.path()).unwrap();
        assert_eq!(fault(verify(&image, |_| ())), expected, "byte {at}");
    }
}

#[test]
fn an_image_that_is_cut_short_is_told() {
    let mut cut = image(State::Valid);
    cut.truncate(cut.len() - 1);
    let file = file(&cut);
    let image = ImageFile::open(file.path()).unwrap();
    let offset = cut.len() as u64;
    assert_eq!(fault(verify(&image, |_| ())), ImageError::Truncated { offset });
}
