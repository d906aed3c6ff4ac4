//! The kernel's build configuration, for the words of messages.

/// What the configuration says about one option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `=y` or `=m`.
    On,
    /// `is not set`, or not mentioned.
    Off,
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

    #[test]
    fn options_are_on_or_off() {
        let text = "CONFIG_KEXEC=y\nCONFIG_KEXEC_JUMP_START=y\n# CONFIG_KEXEC_JUMP is not set\n";
        assert_eq!(setting(text, "CONFIG_KEXEC"), Setting::On);
        assert_eq!(setting(text, "CONFIG_KEXEC_JUMP"), Setting::Off);
        assert_eq!(setting(text, "CONFIG_HIBERNATION"), Setting::Off);
    }
}
