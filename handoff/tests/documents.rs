//! The documents of the layouts say what the layouts are.
//!
//! Each structure has a section in `docs/image-format.md` or
//! `docs/plan-format.md` whose heading names it and its size; in the section, a
//! table with a row of offset, bytes and name for every field. Enumerations
//! have a row of number and name for every value.

use dormouse_handoff::extents::Extent;
use dormouse_handoff::image::{
    Attempts, Chunk, Codec, Counts, Header, JumpBack, Kind, Layout, PageHead, PlatformState, Run,
    RunKind, Section, State, TableRegion,
};
use dormouse_handoff::mailbox::{EntropySources, Head, LogPage, Outcome, Statistics};
use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::plan::{
    Action, Ecam, Fault, Flags, Iommu, Machine, Methods, PciAddress, Plan, PowerFacts, Register,
    Stage, Step, Steps, Target, Transport, WAY_BACK_OFFSET, WayBack,
};
use dormouse_handoff::screen::{Channel, Framebuffer};
use std::fmt::Debug;
use std::mem::{offset_of, size_of};

const IMAGE: &str = include_str!("../../docs/image-format.md");
const PLAN: &str = include_str!("../../docs/plan-format.md");

/// A structure's name, size, and the offset and name of each field.
struct Structure {
    name: &'static str,
    bytes: usize,
    fields: Vec<(usize, &'static str)>,
}

/// Describes a structure. A field that is forgotten here does not compile.
macro_rules! structure {
    ($name:ident { $($field:ident),* $(,)? }) => {{
        #[allow(dead_code)]
        fn all_fields($name { $($field: _),* }: &$name) {}
        Structure {
            name: stringify!($name),
            bytes: size_of::<$name>(),
            fields: vec![$((offset_of!($name, $field), stringify!($field))),*],
        }
    }};
}

/// The table rows of the section whose heading contains `words`: cells, trimmed.
fn rows<'a>(document: &'a str, words: &str) -> Vec<Vec<&'a str>> {
    let is_heading = |line: &str| line.starts_with('#');
    let mut lines = document.lines().skip_while(|line| !(is_heading(line) && line.contains(words)));
    assert!(lines.next().is_some(), "no heading with {words:?}");
    lines
        .take_while(|line| !is_heading(line))
        .filter_map(|line| line.strip_prefix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

fn assert_documented(document: &str, structure: Structure) {
    let Structure { name, bytes, mut fields } = structure;
    // No layout has padding, so a field ends where the next one begins.
    fields.push((bytes, ""));
    let expected: Vec<[String; 3]> = fields
        .windows(2)
        .map(|pair| {
            let (offset, field) = pair[0];
            [offset.to_string(), (pair[1].0 - offset).to_string(), format!("`{field}`")]
        })
        .collect();
    let found: Vec<[String; 3]> = rows(document, &format!("`{name}`, {bytes} bytes"))
        .iter()
        .filter(|cells| cells[0].parse::<usize>().is_ok())
        .map(|cells| [cells[0].into(), cells[1].into(), cells[2].into()])
        .collect();
    assert_eq!(found, expected, "{name}");
}

fn assert_numbers<T: Debug>(document: &str, name: &str, values: &[(u64, T)]) {
    let found: Vec<[String; 2]> = rows(document, &format!("`{name}`"))
        .iter()
        .filter(|cells| cells[0].parse::<u64>().is_ok())
        .map(|cells| [cells[0].into(), cells[1].into()])
        .collect();
    let expected: Vec<[String; 2]> =
        values.iter().map(|(number, value)| [number.to_string(), format!("`{value:?}`")]).collect();
    assert_eq!(found, expected, "{name}");
}

/// Every value of an enumeration with its number. One that is forgotten here
/// does not compile.
macro_rules! numbers {
    ($name:ident { $($value:ident),* $(,)? }) => {{
        #[allow(dead_code)]
        fn all_values(value: $name) {
            match value { $($name::$value => {}),* }
        }
        (stringify!($name), vec![$(($name::$value as u64, $name::$value)),*])
    }};
}

macro_rules! assert_enumeration {
    ($document:expr, $name:ident { $($value:ident),* $(,)? }) => {
        let (name, values) = numbers!($name { $($value),* });
        assert_numbers($document, name, &values);
    };
}

#[test]
fn the_image_format_has_every_field() {
    for structure in [
        structure!(Header {
            magic,
            version,
            state,
            id,
            kind,
            block_size,
            created,
            layout_pages,
            plan,
            jump_back,
            kept_page,
            log,
            runs,
            chunks,
            data_length,
            counts,
            statistics,
            generation,
            series,
            reserved,
            checksum,
        }),
        structure!(Section { length, checksum }),
        structure!(TableRegion { pages, entries }),
        structure!(Counts { stored, zero, free, excluded, window }),
        structure!(Statistics {
            first_data_us,
            data_us,
            finish_us,
            data_bytes,
            meta_bytes,
            walk_us,
        }),
        structure!(Attempts { magic, id, begun, reserved, woken, carried, checksum }),
        structure!(JumpBack {
            entry,
            cr0,
            cr3,
            cr4,
            efer,
            pat,
            gdt,
            gdt_limit,
            program,
            platform,
            apic_base
        }),
        structure!(PlatformState { acpi_on, pm1a_enable, pm1b_enable, gpe0_enable, gpe1_enable }),
        structure!(PageHead { checksum, sequence, table, entries, reserved }),
        structure!(Run { start, pages, kind }),
        structure!(Chunk { offset, checksum, length, pages, codec, reserved }),
    ] {
        assert_documented(IMAGE, structure);
    }
}

#[test]
fn the_image_format_has_every_number() {
    assert_enumeration!(IMAGE, State { Writing, Valid, Consumed, Discarded, Inert });
    assert_enumeration!(IMAGE, Kind { Once, Inspection, Reusable });
    assert_enumeration!(IMAGE, Codec { Raw });
    assert_enumeration!(IMAGE, RunKind { Stored, Zero, Free, Excluded, Window });
}

#[test]
fn the_image_format_has_every_fixed_offset() {
    let rows = rows(IMAGE, "Where everything lies");
    for (offset, name) in [
        (0, "header"),
        (Layout::ATTEMPTS, "attempts"),
        (Layout::KEPT_PAGE, "kept page"),
        (Layout::JUMP_BACK, "jump-back state"),
        (Layout::PLAN, "plan"),
        (Layout::LOG, "log"),
        (Layout::RUNS, "run table"),
    ] {
        let offset = offset.to_string();
        assert!(rows.iter().any(|row| row[0] == offset && row[1] == name), "{offset} {name}");
    }
}

#[test]
fn the_plan_format_has_every_field() {
    for structure in [
        structure!(Plan {
            magic,
            version,
            length,
            checksum,
            nonce,
            created,
            flags,
            action,
            attempts,
            console_port,
            console_baud,
            fault_stage,
            fault,
            window_start,
            window_bytes,
            direct_map,
            gdt,
            rsdp,
            power,
            machine,
            kernel_release,
            mailbox,
            memory_count,
            extent_count,
            vmcoreinfo_length,
            image,
            generation,
            series,
            framebuffer,
            methods,
            iommus,
            target,
            memory,
            extents,
            vmcoreinfo,
            tsc_khz,
            pages_in_use,
            ecam,
        }),
        structure!(PowerFacts {
            pm1a_control,
            pm1b_control,
            sleep_control,
            reset,
            reset_value,
            s5_type_a,
            s5_type_b,
            s3_type_a,
            s3_type_b,
            smi_command,
            acpi_enable,
            pm1_enable_offset,
            pm1a_status,
            pm1b_status,
            gpe0_status,
            gpe1_status,
            gpe0_bytes,
            gpe1_bytes,
            facs,
        }),
        structure!(Register { space, width, address }),
        structure!(Machine {
            cpu_vendor,
            cpu_signature,
            cpu_features,
            dsdt_checksum,
            hardware_signature,
            reserved,
        }),
        structure!(Framebuffer {
            address,
            width,
            height,
            pitch,
            depth,
            red,
            green,
            blue,
            reserved
        }),
        structure!(Methods { before_off, before_suspend, after_wake }),
        structure!(Steps { count, reserved, steps }),
        structure!(Step { register, keep, set }),
        structure!(Channel { position, bits }),
        structure!(Iommu { base, kind, reserved }),
        structure!(Ecam { base, segment, first_bus, last_bus, reserved }),
        structure!(Target {
            transport,
            unit,
            pci,
            block_size,
            mmio,
            device_blocks,
            serial,
            first_page_checksum,
            kept_page,
        }),
        structure!(PciAddress { segment, bus, device, function, reserved }),
        structure!(MemoryRange { range, kind, reserved }),
        structure!(Extent { start, blocks }),
        structure!(WayBack { magic, checksum, nonce, gdt, mailbox, console_port, console_baud }),
        structure!(Head {
            magic,
            nonce,
            index,
            outcome,
            stage,
            message_length,
            message,
            write,
            read,
            counts,
            entropy,
            entropy_bits,
            entropy_sources,
            woken_before,
            reloaded,
        }),
        structure!(LogPage { magic, nonce, index, used, text }),
    ] {
        assert_documented(PLAN, structure);
    }
    assert!(PLAN.contains(&format!("byte {WAY_BACK_OFFSET}")), "where the way back lies");
}

#[test]
fn the_plan_format_has_every_number() {
    assert_enumeration!(PLAN, Action { PowerOff, Reboot, Return, Suspend });
    assert_enumeration!(PLAN, Transport { Nvme, VirtioBlk, Ahci, VirtioMmio });
    assert_enumeration!(PLAN, Fault { Error, Panic, PageFault });
    assert_enumeration!(PLAN, MemoryKind { Ram, AcpiNvs });
    assert_enumeration!(PLAN, Outcome { Pending, Returned, Woken, Done, WokenFromRam });
    let stages: Vec<_> = Stage::ALL.into_iter().map(|stage| (stage as u64, stage)).collect();
    assert_numbers(PLAN, "Stage", &stages);
    let flags: Vec<_> = Flags::all().iter_names().map(|(n, flag)| (n, flag.bits())).collect();
    assert_bits("`Flags`", &flags);
    let sources = EntropySources::all().iter_names();
    let sources: Vec<_> = sources.map(|(n, source)| (n, source.bits().into())).collect();
    assert_bits("`EntropySources`", &sources);
}

/// That the plan's page has a row for each bit.
fn assert_bits(heading: &str, bits: &[(&str, u64)]) {
    let names = rows(PLAN, heading);
    for (name, value) in bits {
        let (bit, name) = (value.trailing_zeros().to_string(), format!("`{name}`"));
        assert!(names.iter().any(|row| row[0] == bit && row[1] == name), "{name}");
    }
}
