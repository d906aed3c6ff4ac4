//! What the kernel relies on finding in free pages.
//!
//! After a wake-up a page that was left out as free holds anything: what
//! firmware, a loader or the reader had there. Most kernels do not mind. Some
//! clear pages when they are freed and hand them out as clear
//! (`init_on_free`), or fill them with a pattern and look later whether it is
//! still there (`page_poison`). Such a kernel's free pages have to be kept.
//!
//! Whether it is such a kernel is read from its own switches (static keys),
//! which are right whatever configuration and command line say. A kernel that
//! does not list its data hides them; then these two have to do.

use crate::linux::kallsyms;
use crate::linux::kernel_config::{self, Setting, setting};
use crate::system::System;

/// Switches whose first word is not zero where the kernel relies on free pages.
/// The first one exists in every kernel since 5.3, so that it also tells whether
/// the kernel lists its data; the others only where page poisoning was built in,
/// the last one before 5.11.
const CLEARED: &str = "init_on_free";
const POISONED: [&str; 2] = ["_page_poisoning_enabled", "want_page_poisoning"];

/// The same on the command line (Linux
/// Documentation/admin-guide/kernel-parameters.rst), and in the configuration.
const POISON: &str = "page_poison";
const CLEARED_BY_DEFAULT: &str = "CONFIG_INIT_ON_FREE_DEFAULT_ON";
const CAN_POISON: &str = "CONFIG_PAGE_POISONING";

/// What the kernel relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreePages {
    /// Nothing: free pages may hold anything.
    Anything,
    /// They hold zeros (`init_on_free`).
    Zeros,
    /// They hold a pattern (`page_poison`).
    Pattern,
    /// The kernel lists neither its data nor its configuration.
    Unknown,
}

impl FreePages {
    /// What the running kernel relies on, by the text of `/proc/kallsyms`.
    ///
    /// `read` gives as many bytes of the kernel's memory at a linear address.
    pub fn look(
        system: &System,
        symbols: &str,
        read: impl Fn(u64, usize) -> Option<Vec<u8>>,
    ) -> Self {
        Self::by_switches(symbols, read).unwrap_or_else(|| {
            let command_line = system.text("/proc/cmdline").unwrap_or_default();
            Self::by_settings(kernel_config::text(system).as_deref(), &command_line)
        })
    }

    /// As the kernel's switches stand; `None` where they cannot be read.
    fn by_switches(kallsyms: &str, read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Self> {
        let [cleared, poisoned, poisoned_old] =
            kallsyms::values(kallsyms, [CLEARED, POISONED[0], POISONED[1]]);
        let is_on = |address| read(address, 4).map(|word| word.iter().any(|byte| *byte != 0));
        let clears = cleared.and_then(is_on)?;
        for address in [poisoned, poisoned_old].into_iter().flatten() {
            if is_on(address)? {
                return Some(Self::Pattern);
            }
        }
        Some(if clears { Self::Zeros } else { Self::Anything })
    }

    /// As configuration and command line say.
    fn by_settings(configuration: Option<&str>, command_line: &str) -> Self {
        let says = |option| configuration.map(|text| setting(text, option) == Setting::On);
        let asked = |name| {
            let last = command_line
                .split_ascii_whitespace()
                .rev()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            // What the kernel takes for no (kstrtobool, Linux lib/kstrtox.c);
            // what it does not understand counts as yes here.
            last.map(|value| !["0", "n", "N", "of", "off", "OFF"].contains(&value))
        };
        let poisons = asked(POISON) == Some(true) && says(CAN_POISON) != Some(false);
        match asked(CLEARED).or_else(|| says(CLEARED_BY_DEFAULT)) {
            _ if poisons => Self::Pattern,
            Some(true) => Self::Zeros,
            Some(false) => Self::Anything,
            None => Self::Unknown,
        }
    }

    /// Whether they have to be kept in the image.
    pub fn must_be_kept(self) -> bool {
        self != Self::Anything
    }

    /// Why they are kept, in a few words; `None` where they are left out.
    pub fn why_kept(self) -> Option<&'static str> {
        match self {
            Self::Anything => None,
            Self::Zeros => Some("the kernel relies on their being clear (init_on_free)"),
            Self::Pattern => Some("the kernel relies on their pattern (page_poison)"),
            Self::Unknown => Some(
                "the kernel does not tell whether it relies on what is in them: it has neither \
                 CONFIG_KALLSYMS_ALL nor its configuration at hand (say init_on_free=0 on its \
                 command line)",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "\
ffffffff82c05000 D init_on_alloc
ffffffff82c05010 D init_on_free
ffffffff82c05020 D _page_poisoning_enabled
";

    fn found(symbols: &str, on: &[u64]) -> Option<FreePages> {
        FreePages::by_switches(symbols, |address, bytes| {
            let mut word = vec![0; bytes];
            word[0] = u8::from(on.contains(&address));
            (address >= 0xffff_ffff_8000_0000).then_some(word)
        })
    }

    #[test]
    fn an_ordinary_kernel_relies_on_nothing() {
        assert_eq!(found(SYMBOLS, &[0xffff_ffff_82c0_5000]), Some(FreePages::Anything));
        let without_poisoning = SYMBOLS.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(found(&without_poisoning, &[]), Some(FreePages::Anything));
    }

    #[test]
    fn switches_that_are_on_are_seen() {
        let (clear, poison) = (0xffff_ffff_82c0_5010, 0xffff_ffff_82c0_5020);
        assert_eq!(found(SYMBOLS, &[clear]), Some(FreePages::Zeros));
        assert_eq!(found(SYMBOLS, &[poison]), Some(FreePages::Pattern));
        assert_eq!(found(SYMBOLS, &[clear, poison]), Some(FreePages::Pattern));
        let before_5_11 = SYMBOLS.replace("_page_poisoning_enabled", "want_page_poisoning");
        assert_eq!(found(&before_5_11, &[poison]), Some(FreePages::Pattern));
    }

    #[test]
    fn switches_that_cannot_be_read_say_nothing() {
        assert_eq!(found("ffffffff810001c0 T start_kernel\n", &[]), None);
        assert_eq!(found(&SYMBOLS.replace("ffffffff82c05010", "1000"), &[]), None);
        assert_eq!(found(&SYMBOLS.replace("ffffffff82c05020", "1000"), &[]), None);
    }

    #[test]
    fn without_switches_configuration_and_command_line_are_asked() {
        use FreePages::{Anything, Pattern, Unknown, Zeros};
        let poisoning = Some("CONFIG_PAGE_POISONING=y\n");
        let clearing = Some("CONFIG_INIT_ON_FREE_DEFAULT_ON=y\n");
        for (configuration, command_line, expected) in [
            (Some(""), "quiet", Anything),
            (clearing, "quiet", Zeros),
            (clearing, "init_on_free=1 init_on_free=0", Anything),
            (Some(""), "init_on_free=on", Zeros),
            (Some(""), "init_on_free=maybe", Zeros),
            (Some(""), "page_poison=1", Anything),
            (poisoning, "page_poison=1", Pattern),
            (poisoning, "page_poison=1 page_poison=off", Anything),
            (None, "page_poison=1 init_on_free=0", Pattern),
            (None, "init_on_free=0", Anything),
            (None, "quiet", Unknown),
        ] {
            let found = FreePages::by_settings(configuration, command_line);
            assert_eq!(found, expected, "{configuration:?}, {command_line:?}");
        }
        assert!(Unknown.must_be_kept() && !Anything.must_be_kept());
    }
}
