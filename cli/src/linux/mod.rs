//! What the kernel says about itself, as text and bytes: one parser a file,
//! none of which touches a file or trusts what it reads.

pub mod consoles;
pub mod cpu_list;
pub mod e820;
pub mod iomem;
pub mod kallsyms;
pub mod kcore;
pub mod kernel_config;
pub mod mounts;
pub mod page_flags;
pub mod pagemap;
pub mod swaps;
