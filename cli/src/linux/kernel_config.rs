//! The kernel's build configuration.

use crate::machine::kernel_release;
use crate::system::System;
use flate2::read::GzDecoder;
use std::io::Read;

/// Most bytes of a configuration that are read: a real one has 300 KiB.
const MAX_BYTES: u64 = 8 << 20;

/// What the configuration says about one option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `=y` or `=m`.
    On,
    /// `is not set`, or not mentioned.
    Off,
}

/// The configuration's text, where the kernel carries it or a distribution lays
/// it down; `None` where there is none.
pub fn text(system: &System) -> Option<String> {
    own(system).or_else(|| {
        let release = kernel_release();
        [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")]
            .iter()
            .find_map(|path| system.text(path).ok())
    })
}

fn own(system: &System) -> Option<String> {
    let packed = system.bytes("/proc/config.gz").ok()?;
    let mut text = String::new();
    GzDecoder::new(&*packed).take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Looks `option` (with its `CONFIG_`) up in the text of a configuration.
pub fn setting(text: &str, option: &str) -> Setting {
    let on = text.lines().any(|line| {
        line.strip_prefix(option).is_some_and(|rest| matches!(rest.trim_end(), "=y" | "=m"))
    });
    if on { Setting::On } else { Setting::Off }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn options_are_on_or_off() {
        let text = "CONFIG_KEXEC=y\nCONFIG_KEXEC_JUMP_START=y\n# CONFIG_KEXEC_JUMP is not set\n";
        assert_eq!(setting(text, "CONFIG_KEXEC"), Setting::On);
        assert_eq!(setting(text, "CONFIG_KEXEC_JUMP"), Setting::Off);
        assert_eq!(setting(text, "CONFIG_HIBERNATION"), Setting::Off);
    }

    #[test]
    fn the_kernels_own_configuration_comes_first() {
        let root = tempfile::tempdir().unwrap();
        let system = System::below(root.path());
        assert_eq!(text(&system), None);
        let put = |path: String, bytes: &[u8]| {
            let path = system.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        put(format!("/boot/config-{}", kernel_release()), b"CONFIG_A=y\n");
        assert_eq!(text(&system).unwrap(), "CONFIG_A=y\n");
        put("/proc/config.gz".into(), b"not packed");
        assert_eq!(text(&system).unwrap(), "CONFIG_A=y\n");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"CONFIG_B=y\n").unwrap();
        put("/proc/config.gz".into(), &packed.finish().unwrap());
        assert_eq!(text(&system).unwrap(), "CONFIG_B=y\n");
    }
}
