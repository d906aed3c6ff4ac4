#![no_main]

dormouse_fuzz::target!("ahci_identify");
