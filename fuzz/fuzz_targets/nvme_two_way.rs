#![no_main]

dormouse_fuzz::target!("nvme_two_way");
