//! Pictures of images made by code.

use super::*;
use crate::image_file::fake::Fake;

fn drawn(name: &str) -> Vec<u8> {
    let (image, folder) = (Fake::small().file(), tempfile::tempdir().unwrap());
    let path = folder.path().join(name);
    let file = PictureFile::named(path.to_str().unwrap()).unwrap();
    file.draw(&ImageFile::open(image.path()).unwrap()).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_png_is_one_of_the_size_of_the_scene() {
    let bytes = drawn("map.png");
    let reader = ::png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
    assert!(reader.info().width > 1000 && reader.info().height > 100);
}

#[test]
fn an_svg_says_what_it_shows() {
    let text = String::from_utf8(drawn("map.svg")).unwrap();
    for words in ["Linux 6.1.192", "stored 1.2 MB", "free 4.2 MB", "A pixel is 4 KiB", "</svg>"] {
        assert!(text.contains(words), "no {words:?}");
    }
}

#[test]
fn another_format_is_refused_by_its_name() {
    assert!(PictureFile::named("map.jpeg").is_err());
    assert!(PictureFile::named("png").is_err());
}
