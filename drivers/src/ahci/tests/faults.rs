//! What controller and disk can do wrong once they are at work.

use super::*;

/// One block of many is bad: its request fails, all others are done, and the
/// disk goes on working.
fn one_bad_block(bench: &Bench) {
    let mut disk = bench.disk();
    bench.model.port(1).bad_block = Some(8 * 5 + 3);
    let pages: Vec<_> = (0..10u8).map(|i| bench.page(i + 1)).collect();
    for (tag, page) in (0u32..).zip(&pages) {
        disk.submit(&write(u64::from(tag) * 8, page, tag)).unwrap();
    }
    disk.ring();
    let mut completions: Vec<_> = pages.iter().map(|_| polled(&mut disk)).collect();
    completions.sort_by_key(|completion| completion.tag);
    for Completion { tag, result } in completions {
        match result {
            Ok(()) => assert_ne!(tag, 5),
            Err(error) => assert_eq!(
                (tag, error.to_string().as_str()),
                (
                    5,
                    "ahci 0000:00:1f.2 port 1: write at block 40: \
                     uncorrectable data (UNC) (status 0x51, error 0x40)"
                )
            ),
        }
    }
    assert_eq!(bench.stored(9 * 4096, 4096), [10; 4096]);

    bench.model.port(1).bad_block = None;
    disk.submit(&write(40, &pages[5], 99)).unwrap();
    disk.ring();
    assert!(polled(&mut disk).result.is_ok());
    assert_eq!(bench.stored(5 * 4096, 4096), [6; 4096]);
    disk.flush().unwrap();
}

#[test]
fn among_queued_commands_the_one_that_failed_is_found() {
    let bench = Bench::new();
    one_bad_block(&bench);
    assert!(bench.model.port(1).link_resets >= 1, "nothing else ends the error of a queue");
}

#[test]
fn among_plain_commands_the_one_that_failed_is_found() {
    one_bad_block(&Bench::plain());
}

#[test]
fn a_failed_command_whose_slot_is_given_back_is_not_taken_for_done() {
    let bench = Bench::plain();
    bench.model.port(1).gives_failed_back = true;
    one_bad_block(&bench);
}

#[test]
fn a_disk_whose_link_was_reset_is_flushed_whatever_it_said_of_its_cache() {
    const WRITE_CACHE_ON: u16 = 1 << 5;
    for bench in [Bench::new(), Bench::plain()] {
        bench.model.port(1).identity[85] &= !WRITE_CACHE_ON;
        let mut disk = bench.disk();
        let try_to_write = |disk: &mut Disk<_>| {
            disk.submit(&write(8, &bench.page(1), 1)).unwrap();
            disk.ring();
            polled(disk).result
        };
        try_to_write(&mut disk).unwrap();
        disk.flush().unwrap();
        assert_eq!(bench.rests().0, 0, "a cache that is off was flushed");

        bench.model.port(1).bad_block = Some(8);
        try_to_write(&mut disk).unwrap_err();
        assert!(bench.model.port(1).link_resets >= 1);
        bench.model.port(1).bad_block = None;
        try_to_write(&mut disk).unwrap();
        disk.flush().unwrap();
        assert_eq!(bench.rests().0, 1, "what is in the cache may be lost");
    }
}

#[test]
fn a_flush_has_a_longer_deadline() {
    let bench = Bench::plain();
    let mut disk = bench.disk();
    bench.model.port(1).answers_at_once = false;
    bench.machine.set_tick(1_000_000);
    assert_eq!(disk.flush().unwrap_err().cause, Cause::Timeout(60_000));
}

#[test]
fn faults_of_bus_and_link_are_errors_in_words() {
    for (fault, words) in
        [(Fault::BUS_FATAL, "could not reach memory"), (Fault::INTERFACE_FATAL, "link failed")]
    {
        let bench = Bench::new();
        let mut disk = bench.disk();
        bench.model.port(1).answers_at_once = false;
        disk.submit(&write(8, &bench.page(1), 1)).unwrap();
        disk.ring();
        bench.model.port(1).fault(fault);
        let error = polled(&mut disk).result.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.lba, Some(Lba(8)));
    }
}

#[test]
fn a_command_that_is_never_answered_ends_the_disk_after_its_deadline() {
    for bench in [Bench::new(), Bench::plain()] {
        let mut disk = bench.disk();
        bench.model.port(1).answers_at_once = false;
        let page = bench.page(1);
        disk.submit(&write(24, &page, 1)).unwrap();
        disk.ring();
        bench.machine.advance(29_000_000);
        assert!(disk.poll().unwrap().is_none());
        bench.machine.advance(1_100_000);
        let error = disk.poll().unwrap_err();
        assert_eq!((error.lba, error.operation), (Some(Lba(24)), "write"));
        assert_eq!(error.cause, Cause::Timeout(30_000));
        assert!(disk.poll().is_err());
        assert!(matches!(disk.submit(&write(0, &page, 2)), Err(SubmitError::Device(_))));
        disk.shutdown().unwrap();
        assert!(!bench.model.port(1).is_live());
    }
}

#[test]
fn slots_that_were_never_issued_keep_nobody_waiting_for_ever() {
    for bench in [Bench::new(), Bench::plain()] {
        let mut disk = bench.disk();
        bench.model.port(1).answers_at_once = false;
        bench.model.port(1).stray = 1 << 7;
        disk.submit(&write(24, &bench.page(1), 1)).unwrap();
        disk.ring();
        bench.machine.advance(31_000_000);
        assert_eq!(disk.poll().unwrap_err().cause, Cause::Timeout(30_000));
    }
}

#[test]
fn a_machine_that_stood_still_does_not_make_the_disk_late() {
    let bench = Bench::new();
    let mut disk = bench.disk();
    disk.submit(&write(0, &bench.page(1), 1)).unwrap();
    disk.ring();
    bench.machine.advance(3_600_000_000);
    assert_eq!(polled(&mut disk).tag, 1);
}

#[test]
fn a_disk_that_is_pulled_out_is_missed_long_before_the_deadline() {
    let bench = Bench::new();
    let mut disk = bench.disk();
    bench.model.port(1).answers_at_once = false;
    disk.submit(&write(0, &bench.page(1), 1)).unwrap();
    disk.ring();
    bench.model.port(1).attached = Attached::Nothing;
    bench.machine.advance(200_000);
    assert!(matches!(disk.poll().unwrap_err().cause, Cause::Dead(_)));
}

/// The old kernel lets the controller reach memory again before its driver
/// resets it, and what was given back is used for other things by then.
#[test]
fn what_was_given_up_moves_no_data_when_the_old_kernel_goes_on() {
    let ends: [fn(Disk<&'static Model>); 2] =
        [|mut disk| disk.shutdown().unwrap(), |disk| drop(disk)];
    for bench in [Bench::new, Bench::plain] {
        for (end, never_stops) in ends.into_iter().flat_map(|end| [(end, false), (end, true)]) {
            for direction in [Direction::Read, Direction::Write] {
                let bench = bench();
                let mut disk = bench.disk();
                let page = bench.page(7);
                bench.model.faults().set(Some((0, Played::TooLate)));
                let request = Request { direction, lba: Lba(24), segments: &page, tag: 1 };
                disk.submit(&request).unwrap();
                disk.ring();
                let error = (0..100_000).find_map(|_| disk.poll().err()).unwrap();
                assert_eq!(error.cause, Cause::Timeout(30_000));
                bench.model.port(1).never_stops = never_stops;
                end(disk);

                let stored = bench.stored(24 * 512, 4096);
                Endpoint::enable(bench.machine, ADDRESS).unwrap().start_dma();
                bench.machine.advance(1_000_000_000);
                bench.model.settle();
                assert_eq!(bench.stored(24 * 512, 4096), stored, "{direction:?} was done late");
                assert_eq!(bench.machine.read(page[0].address, 4096), [7; 4096], "{direction:?}");
            }
        }
    }
}
