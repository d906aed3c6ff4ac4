#![no_main]

dormouse_fuzz::target!("elf_stamp");
