#![no_main]

dormouse_fuzz::target!("virtio_config");
