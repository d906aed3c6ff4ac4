//! The display as pictures, and that it keeps to its framebuffer.

use dormouse_handoff::screen::{Channel, Framebuffer};
use dormouse_handoff::units::PhysAddr;
use dormouse_screen::{Display, Ending, Line, title};
use proptest::prelude::*;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

/// What nothing draws.
const UNTOUCHED: u8 = 0x5a;

fn framebuffer((width, height): (u32, u32), depth: u32, padding: u32) -> Framebuffer {
    let channel = |position, bits| Channel { position, bits };
    let (red, green, blue) = match depth {
        15 => (channel(10, 5), channel(5, 5), channel(0, 5)),
        16 => (channel(11, 5), channel(5, 6), channel(0, 5)),
        _ => (channel(16, 8), channel(8, 8), channel(0, 8)),
    };
    let pitch = width * depth.div_ceil(8) + padding;
    let address = PhysAddr(0xe000_0000);
    Framebuffer { address, width, height, pitch, depth, red, green, blue, reserved: [0; 2] }
}

fn memory_of(framebuffer: &Framebuffer) -> Vec<u8> {
    vec![UNTOUCHED; framebuffer.bytes() as usize]
}

/// What the screen shows, each channel's missing bits being zeros.
fn shown(framebuffer: &Framebuffer, memory: &[u8]) -> Vec<u8> {
    let bytes = framebuffer.pixel_bytes() as usize;
    let lines = memory.chunks(framebuffer.pitch as usize);
    let pixels = lines.flat_map(|line| line.chunks_exact(bytes).take(framebuffer.width as usize));
    let channels = [framebuffer.red, framebuffer.green, framebuffer.blue];
    pixels
        .flat_map(|pixel| {
            let mut value = [0; 4];
            value[..bytes].copy_from_slice(pixel);
            let value = u32::from_le_bytes(value);
            channels.map(|channel| {
                let bits = value >> channel.position & ((1 << channel.bits) - 1);
                (bits << (8 - channel.bits)) as u8
            })
        })
        .collect()
}

/// A hibernation at two fifths.
fn at_two_fifths(display: &mut Display<'_>) {
    display.say(Line::Subject, "Linux 6.1.192, to NVMe 0000:00:03.0 dormouse-target");
    display.say(Line::Hint, "press Esc or q to go back");
    display.paint();
    display.progress(150, 1024);
    display.say(Line::Figures, "saved 150 of 1024 MiB, 500 MiB/s, 2 s left");
    display.progress(410, 1024);
    display.say(Line::Figures, "saved 410 of 1024 MiB, 513 MiB/s, 1 s left");
}

/// One that has failed there.
fn failed(display: &mut Display<'_>) {
    at_two_fifths(display);
    display.say(Line::Hint, "");
    let words = "write failed: Nvme 0000:00:03.0 unit 1: Write of block 123456 did not complete \
         within 30 s; going back; nothing was lost";
    display.end(Ending::Failed, words);
}

/// The picture that a script of calls gives.
fn picture(framebuffer: &Framebuffer, script: fn(&mut Display<'_>)) -> Vec<u8> {
    let mut memory = memory_of(framebuffer);
    let mut display = Display::new(framebuffer, &mut memory, title::SLEEPING).expect("it has room");
    script(&mut display);
    shown(framebuffer, &memory)
}

/// The picture in `tests/golden`; where it is another one, the new one is left
/// beside it as `*.new.png`.
fn assert_golden(name: &str, (width, height): (u32, u32), picture: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let golden = folder.join(format!("{name}.png"));
    let known = File::open(&golden).ok().map(|file| {
        let decoder = png::Decoder::new(BufReader::new(file));
        let mut reader = decoder.read_info().expect("a golden picture is a PNG");
        let mut bytes = vec![0; reader.output_buffer_size().expect("of a known size")];
        let info = reader.next_frame(&mut bytes).expect("with one picture");
        bytes.truncate(info.buffer_size());
        bytes
    });
    if known.as_deref() != Some(picture) {
        let new = folder.join(format!("{name}.new.png"));
        let file = File::create(&new).expect("the folder is there");
        let mut encoder = png::Encoder::new(file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().expect("a PNG can be written");
        writer.write_image_data(picture).expect("a PNG can be written");
        panic!("the picture is not {}: see {}", golden.display(), new.display());
    }
    let _ = fs::remove_file(folder.join(format!("{name}.new.png")));
}

#[test]
fn a_hibernation_under_way_is_a_known_picture() {
    let size = (640, 480);
    assert_golden("sleeping", size, &picture(&framebuffer(size, 32, 0), at_two_fifths));
}

#[test]
fn a_failure_is_a_known_picture_and_twice_as_large_on_small_pixels() {
    let size = (1920, 1080);
    assert_golden("failed", size, &picture(&framebuffer(size, 32, 0), failed));
}

#[test]
fn every_depth_and_pitch_shows_the_same_picture() {
    let size = (640, 480);
    let full = picture(&framebuffer(size, 32, 0), failed);
    assert_eq!(picture(&framebuffer(size, 24, 64), failed), full);
    for depth in [15, 16] {
        let coarse = framebuffer(size, depth, 32);
        let masks =
            [coarse.red, coarse.green, coarse.blue].map(|channel| 0xff_u8 << (8 - channel.bits));
        let expected: Vec<u8> =
            full.iter().zip(masks.iter().cycle()).map(|(value, mask)| value & mask).collect();
        assert_eq!(picture(&coarse, failed), expected, "{depth} bits");
    }
}

#[test]
fn what_was_said_before_the_painting_is_painted() {
    let size = (640, 480);
    let late = |display: &mut Display<'_>| {
        failed(display);
        display.paint();
    };
    let framebuffer = framebuffer(size, 32, 0);
    assert_eq!(picture(&framebuffer, late), picture(&framebuffer, failed));
}

#[test]
fn a_shorter_bar_and_another_colour_leave_nothing_behind() {
    let framebuffer = framebuffer((640, 480), 32, 0);
    let there_and_back = |display: &mut Display<'_>| {
        at_two_fifths(display);
        display.progress(1024, 1024);
        display.end(Ending::Failed, "this did not work, and in many words at that");
        display.end(Ending::Well, "woken");
        display.end(Ending::Well, "");
        display.progress(410, 1024);
    };
    assert_eq!(picture(&framebuffer, there_and_back), picture(&framebuffer, at_two_fifths));
}

/// Every size around the least one, as it is there that what just fits and what
/// just does not are told apart.
#[test]
fn a_screen_without_room_is_left_alone() {
    let is_taken = |width, height| {
        let framebuffer = framebuffer((width, height), 32, 0);
        let mut memory = memory_of(&framebuffer);
        let display = Display::new(&framebuffer, &mut memory, title::SLEEPING);
        display.map(|mut display| display.paint()).is_some()
    };
    assert!(!is_taken(320, 200));
    for (width, height) in
        (390..410).flat_map(|width| (295..320).map(move |height| (width, height)))
    {
        assert_eq!(is_taken(width, height), width >= 400 && height >= 308, "{width} x {height}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_but_the_visible_pixels_is_drawn(
        width in 300_u32..2100,
        height in 200_u32..1300,
        depth in prop::sample::select(&[15_u32, 16, 24, 32][..]),
        padding in 0_u32..100,
        // Memory that ends early: less was mapped than the lines need.
        missing in prop::sample::select(&[0_usize, 1, 5000][..]),
        title in prop::sample::select(&title::ALL[..]),
        words in ".{0,300}",
        done in any::<u64>(),
        total in any::<u64>(),
    ) {
        let framebuffer = framebuffer((width, height), depth, padding);
        let mut memory = memory_of(&framebuffer);
        let mapped = memory.len() - missing;
        if let Some(mut display) = Display::new(&framebuffer, &mut memory[..mapped], title) {
            display.paint();
            display.say(Line::Subject, &words);
            display.progress(done, total);
            display.end(Ending::Failed, &words);
            display.progress(total, done);
        }
        let line = (width * framebuffer.pixel_bytes()) as usize;
        for pitch in memory.chunks(framebuffer.pitch as usize) {
            prop_assert!(pitch[line..].iter().all(|byte| *byte == UNTOUCHED));
        }
    }
}
