//! Tests of a sound kernel: every frame gets the verdict that it has.

use crate::fake_kernel::{
    FAR, FakeKernel, LOW, MAIN, OFFLINE, PAGE_TYPE, PLAYGROUND, PRIVATE, VARIANTS, WINDOW,
};
use crate::translate::Levels;
use crate::unsupported::Unsupported;
use dormouse_handoff::units::{PageRange, Pfn};
use dormouse_transfer::memory::{PageSet, Verdict};

/// The verdicts that a kernel with this in its playground gives there.
fn after(prepare: impl Fn(&mut FakeKernel)) -> [Vec<Verdict>; VARIANTS.len()] {
    VARIANTS.map(|variant| {
        let mut kernel = FakeKernel::new(variant);
        prepare(&mut kernel);
        let verdicts = kernel.verdicts(PLAYGROUND);
        assert_eq!(kernel.pages().doubted(), 0);
        verdicts
    })
}

/// A playground in use, but for these ranges.
fn playground(parts: &[(PageRange, Verdict)]) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::InUse; PLAYGROUND.pages as usize];
    for (range, verdict) in parts {
        let start = (range.start.0 - PLAYGROUND.start.0) as usize;
        verdicts[start..start + range.pages as usize].fill(*verdict);
    }
    verdicts
}

#[test]
fn a_kernel_without_free_memory_has_all_in_use() {
    for variant in VARIANTS {
        let kernel = FakeKernel::new(variant);
        for range in [LOW, MAIN, FAR] {
            let verdicts = kernel.verdicts(range);
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::InUse), "{variant:?}");
        }
    }
}

#[test]
fn free_blocks_of_every_order_are_free_to_their_last_page() {
    let expected = playground(&[
        (PageRange::new(0x400, 1), Verdict::Free),
        (PageRange::new(0x402, 2), Verdict::Free),
        (PageRange::new(0x440, 0x40), Verdict::Free),
        (PageRange::new(0x480, 4), Verdict::Free),
        (PageRange::new(0x600, 0x200), Verdict::Free),
    ]);
    let verdicts = after(|kernel| {
        for (frame, order) in [(0x400, 0), (0x402, 1), (0x440, 6), (0x480, 2), (0x600, 9)] {
            kernel.set_free(Pfn(frame), order);
        }
    });
    for found in verdicts {
        assert_eq!(found, expected);
    }
}

#[test]
fn neighbouring_blocks_are_one_run() {
    let mut kernel = FakeKernel::new(VARIANTS[0]);
    kernel.set_free(Pfn(0x440), 6);
    kernel.set_free(Pfn(0x480), 2);
    assert_eq!(kernel.pages().verdict(Pfn(0x440), 256), (Verdict::Free, 0x44));
    assert_eq!(kernel.pages().verdict(Pfn(0x440), 3), (Verdict::Free, 3));
}

#[test]
fn a_block_is_asked_for_in_parts() {
    let mut kernel = FakeKernel::new(VARIANTS[2]);
    kernel.set_free(PLAYGROUND.start, 10);
    let mut pages = kernel.pages();
    for part in 0..4 {
        let from = Pfn(PLAYGROUND.start.0 + part * 256);
        assert_eq!(pages.verdict(from, 256), (Verdict::Free, 256));
    }
}

#[test]
fn the_far_section_has_page_structures_of_its_own() {
    for variant in VARIANTS {
        let mut kernel = FakeKernel::new(variant);
        kernel.set_free(FAR.start, 10);
        let verdicts = kernel.verdicts(FAR);
        assert!(verdicts[..1024].iter().all(|verdict| *verdict == Verdict::Free));
        assert!(verdicts[1024..].iter().all(|verdict| *verdict == Verdict::InUse));
    }
}

#[test]
fn offline_sections_are_excluded() {
    for variant in VARIANTS {
        let verdicts = FakeKernel::new(variant).verdicts(OFFLINE);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Excluded));
    }
}

#[test]
fn offline_and_broken_pages_are_excluded() {
    let expected = playground(&[
        (PageRange::new(0x410, 2), Verdict::Excluded),
        (PageRange::new(0x413, 1), Verdict::Excluded),
    ]);
    let verdicts = after(|kernel| {
        let offline = kernel.variant.age.offline();
        kernel.set_field(Pfn(0x410), PAGE_TYPE, &offline.to_le_bytes());
        kernel.set_poisoned(Pfn(0x411));
        kernel.set_poisoned(Pfn(0x413));
    });
    for found in verdicts {
        assert_eq!(found, expected);
    }
}

#[test]
fn the_owner_of_a_new_type_may_use_the_other_bits() {
    let mut kernel = FakeKernel::new(VARIANTS[2]);
    let offline = kernel.variant.age.offline() | 0x1234;
    kernel.set_field(Pfn(0x410), PAGE_TYPE, &offline.to_le_bytes());
    assert_eq!(kernel.verdicts(PageRange::new(0x410, 1)), [Verdict::Excluded]);
}

#[test]
fn a_broken_huge_page_is_excluded_as_a_whole() {
    let expected = playground(&[(PageRange::new(0x600, 0x200), Verdict::Excluded)]);
    // Masks need page structures of a power of two; the kernel uses pointers
    // for others.
    for variant in [VARIANTS[0], VARIANTS[1], VARIANTS[2]] {
        let mut kernel = FakeKernel::new(variant);
        kernel.set_compound(Pfn(0x400), 9, true);
        kernel.set_compound(Pfn(0x600), 9, true);
        kernel.set_poisoned(Pfn(0x600));
        assert_eq!(kernel.verdicts(PLAYGROUND), expected, "{variant:?}");
    }
}

#[test]
fn of_any_other_large_page_only_the_broken_part_is_excluded() {
    let expected = playground(&[(PageRange::new(0x600, 1), Verdict::Excluded)]);
    for variant in [VARIANTS[0], VARIANTS[1], VARIANTS[2]] {
        let mut kernel = FakeKernel::new(variant);
        kernel.set_compound(Pfn(0x600), 9, false);
        kernel.set_poisoned(Pfn(0x600));
        assert_eq!(kernel.verdicts(PLAYGROUND), expected, "{variant:?}");
    }
}

#[test]
fn frames_that_the_window_interrupts_are_judged_on_both_sides() {
    let mut kernel = FakeKernel::new(VARIANTS[0]);
    kernel.set_free(Pfn(WINDOW.start.0 - 4), 2);
    kernel.set_free(WINDOW.end(), 2);
    let before = PageRange::new(WINDOW.start.0 - 5, 5);
    let after = PageRange::new(WINDOW.end().0, 5);
    let mut pages = kernel.pages();
    let [used, free] = [Verdict::InUse, Verdict::Free];
    assert_eq!(crate::fake_kernel::verdicts(&mut pages, before), [used, free, free, free, free]);
    assert_eq!(crate::fake_kernel::verdicts(&mut pages, after), [free, free, free, free, used]);
}

#[test]
fn a_free_block_around_the_window_is_free_on_both_sides() {
    let mut kernel = FakeKernel::new(VARIANTS[0]);
    kernel.set_free(PLAYGROUND.start, 10);
    let window = PageRange::new(0x500, 0x100);
    let mut pages = kernel.pages_around(window);
    for side in [PageRange::new(0x400, 0x100), PageRange::new(0x600, 0x200)] {
        let verdicts = crate::fake_kernel::verdicts(&mut pages, side);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Free));
    }
    assert_eq!(pages.doubted(), 0);
}

#[test]
fn what_the_log_tells_is_the_kernels() {
    let kernel = FakeKernel::new(VARIANTS[1]);
    assert_eq!(kernel.pages().levels(), Levels::Five);
    assert_eq!(kernel.pages().page_struct_bytes(), 56);
}

#[test]
fn every_entry_that_is_needed_is_missed_by_name() {
    let kernel = FakeKernel::new(VARIANTS[0]);
    let note = kernel.note();
    let optional =
        ["pgtable_l5", "sme_mask", "hwpoison", "OFFLINE", "compound_dtor", "HUGETLB_PAGE_DTOR"];
    for line in note.lines() {
        let shorter = note.replace(&format!("{line}\n"), "");
        let (key, _) = line.split_once('=').unwrap();
        match kernel.pages_by(&shorter).err() {
            Some(Unsupported::Missing(missing)) => assert_eq!(missing, key),
            None => assert!(optional.iter().any(|part| key.contains(part)), "{key}"),
            Some(other) => panic!("{key}: {other}"),
        }
    }
}

#[test]
fn values_that_no_kernel_has_are_refused_by_name() {
    let kernel = FakeKernel::new(VARIANTS[0]);
    let note = kernel.note();
    let refused = |from: &str, to: &str| {
        assert!(note.contains(from), "{from}");
        kernel.pages_by(&note.replace(from, to)).err()
    };
    for (from, to, key) in [
        ("PAGESIZE=4096", "PAGESIZE=65536", "PAGESIZE"),
        ("SIZE(page)=64", "SIZE(page)=60", "SIZE(page)"),
        ("OFFSET(page.flags)=0", "OFFSET(page.flags)=57", "OFFSET(page.flags)"),
        ("OFFSET(page.flags)=0", "OFFSET(page.flags)=4", "OFFSET(page.flags)"),
        ("LENGTH(mem_section)=4096", "LENGTH(mem_section)=524288", "LENGTH(mem_section)"),
        ("LENGTH(zone.free_area)=11", "LENGTH(zone.free_area)=60", "LENGTH(zone.free_area)"),
        ("SIZE(mem_section)=32", "SIZE(mem_section)=24", "SIZE(mem_section)"),
        (
            "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129",
            "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=0",
            "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)",
        ),
    ] {
        assert_eq!(refused(from, to), Some(Unsupported::Value(key)));
    }
    assert_eq!(
        refused("NUMBER(sme_mask)=0", "NUMBER(sme_mask)=140737488355328"),
        Some(Unsupported::Encrypted)
    );
    assert_eq!(
        refused("SYMBOL(mem_section)=ffff8", "SYMBOL(mem_section)=ffff9"),
        Some(Unsupported::Unreadable("SYMBOL(mem_section)"))
    );
}

#[test]
fn real_notes_are_understood() {
    let kernel = FakeKernel::new(VARIANTS[0]);
    for note in [
        include_str!("../tests/vmcoreinfo/linux-5.10.0-32-debian-cloud.txt"),
        include_str!("../tests/vmcoreinfo/linux-6.1.0-56-debian-cloud.txt"),
        include_str!("../tests/vmcoreinfo/linux-6.1.192-tiny.txt"),
        include_str!("../tests/vmcoreinfo/linux-6.12.117-debian-cloud.txt"),
        include_str!("../tests/vmcoreinfo/linux-7.2.13-debian-cloud.txt"),
    ] {
        // All that is missing is the kernel.
        assert_eq!(
            kernel.pages_by(note).err(),
            Some(Unsupported::Unreadable("SYMBOL(mem_section)"))
        );
    }
}

#[test]
fn an_order_is_only_read_of_a_free_block() {
    let mut kernel = FakeKernel::new(VARIANTS[0]);
    kernel.set_field(PLAYGROUND.start, PRIVATE, &u64::MAX.to_le_bytes());
    assert_eq!(kernel.verdicts(PLAYGROUND), playground(&[]));
}
