#![no_main]

dormouse_fuzz::target!("iomem");
