//! Tests of a damaged kernel: damage costs elision, and nothing else.

use crate::fake_kernel::{
    COMPOUND, FAR, FakeKernel, KERNEL, LOW, MAIN, NO_TYPE, OFFLINE, PAGE_TYPE, PLAYGROUND, PRIVATE,
    REFERENCES, VARIANTS, WINDOW, verdicts,
};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};
use dormouse_transfer::memory::{PageSet, Verdict};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Walks all memory. What it read, the fake memory has checked.
fn walk(kernel: &FakeKernel, note: &str) {
    if let Ok(mut pages) = kernel.pages_by(note) {
        for range in [LOW, MAIN, FAR, OFFLINE] {
            verdicts(&mut pages, range);
        }
    }
}

/// A kernel with free blocks in its playground, and one with none of them.
fn kernel_with_free_blocks(variant: usize) -> FakeKernel {
    static KERNELS: LazyLock<Vec<FakeKernel>> = LazyLock::new(|| {
        let prepare = |variant| {
            let mut kernel = FakeKernel::new(variant);
            for (frame, order) in [(0x400, 3), (0x440, 6), (0x480, 2), (0x600, 8)] {
                kernel.set_free(Pfn(frame), order);
            }
            kernel
        };
        VARIANTS.map(prepare).to_vec()
    });
    KERNELS[variant].clone()
}

#[test]
fn a_block_with_a_wrong_order_is_in_use() {
    for variant in 0..VARIANTS.len() {
        // Too large for the allocator, not aligned, over frames in use.
        for (frame, order) in [(0x600, 11u64), (0x440, 7), (0x480, 3), (0x600, 9), (0x600, 1 << 40)]
        {
            let mut kernel = kernel_with_free_blocks(variant);
            kernel.set_field(Pfn(frame), PRIVATE, &order.to_le_bytes());
            let mut pages = kernel.pages();
            assert_eq!(pages.verdict(Pfn(frame), 1), (Verdict::InUse, 1), "{frame:#x} {order}");
            assert_eq!(pages.doubted(), 1);
        }
    }
}

#[test]
fn a_block_where_none_of_its_order_can_begin_is_in_use() {
    for variant in 0..VARIANTS.len() {
        let mut kernel = kernel_with_free_blocks(variant);
        // Its pages would all agree.
        kernel.set_free(Pfn(0x512), 2);
        assert_eq!(kernel.pages().verdict(Pfn(0x512), 1).0, Verdict::InUse);
    }
}

#[test]
fn a_block_that_reaches_out_of_memory_is_in_use() {
    for variant in 0..VARIANTS.len() {
        let mut kernel = kernel_with_free_blocks(variant);
        let last_fitting = Pfn(LOW.end().0 - 3);
        kernel.set_free(last_fitting, 0);
        assert_eq!(kernel.pages().verdict(last_fitting, 1).0, Verdict::Free);
        // Page structures of the frames beyond exist, and call them free.
        kernel.set_free(Pfn(0x9c), 2);
        assert_eq!(kernel.pages().verdict(Pfn(0x9c), 1).0, Verdict::InUse, "{variant}");
    }
}

#[test]
fn a_block_with_a_page_in_use_in_it_is_in_use() {
    type Damage = fn(&mut FakeKernel);
    let damages: [(&str, Damage); 4] = [
        ("a reference", |kernel| kernel.set_field(Pfn(0x47f), REFERENCES, &1u32.to_le_bytes())),
        ("a type", |kernel| kernel.set_field(Pfn(0x441), PAGE_TYPE, &[0, 0, 0, 0xf5])),
        ("part of a larger page", |kernel| kernel.set_field(Pfn(0x460), COMPOUND, &[1])),
        ("broken memory", |kernel| kernel.set_poisoned(Pfn(0x460))),
    ];
    for variant in 0..VARIANTS.len() {
        for (what, damage) in damages {
            let mut kernel = kernel_with_free_blocks(variant);
            damage(&mut kernel);
            let free = kernel.verdicts(PageRange::new(0x440, 0x40));
            assert!(!free.contains(&Verdict::Free), "{what}");
        }
    }
}

#[test]
fn a_page_in_use_that_is_marked_as_free_is_in_use() {
    for variant in 0..VARIANTS.len() {
        let mut kernel = kernel_with_free_blocks(variant);
        let buddy = kernel.variant.age.buddy();
        kernel.set_field(Pfn(0x500), PAGE_TYPE, &buddy.to_le_bytes());
        assert_eq!(kernel.verdicts(PageRange::new(0x500, 1)), [Verdict::InUse]);
    }
}

#[test]
fn page_structures_in_the_window_are_not_read() {
    for variant in 0..VARIANTS.len() {
        let mut kernel = kernel_with_free_blocks(variant);
        let linear = kernel.struct_of(Pfn(0x600)) / PAGE_SIZE * PAGE_SIZE;
        // The table's entry for them, or that of the large page around them.
        let (shift, frame) = match kernel.variant.map_shift {
            12 => (12, WINDOW.start),
            shift => (shift, Pfn(WINDOW.start.0 / 512 * 512)),
        };
        kernel.map(linear >> shift << shift, frame, shift);
        let verdicts = kernel.verdicts(PageRange::new(0x600, 1));
        assert_eq!(verdicts, [Verdict::InUse], "{:?}", kernel.variant);
    }
}

#[test]
fn page_structures_that_are_not_mapped_are_not_read() {
    for variant in 0..VARIANTS.len() {
        for above in 0..=2 {
            let mut kernel = kernel_with_free_blocks(variant);
            let entry = kernel.entry_for(kernel.struct_of(Pfn(0x600)), above);
            let not_present = kernel.entry(entry) & !1;
            kernel.write(entry, &not_present.to_le_bytes());
            let verdicts = kernel.verdicts(PageRange::new(0x600, 1));
            assert_eq!(verdicts, [Verdict::InUse], "{:?}", kernel.variant);
        }
    }
}

#[test]
fn a_table_that_points_to_itself_is_walked_once() {
    for variant in 0..VARIANTS.len() {
        let mut kernel = kernel_with_free_blocks(variant);
        let root = kernel.root().address().0;
        for entry in 0..512 {
            kernel.write(root + entry * 8, &(root | 0x63).to_le_bytes());
        }
        walk(&kernel, &kernel.note());
    }
}

/// Words that lead somewhere: into tables, into the window, out of memory.
fn tempting_word() -> impl Strategy<Value = u64> {
    let flags = prop_oneof![Just(0x63), Just(0xe3), Just(7), 0u64..0x1000];
    let frame = prop_oneof![
        KERNEL.start.0..KERNEL.end().0,
        WINDOW.start.0..WINDOW.end().0,
        0u64..0x20000,
        any::<u64>(),
    ];
    prop_oneof![
        any::<u64>(),
        (frame, flags).prop_map(|(frame, flags)| frame.wrapping_mul(PAGE_SIZE) | flags),
        (0u64..64).prop_map(|bit| u64::MAX << bit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_anywhere_in_the_kernel_is_survived(
        variant in 0..VARIANTS.len(),
        damage in prop::collection::vec(
            // Most tables lie at the kernel's beginning.
            (prop_oneof![0..0x20u64, 0..KERNEL.pages], 0..512u64, tempting_word()),
            1..60,
        ),
    ) {
        let mut kernel = kernel_with_free_blocks(variant);
        for (frame, word, value) in damage {
            let address = (KERNEL.start.0 + frame) * PAGE_SIZE + word * 8;
            kernel.write(address, &value.to_le_bytes());
        }
        walk(&kernel, &kernel.note());
    }

    #[test]
    fn damage_to_one_page_structure_frees_no_page_in_use(
        variant in 0..VARIANTS.len(),
        frame in PLAYGROUND.start.0..PLAYGROUND.end().0,
        field in prop_oneof![Just(COMPOUND), Just(PRIVATE), Just(PAGE_TYPE)],
        value in prop_oneof![0u64..12, any::<u64>(), Just(!0x80u64), Just(0xf000_0000)],
    ) {
        let mut kernel = kernel_with_free_blocks(variant);
        let before = kernel.verdicts(PLAYGROUND);
        let bytes = value.to_le_bytes();
        let bytes = if field == PAGE_TYPE { &bytes[..4] } else { &bytes[..] };
        kernel.set_field(Pfn(frame), field, bytes);
        for (before, after) in before.iter().zip(kernel.verdicts(PLAYGROUND)) {
            prop_assert!(*before != Verdict::InUse || after != Verdict::Free);
        }
    }

    #[test]
    fn a_note_with_any_numbers_is_survived(
        variant in 0..VARIANTS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), tempting_word()), 1..4),
    ) {
        let kernel = kernel_with_free_blocks(variant);
        let note = kernel.note();
        let mut lines: Vec<_> = note.lines().map(str::to_owned).collect();
        for (line, value) in changes {
            let line = line.get(&lines).clone();
            let (key, _) = line.split_once('=').unwrap();
            let changed = match key.starts_with("SYMBOL") {
                true => format!("{key}={value:x}"),
                false => format!("{key}={}", value as i64),
            };
            lines.retain(|other| *other != line);
            lines.push(changed);
        }
        walk(&kernel, &lines.join("\n"));
    }

    #[test]
    fn small_numbers_in_a_note_are_survived(
        variant in 0..VARIANTS.len(),
        line: prop::sample::Index,
        value in 0u64..130,
    ) {
        let kernel = kernel_with_free_blocks(variant);
        let note = kernel.note();
        let lines: Vec<_> = note.lines().collect();
        let (key, _) = line.get(&lines).split_once('=').unwrap();
        walk(&kernel, &note.replace(line.get(&lines), &format!("{key}={value}")));
    }
}

#[test]
fn a_type_that_is_none_is_never_that_of_a_free_block() {
    let kernel = kernel_with_free_blocks(0);
    let note = kernel.note().replace("=-129\n", &format!("={}\n", NO_TYPE as i32));
    assert!(kernel.pages_by(&note).is_err());
}
