#![no_main]

dormouse_fuzz::target!("image_header_table");
