//! `/proc/kallsyms`: the kernel's symbols. Data is listed only where the kernel
//! has CONFIG_KALLSYMS_ALL, addresses only for root.

/// The values of `names`, in their order; `None` where a name is not listed,
/// or listed without its address.
pub fn values<const N: usize>(text: &str, names: [&str; N]) -> [Option<u64>; N] {
    let mut values = [None; N];
    for line in text.lines() {
        // There are some hundred thousand lines: most are given up at their ends.
        if !names.iter().any(|name| line.ends_with(name)) {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(value), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // A module may have a symbol of the same name; the kernel's come first.
        let Some(place) = names.iter().position(|wanted| *wanted == name) else { continue };
        if values[place].is_none() && words.next().is_none() {
            // Per-CPU symbols may have the offset 0; others then are hidden.
            let value = u64::from_str_radix(value, 16).ok();
            values[place] = value.filter(|&value| value != 0 || kind == "A");
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
0000000000000000 A fixed_percpu_data
000000000000b000 A gdt_page
ffffffff82c05000 D __per_cpu_offset
ffffffffc0212000 d gdt_page\t[some_module]
ffffffff810001c0 t hidden
";

    #[test]
    fn the_kernels_own_symbols_are_found() {
        let found = values(TEXT, ["__per_cpu_offset", "gdt_page", "missing"]);
        assert_eq!(found, [Some(0xffff_ffff_82c0_5000), Some(0xb000), None]);
    }

    #[test]
    fn addresses_that_are_hidden_are_not_taken_for_zero() {
        let hidden = "0000000000000000 D __per_cpu_offset\n0000000000000000 A gdt_page\n";
        assert_eq!(values(hidden, ["__per_cpu_offset", "gdt_page"]), [None, Some(0)]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f A-Za-z_\\n\\[\\]]{0,200}") {
            let _ = values(&text, ["a", "gdt_page"]);
        }
    }
}
