//! The Linux side of dormouse.
//!
//! It looks whether this machine can be put to sleep ([`preflight`]), hands the
//! writer what it must know ([`planner`], [`stamp`]), opens the door
//! ([`door`]) and, once the old kernel runs again, says what happened
//! ([`trip`]).
//!
//! Everything that the kernel, a disk or a file says is parsed in [`linux`],
//! [`target`], [`stamp`] and [`image_file`] from plain text and bytes, so that
//! it can be tested anywhere.

pub mod acpi;
mod affinities;
pub mod appliance;
pub mod clock;
pub mod commands;
pub mod core_file;
mod counter;
pub mod door;
pub mod elf;
pub mod entropy;
pub mod error;
pub mod exit;
pub mod first_gdt;
mod foremost;
pub mod free_pages;
mod guard;
mod hooks;
pub mod image_file;
pub mod kept_page;
pub mod linux;
pub mod machine;
pub mod mailbox;
pub mod old_kernel;
pub mod output;
pub mod picture;
pub mod planner;
pub mod preflight;
mod processors;
pub mod reloaded;
pub mod run_dir;
pub mod screen;
pub mod shrink;
mod signals;
pub mod slots;
pub mod stamp;
pub mod system;
pub mod target;
pub mod trip;
pub mod window;
pub mod writer_file;
