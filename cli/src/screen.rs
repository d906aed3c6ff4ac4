//! The screen that the writer may draw on: what firmware set up, as long as no
//! driver of the kernel has set up something else.

use crate::linux::iomem::MemoryMap;
use crate::preflight::Finding;
use crate::system::System;
use dormouse_handoff::screen::Framebuffer;

/// The framebuffer, and what to say about it.
pub fn look(system: &System, memory: &MemoryMap) -> (Option<Framebuffer>, Finding) {
    let note = |text: String| {
        (
            None,
            Finding::note("screen", format!("{text}: progress is shown on the serial line only")),
        )
    };
    let params = system.bytes("/sys/kernel/boot_params/data").unwrap_or_default();
    let Some(framebuffer) = Framebuffer::of_screen_info(&params) else {
        return note("the firmware has set up no framebuffer".into());
    };
    if let Some(driver) = driver_of_its_own(system) {
        return note(format!("the kernel's driver {driver} has set the screen up anew"));
    }
    if let Err(why) = framebuffer.check(memory.saved.iter().map(|entry| entry.range)) {
        return note(format!("the firmware's framebuffer is of no use: {why}"));
    }
    let Framebuffer { width, height, depth, .. } = framebuffer;
    let text = format!("{width} × {height}, {depth} bits a pixel, as the firmware set it up");
    (Some(framebuffer), Finding::good("screen", text))
}

/// A driver that does not use the firmware's framebuffer, if one is bound.
fn driver_of_its_own(system: &System) -> Option<String> {
    // What drivers/video/fbdev/{efifb,vesafb}.c and drivers/gpu/drm/tiny/simpledrm.c
    // call themselves.
    const OF_FIRMWARE: [&str; 3] = ["EFI VGA", "VESA VGA", "simpledrm"];
    let of_firmware = |name: &str| OF_FIRMWARE.iter().any(|known| name.starts_with(known));
    let graphics = "/sys/class/graphics";
    let names = system.names(graphics).into_iter().filter(|entry| {
        entry.strip_prefix("fb").is_some_and(|number| number.parse::<u32>().is_ok())
    });
    let names = names.filter_map(|entry| system.line(format!("{graphics}/{entry}/name")));
    let names: Vec<String> = names.collect();
    if names.iter().any(|name| of_firmware(name)) {
        return None;
    }
    let drm = "/sys/class/drm";
    let cards = system.names(drm).into_iter().filter(|entry| {
        entry.strip_prefix("card").is_some_and(|number| number.parse::<u32>().is_ok())
    });
    let mut drivers = cards
        .map(|card| system.link_name(format!("{drm}/{card}/device/driver")).unwrap_or(card))
        .filter(|driver| driver != "simple-framebuffer");
    drivers.next().or_else(|| names.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::iomem;
    use crate::preflight::Verdict;
    use std::fs;
    use std::os::unix::fs::symlink;

    const IOMEM: &str = "00001000-0009fbff : System RAM\n00100000-3fffffff : System RAM\n";

    /// `boot_params` of a kernel that OVMF started.
    fn params(address: u32) -> Vec<u8> {
        let mut params = vec![0; 4096];
        params[0x0f] = 0x70;
        params[0x12..0x18].copy_from_slice(&[0x00, 0x05, 0x20, 0x03, 32, 0]);
        params[0x18..0x1c].copy_from_slice(&address.to_le_bytes());
        params[0x24..0x2e].copy_from_slice(&[0x00, 0x14, 8, 16, 8, 8, 8, 0, 8, 24]);
        params
    }

    fn write(root: &std::path::Path, path: &str, bytes: &[u8]) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    fn look_below(root: &std::path::Path) -> (Option<Framebuffer>, Finding) {
        look(&System::below(root), &iomem::parse(IOMEM).unwrap())
    }

    #[test]
    fn the_firmwares_framebuffer_is_taken_unless_a_driver_has_another() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(look_below(root).1.verdict, Verdict::Note);
        write(root, "sys/kernel/boot_params/data", &params(0xc000_0000));
        let (found, finding) = look_below(root);
        assert!(found.is_some() && finding.text.starts_with("1280 × 800, 32 bits"));

        let card = root.join("sys/class/drm/card0/device");
        fs::create_dir_all(&card).unwrap();
        symlink("/sys/bus/pci/drivers/i915", card.join("driver")).unwrap();
        let (found, finding) = look_below(root);
        assert!(found.is_none() && finding.text.contains("driver i915"), "{finding:?}");

        write(root, "sys/class/graphics/fb0/name", b"EFI VGA\n");
        assert!(look_below(root).0.is_some());
    }

    #[test]
    fn a_framebuffer_in_memory_is_of_no_use() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "sys/kernel/boot_params/data", &params(0x3000_0000));
        let (found, finding) = look_below(root.path());
        assert!(found.is_none() && finding.text.contains("in memory"), "{finding:?}");
    }
}
