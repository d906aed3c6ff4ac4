#![no_main]

dormouse_fuzz::target!("page_set");
