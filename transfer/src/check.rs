//! Whether a machine is as an image needs it.

use crate::error::Error;
use alloc::format;
use alloc::string::String;
use dormouse_handoff::memory_map::{self, MemoryKind, MemoryRange};
use dormouse_handoff::plan::Machine;
use dormouse_handoff::units::PageRange;

/// CPUID registers in the order of [`Machine::cpu_features`].
const FEATURE_WORDS: [&str; 8] = [
    "1 ECX",
    "1 EDX",
    "7.0 EBX",
    "7.0 ECX",
    "7.0 EDX",
    "0x80000001 ECX",
    "0x80000001 EDX",
    "0xd.1 EAX",
];

/// Bits of CPUID that tell the processor's state or an operating system's
/// choice, not a feature: OSXSAVE (1 ECX 27), the APIC's enablement (1 EDX 9),
/// OSPKE (7.0 ECX 4), and the x2APIC and APIC mirrors of AMD (0x80000001 EDX 9).
const NOT_FEATURES: [u32; 8] = [1 << 27, 1 << 9, 0, 1 << 4, 0, 0, 1 << 9, 0];

/// Both: where neither machine nor memory fits, the error names what is wrong with
/// each.
pub fn both(machine: Result<(), Error>, memory: Result<(), Error>) -> Result<(), Error> {
    match (machine, memory) {
        (Err(Error::Machine(machine)), Err(Error::Machine(memory))) => {
            Err(Error::Machine(format!("{machine}; {memory}")))
        }
        (machine, memory) => machine.and(memory),
    }
}

/// Whether the machine `present` is the one, or as good as the one, that the
/// image `needs`. ACPI facts count where both sides know them.
pub fn machine(needs: &Machine, present: &Machine) -> Result<(), Error> {
    let differs = |what: String| Err(Error::Machine(what));
    if needs.cpu_vendor != present.cpu_vendor {
        return differs(String::from("the processor is of another vendor"));
    }
    // Family and model; a stepping may change by an update of nothing but microcode.
    if (needs.cpu_signature ^ present.cpu_signature) & !0xf != 0 {
        return differs(format!(
            "the processor's signature is {:#x}, the image was written on {:#x}",
            present.cpu_signature, needs.cpu_signature
        ));
    }
    for (i, name) in FEATURE_WORDS.iter().enumerate() {
        let missing = needs.cpu_features[i] & !present.cpu_features[i] & !NOT_FEATURES[i];
        if missing != 0 {
            return differs(format!(
                "the processor lacks features that the old kernel may use: CPUID {name}, bits \
                 {missing:#x}"
            ));
        }
    }
    let known = |needed: u64, present: u64| needed != 0 && present != 0;
    let (needed, found) = (needs.hardware_signature, present.hardware_signature);
    if known(needed.into(), found.into()) && needed != found {
        return differs(format!(
            "the firmware's hardware signature is {found:#x}, the image needs {needed:#x}"
        ));
    }
    if known(needs.dsdt_checksum, present.dsdt_checksum)
        && needs.dsdt_checksum != present.dsdt_checksum
    {
        return differs(String::from("the firmware's ACPI tables (DSDT) have changed"));
    }
    Ok(())
}

/// Whether all memory that the image `needs` is RAM, or ACPI storage, in the
/// firmware's map of this boot.
///
/// `present` gives the ordered, disjoint ranges of each kind.
pub fn memory(
    needs: &[MemoryRange],
    present: impl Fn(MemoryKind) -> alloc::vec::Vec<PageRange>,
) -> Result<(), Error> {
    for (kind, name) in [(MemoryKind::Ram, "RAM"), (MemoryKind::AcpiNvs, "ACPI NVS memory")] {
        let there = present(kind);
        for entry in needs.iter().filter(|entry| entry.kind == kind as u32) {
            if let Some(missing) = memory_map::first_missing(entry.range, there.iter().copied()) {
                return Err(Error::Machine(format!(
                    "{name} at {missing} is missing from this boot's memory map"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_handoff::units::PageRange;

    fn here() -> Machine {
        Machine {
            cpu_vendor: [1, 2, 3],
            cpu_signature: 0x663,
            cpu_features: [0xff; 8],
            dsdt_checksum: 7,
            hardware_signature: 9,
            reserved: 0,
        }
    }

    fn refusal(change: impl Fn(&mut Machine)) -> String {
        let mut other = here();
        change(&mut other);
        match machine(&here(), &other) {
            Err(Error::Machine(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_machine_and_a_better_one_fit() {
        machine(&here(), &here()).unwrap();
        let mut better = here();
        better.cpu_features = [0xffff; 8];
        better.cpu_signature = 0x664;
        machine(&here(), &better).unwrap();
    }

    #[test]
    fn each_difference_is_named() {
        assert!(refusal(|m| m.cpu_vendor[0] = 5).contains("vendor"));
        assert!(refusal(|m| m.cpu_signature = 0x673).contains("0x673"));
        assert!(refusal(|m| m.cpu_features[2] = 0x7f).contains("7.0 EBX, bits 0x80"));
        assert!(refusal(|m| m.hardware_signature = 1).contains("signature"));
        assert!(refusal(|m| m.dsdt_checksum = 1).contains("DSDT"));
    }

    #[test]
    fn what_differs_twice_is_named_twice() {
        let differs = |what: &str| Err(Error::Machine(what.into()));
        both(Ok(()), Ok(())).unwrap();
        for (machine, memory, words) in [
            (differs("DSDT"), Ok(()), "needs it: DSDT"),
            (Ok(()), differs("RAM"), "needs it: RAM"),
            (differs("DSDT"), differs("RAM"), "needs it: DSDT; RAM"),
        ] {
            let error = both(machine, memory).unwrap_err().to_string();
            assert!(error.ends_with(words), "{error}");
        }
    }

    #[test]
    fn each_feature_that_is_missing_is_named() {
        let mut cases = 0;
        for (word, name) in FEATURE_WORDS.iter().enumerate() {
            for bit in (0..32).map(|bit| 1u32 << bit) {
                let mut needs = here();
                needs.cpu_features = [u32::MAX; 8];
                let mut present = needs;
                present.cpu_features[word] &= !bit;
                let result = machine(&needs, &present);
                if NOT_FEATURES[word] & bit != 0 {
                    result.unwrap();
                    continue;
                }
                let Err(Error::Machine(text)) = result else { panic!("{name} {bit:#x}: woken") };
                assert!(text.contains(&format!("CPUID {name}, bits {bit:#x}")), "{text}");
                cases += 1;
            }
        }
        tell("a feature of the processor is missing", cases);
    }

    #[test]
    fn each_page_that_is_missing_is_named() {
        let (ram, nvs) = (PageRange::new(16, 200), PageRange::new(300, 20));
        let range = |range, kind: MemoryKind| MemoryRange { range, kind: kind as u32, reserved: 0 };
        let needs = [range(ram, MemoryKind::Ram), range(nvs, MemoryKind::AcpiNvs)];
        let mut cases = 0;
        for (hurt, name) in [(ram, "RAM"), (nvs, "ACPI NVS memory")] {
            for missing in hurt.start.0..hurt.end().0 {
                let present = |kind| {
                    let all = if kind == MemoryKind::Ram { ram } else { nvs };
                    if all != hurt {
                        return alloc::vec![all];
                    }
                    let before = PageRange::new(all.start.0, missing - all.start.0);
                    let after = PageRange::new(missing + 1, all.end().0 - missing - 1);
                    [before, after].into_iter().filter(|range| range.pages > 0).collect()
                };
                let Err(Error::Machine(text)) = memory(&needs, present) else {
                    panic!("{missing}")
                };
                let words = format!("{name} at {}", PageRange::new(missing, 1));
                assert!(text.contains(&words), "{text}");
                cases += 1;
            }
        }
        tell("a page of the memory map is missing", cases);
    }

    fn tell(attack: &str, cases: u64) {
        dormouse_attacks::record(dormouse_attacks::Attack {
            promise: 3,
            attack: attack.into(),
            cases,
            command: "cargo test -p dormouse-transfer check".into(),
        });
    }

    #[test]
    fn missing_memory_is_named() {
        let needs = [MemoryRange { range: PageRange::new(16, 16), kind: 1, reserved: 0 }];
        let only = |range: PageRange| move |_: MemoryKind| alloc::vec![range];
        memory(&needs, only(PageRange::new(0, 64))).unwrap();
        let Err(Error::Machine(text)) = memory(&needs, only(PageRange::new(0, 24))) else {
            panic!("accepted")
        };
        assert!(text.contains("0x18000-0x1ffff"), "{text}");
    }
}
