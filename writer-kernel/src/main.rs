//! `writer.elf`: puts a running Linux to sleep on a disk, and wakes it.
//!
//! One binary, two roles. Entered by the old kernel (the kexec door), it is the
//! *writer*: it saves the old kernel's memory as the plan says, commits, and
//! powers off; whatever fails before the commit ends in the running system
//! again. Booted cold, by whatever loader, it is the *reader*: it finds the image,
//! checks it, puts everything back and jumps into the old kernel.
#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod console;
mod disks;
mod entry;
mod failure;
mod finish;
mod heap;
mod keys;
mod linux;
mod machine;
mod mailbox;
mod monitor;
mod observer;
mod pci;
mod pic;
mod power;
mod ram;
mod rehearse;
mod save;
mod screen;
mod seed;
mod wake;

use entry::Door;

/// Called by the entry code, on the main stack, at the virtual address.
#[unsafe(no_mangle)]
extern "C" fn rust_start(door: u32) -> ! {
    arch::time::start();
    arch::exceptions::init();
    match Door::from_number(door) {
        Some(Door::Kexec) => {
            heap::init();
            console::init();
            save::run()
        }
        Some(Door::Loader(loader)) => {
            heap::init();
            console::init();
            wake::run(loader)
        }
        // The heap, the console and all that was found came along.
        Some(Door::Moved) => wake::go_on(),
        None => failure::halt(),
    }
}
