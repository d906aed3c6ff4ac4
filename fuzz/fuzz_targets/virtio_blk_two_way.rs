#![no_main]

dormouse_fuzz::target!("virtio_blk_two_way");
