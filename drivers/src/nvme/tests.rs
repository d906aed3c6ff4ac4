use super::controller::Controller;
use super::model::{Event, FATAL, Model, Script};
use super::namespace::Namespace;
use super::spec::{CompletionEntry, nvm};
use crate::conformance::{Subject, conforms};
use crate::fakes::{FakeMachine, at};
use crate::pci::Endpoint;
use crate::queue::{BlockQueue, Cause, DeviceError, Direction, Request, Segment, SubmitError};
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{Lba, PhysAddr};

const ADDRESS: PciAddress = at(0, 4, 0);

struct Bench {
    machine: &'static FakeMachine,
    model: &'static Model,
}

impl Bench {
    fn new(script: Script) -> Self {
        let machine = FakeMachine::new();
        machine.add_function(ADDRESS, (0x1b36, 0x0010), (1, 8, 2), 0);
        Self { machine, model: Box::leak(Box::new(Model::new(machine, ADDRESS, script))) }
    }

    fn controller(&self) -> Result<Controller<&'static Model>, DeviceError> {
        let endpoint = Endpoint::enable(self.machine, ADDRESS).unwrap();
        Controller::bring_up(self.machine, endpoint, self.model)
    }

    fn open(&self) -> Result<Namespace<&'static Model>, DeviceError> {
        let namespace = Namespace::open(self.controller()?, 1);
        self.model.take_events();
        namespace
    }

    fn cause_of_failure(&self) -> Cause {
        match self.open() {
            Ok(_) => panic!("it opened"),
            Err(error) => error.cause,
        }
    }

    /// Pages with a pattern that depends on where they are.
    fn patterned(&self, pages: usize) -> Segment {
        let address = self.machine.pages(pages);
        let bytes: Vec<u8> = (0..pages * 4096)
            .map(|i| (i as u64 * 31 + address.0 / 4096 + i as u64 / 512) as u8)
            .collect();
        self.machine.write(address, &bytes);
        Segment { address, bytes: bytes.len() as u32 }
    }

    fn contents(&self, segments: &[Segment]) -> Vec<u8> {
        segments.iter().flat_map(|s| self.machine.read(s.address, s.bytes as usize)).collect()
    }
}

impl Subject for Bench {
    fn new() -> Self {
        Self::new(Script::default())
    }

    fn machine(&self) -> &'static FakeMachine {
        self.machine
    }

    fn address(&self) -> PciAddress {
        ADDRESS
    }

    fn open(&self) -> Box<dyn BlockQueue> {
        Box::new(self.open().unwrap())
    }

    fn stored(&self, first_byte: usize, bytes: usize) -> Vec<u8> {
        self.model.stored(first_byte, bytes)
    }
}

conforms!(Bench);

fn submit(
    device: &mut impl BlockQueue,
    direction: Direction,
    lba: u64,
    segments: &[Segment],
    tag: u32,
) -> Result<(), SubmitError> {
    device.submit(&Request { direction, lba: Lba(lba), segments, tag })
}

/// Rings, and polls until `count` requests have come back; their tags.
fn drain(device: &mut impl BlockQueue, count: usize) -> Vec<u32> {
    device.ring();
    let mut tags = Vec::new();
    while tags.len() < count {
        if let Some(completion) = device.poll().unwrap() {
            completion.result.unwrap();
            tags.push(completion.tag);
        }
    }
    tags
}

fn failure_of(device: &mut impl BlockQueue) -> DeviceError {
    for _ in 0..100_000 {
        match device.poll() {
            Ok(None) => {}
            Ok(Some(completion)) => panic!("{completion:?}"),
            Err(error) => return error,
        }
    }
    panic!("the device never failed");
}

#[test]
fn a_controller_comes_up_from_whatever_state_it_is_found_in() {
    let running = Script { configuration: 0x0046_0001, status: 1, ..Script::default() };
    let found = [
        ("after power on", Script::default()),
        ("running", running.clone()),
        (
            "as Linux shuts it down",
            Script { configuration: 0x0046_4001, status: 0b1001, ..running.clone() },
        ),
        (
            "shut down and not ready",
            Script { configuration: 0x0046_4001, status: 0b1000, ..running.clone() },
        ),
        ("becoming ready", Script { status: 0, slowness: 20, ..running.clone() }),
        ("being disabled", Script { configuration: 0, status: 1, slowness: 20, ..running.clone() }),
        ("failed", Script { status: 0b11, ..running }),
        ("failing once when it is enabled", Script { fatal_enables: 1, ..Script::default() }),
    ];
    for (name, script) in found {
        let bench = Bench::new(script);
        let mut device = bench.open().unwrap_or_else(|error| panic!("{name}: {error}"));
        let page = bench.patterned(1);
        submit(&mut device, Direction::Write, 8, &[page], 7).unwrap();
        assert_eq!(drain(&mut device, 1), [7], "{name}");
        assert_eq!(bench.model.stored(4096, 4096), bench.contents(&[page]), "{name}");
    }
}

#[test]
fn a_running_controller_gets_no_memory_before_it_was_reset() {
    let bench = Bench::new(Script { configuration: 0x0046_0001, status: 1, ..Script::default() });
    bench.machine.set_config(ADDRESS, 4, 0);
    Endpoint::enable(bench.machine, ADDRESS).unwrap();
    assert!(!bench.machine.is_bus_master(ADDRESS));
    assert!(bench.model.is_enabled());
}

#[test]
fn controllers_that_cannot_be_used_say_why() {
    let script = Script::default;
    let open = |script| Bench::new(script).cause_of_failure();
    let fatal = open(Script { fatal_enables: 9, ..script() });
    assert!(matches!(fatal, Cause::Dead(words) if words.contains("CFS")), "{fatal}");
    let gone = open(Script { status: u32::MAX, ..script() });
    assert!(matches!(gone, Cause::Dead(words) if words.contains("gone")), "{gone}");
    assert_eq!(open(Script { never_ready: true, ..script() }), Cause::Timeout(5500));
    let large_pages = script().capabilities | 1 << 48;
    let no_nvm = script().capabilities & !(1 << 37) | 1 << 44;
    let unsupported = [
        Script { capabilities: large_pages, ..script() },
        Script { capabilities: no_nvm, ..script() },
        Script { format: 9 << 16 | 8, ..script() },
        Script { format: 13 << 16, ..script() },
        Script { namespaces: vec![2], ..script() },
    ];
    for script in unsupported {
        let cause = open(script);
        assert!(matches!(cause, Cause::Unsupported(_)), "{cause}");
    }
    let tiny_queues = open(Script { capabilities: script().capabilities & !0xffff, ..script() });
    assert!(matches!(tiny_queues, Cause::Protocol(_)), "{tiny_queues}");
}

#[test]
fn a_window_without_room_is_an_error() {
    for bytes in [0, 8192, 12288, 20480, 65536] {
        let bench = Bench::new(Script::default());
        bench.machine.limit_dma(bytes);
        assert_eq!(bench.cause_of_failure(), Cause::Exhausted, "{bytes} bytes");
        assert!(!bench.machine.is_bus_master(ADDRESS));
    }
}

#[test]
fn all_of_a_driver_fits_in_320_kib() {
    let bench = Bench::new(Script::default());
    let device = bench.open().unwrap();
    assert_eq!(device.geometry().depth, 63);
    assert!(bench.machine.dma_used() < 320 << 10, "{} bytes", bench.machine.dma_used());
}

#[test]
fn a_controller_says_who_it_is_and_which_namespaces_it_has() {
    let bench = Bench::new(Script { namespaces: vec![1, 3, 6], ..Script::default() });
    let mut controller = bench.controller().unwrap();
    assert_eq!(controller.active_namespaces().unwrap(), [1, 3, 6]);
    assert_eq!(controller.facts().identity.serial, "S3RIAL");
    assert_eq!(controller.facts().identity.model, "Model ? NVMe");
    let old = Bench::new(Script { version: 0x0001_0000, ..Script::default() });
    let all: Vec<u32> = (1..=8).collect();
    assert_eq!(old.controller().unwrap().active_namespaces().unwrap(), all);
}

#[test]
fn limits_come_from_the_controller_and_from_us() {
    let geometry = |script| Bench::new(script).open().unwrap().geometry();
    let ours = geometry(Script::default());
    assert_eq!((ours.max_bytes, ours.max_segments), (1 << 20, 256));
    let small = geometry(Script { mdts: 5, ..Script::default() });
    assert_eq!((small.max_bytes, small.max_segments), (128 << 10, 32));
    for mdts in [8, 9, 31, 32, 255] {
        assert_eq!(geometry(Script { mdts, ..Script::default() }).max_bytes, 1 << 20);
    }
    let capabilities = Script::default().capabilities & !0xffff | 15;
    assert_eq!(geometry(Script { capabilities, ..Script::default() }).depth, 15);
    let capabilities = Script::default().capabilities | 0xffff;
    assert_eq!(geometry(Script { capabilities, ..Script::default() }).depth, 63);
    let large = geometry(Script { format: 12 << 16, blocks: 512, ..Script::default() });
    assert_eq!((large.block_size, large.blocks), (4096, 512));
}

#[test]
fn what_is_written_is_read_back_from_other_pages() {
    for (format, blocks) in [(9 << 16, 16384), (12 << 16, 2048)] {
        let bench = Bench::new(Script { format, blocks, ..Script::default() });
        let mut device = bench.open().unwrap();
        let block = device.geometry().block_size;
        let pages: Vec<_> = [3usize, 1, 200, 7].map(|pages| bench.patterned(pages)).into();
        submit(&mut device, Direction::Write, 5, &pages, 1).unwrap();
        drain(&mut device, 1);
        assert_eq!(bench.model.stored(5 * block as usize, 211 * 4096), bench.contents(&pages));

        let back = Segment { address: bench.machine.pages(211), bytes: 211 * 4096 };
        submit(&mut device, Direction::Read, 5, &[back], 2).unwrap();
        drain(&mut device, 1);
        assert_eq!(bench.contents(&[back]), bench.contents(&pages));
    }
}

#[test]
fn memory_may_begin_inside_a_page_and_reach_the_device_s_last_block() {
    let bench = Bench::new(Script::default());
    let mut device = bench.open().unwrap();
    let page = bench.patterned(2);
    let inside = Segment { address: PhysAddr(page.address.0 + 0xa04), bytes: 3 * 512 };
    submit(&mut device, Direction::Write, 16381, &[inside], 1).unwrap();
    drain(&mut device, 1);
    assert_eq!(bench.model.stored(16381 * 512, 1536), bench.contents(&[inside]));
    let past = submit(&mut device, Direction::Write, 16382, &[inside], 1);
    assert!(matches!(past, Err(SubmitError::Invalid(_))));
}

#[test]
fn doorbells_lie_as_far_apart_as_the_controller_says() {
    let capabilities = Script::default().capabilities | 3 << 32;
    let bench = Bench::new(Script { capabilities, ..Script::default() });
    let mut device = bench.open().unwrap();
    submit(&mut device, Direction::Read, 0, &[bench.patterned(1)], 1).unwrap();
    drain(&mut device, 1);
}

#[test]
fn a_batch_takes_one_doorbell_each_way() {
    let bench = Bench::new(Script::default());
    let mut device = bench.open().unwrap();
    let page = bench.patterned(1);
    for tag in 0..20 {
        submit(&mut device, Direction::Read, 0, &[page], tag).unwrap();
    }
    let all: Vec<u32> = (0..20).collect();
    assert_eq!(drain(&mut device, 20), all);
    device.ring();
    assert!(device.poll().unwrap().is_none());
    assert!(device.poll().unwrap().is_none());
    assert_eq!(bench.model.take_events(), [Event::Submitted(20), Event::Acknowledged(20)]);
}

#[test]
fn queues_wrap_round_many_times() {
    let capabilities = Script::default().capabilities & !0xffff | 4;
    let bench = Bench::new(Script { capabilities, ..Script::default() });
    let mut device = bench.open().unwrap();
    let page = bench.patterned(1);
    for round in 0..5000u32 {
        let batch = round % 4 + 1;
        for tag in 0..batch {
            submit(&mut device, Direction::Read, 0, &[page], round * 10 + tag).unwrap();
        }
        let tags = drain(&mut device, batch as usize);
        assert_eq!(tags, (0..batch).map(|tag| round * 10 + tag).collect::<Vec<_>>());
    }
}

#[test]
fn a_full_queue_takes_requests_again_after_a_completion() {
    let bench = Bench::new(Script { hold: true, ..Script::default() });
    let mut device = bench.open().unwrap();
    let page = bench.patterned(1);
    for tag in 0..63 {
        submit(&mut device, Direction::Read, 0, &[page], tag).unwrap();
    }
    let full = submit(&mut device, Direction::Read, 0, &[page], 63);
    assert!(matches!(full, Err(SubmitError::Full)));
    device.ring();
    bench.model.complete(bench.model.held()[40]);
    assert_eq!(drain(&mut device, 1), [40]);
    submit(&mut device, Direction::Read, 0, &[page], 63).unwrap();
}

#[test]
fn completions_may_come_in_any_order() {
    let bench = Bench::new(Script { hold: true, ..Script::default() });
    let mut device = bench.open().unwrap();
    let pages: Vec<_> = (0..6).map(|_| bench.patterned(1)).collect();
    for (tag, page) in pages.iter().enumerate() {
        submit(&mut device, Direction::Write, 8 * tag as u64, &[*page], tag as u32).unwrap();
    }
    device.ring();
    let held = bench.model.held();
    for index in [3, 0, 5] {
        bench.model.complete(held[index]);
    }
    assert_eq!(drain(&mut device, 3), [3, 0, 5]);
    assert!(device.poll().unwrap().is_none());
    for index in [4, 2, 1] {
        bench.model.complete(held[index]);
    }
    assert_eq!(drain(&mut device, 3), [4, 2, 1]);
    assert_eq!(bench.model.stored(0, 6 * 4096), bench.contents(&pages));
}

#[test]
fn an_error_status_names_the_block_and_hurts_no_other_request() {
    let bench = Bench::new(Script {
        refuse: Some((nvm::WRITE, 0x4000 | 0x80 << 1 | 2 << 9)),
        ..Script::default()
    });
    let mut device = bench.open().unwrap();
    let page = bench.patterned(1);
    submit(&mut device, Direction::Write, 24, &[page], 1).unwrap();
    submit(&mut device, Direction::Read, 0, &[page], 2).unwrap();
    device.ring();
    let failed = device.poll().unwrap().unwrap();
    assert_eq!(failed.tag, 1);
    assert_eq!(
        failed.result.unwrap_err().to_string(),
        "nvme 0000:00:04.0 namespace 1: write at block 24: write fault (type 0x2, code 0x80)"
    );
    assert_eq!(drain(&mut device, 1), [2]);
}

/// Opens a device with one read in flight that the model holds.
fn with_one_in_flight() -> (Bench, Namespace<&'static Model>) {
    let bench = Bench::new(Script { hold: true, ..Script::default() });
    let mut device = bench.open().unwrap();
    submit(&mut device, Direction::Read, 16, &[bench.patterned(1)], 9).unwrap();
    device.ring();
    (bench, device)
}

#[test]
fn completions_of_nothing_in_flight_give_the_device_up() {
    let forgeries: [fn(u16) -> CompletionEntry; 4] = [
        |cid| CompletionEntry { cid: cid + 1, sq_id: 1, ..Default::default() },
        |cid| CompletionEntry { cid: cid ^ 1 << 6, sq_id: 1, ..Default::default() },
        |cid| CompletionEntry { cid, sq_id: 2, ..Default::default() },
        |_| CompletionEntry { cid: 0xffff, sq_id: 1, ..Default::default() },
    ];
    for forgery in forgeries {
        let (bench, mut device) = with_one_in_flight();
        bench.model.forge(forgery(bench.model.held()[0]));
        let error = failure_of(&mut device);
        assert!(matches!(error.cause, Cause::Protocol(_)), "{error}");
        assert!(!bench.machine.is_bus_master(ADDRESS), "it still reaches memory");
        assert_eq!(failure_of(&mut device), error, "the failure is forgotten");
    }
}

#[test]
fn a_second_answer_is_not_taken_for_the_next_request_s() {
    let (bench, mut device) = with_one_in_flight();
    let cid = bench.model.held()[0];
    bench.model.complete(cid);
    assert_eq!(drain(&mut device, 1), [9]);
    submit(&mut device, Direction::Read, 16, &[bench.patterned(1)], 10).unwrap();
    device.ring();
    bench.model.forge(CompletionEntry { cid, sq_id: 1, ..Default::default() });
    assert!(matches!(failure_of(&mut device).cause, Cause::Protocol(_)));
}

#[test]
fn a_request_that_is_never_answered_fails_after_30_seconds() {
    let (bench, mut device) = with_one_in_flight();
    bench.machine.set_tick(1_000);
    let error = failure_of(&mut device);
    assert_eq!((error.operation, error.lba), ("read", Some(Lba(16))));
    assert_eq!(error.cause, Cause::Timeout(30_000));
    assert!(!bench.machine.is_bus_master(ADDRESS));
    assert!(!bench.model.is_enabled());
    let refused = submit(&mut device, Direction::Read, 0, &[bench.patterned(1)], 1);
    assert!(matches!(refused, Err(SubmitError::Device(same)) if same == error));
}

#[test]
fn an_answer_that_waits_while_the_machine_stands_still_is_not_late() {
    let (bench, mut device) = with_one_in_flight();
    bench.machine.advance(3_600_000_000);
    bench.model.complete(bench.model.held()[0]);
    assert_eq!(drain(&mut device, 1), [9]);
}

#[test]
fn a_controller_that_dies_is_noticed_long_before_the_deadline() {
    for (status, words) in [(1 | FATAL, "CFS"), (u32::MAX, "gone")] {
        let (bench, mut device) = with_one_in_flight();
        let before = crate::platform::Platform::now_us(bench.machine);
        bench.model.rewrite(|script| script.status = status);
        let error = failure_of(&mut device);
        assert!(matches!(error.cause, Cause::Dead(said) if said.contains(words)), "{error}");
        let took = crate::platform::Platform::now_us(bench.machine) - before;
        assert!(took < 1_000_000, "{took} us");
    }
}

#[test]
fn a_flush_reaches_a_volatile_cache_and_only_that() {
    let bench = Bench::new(Script::default());
    let mut device = bench.open().unwrap();
    device.flush().unwrap();
    assert!(bench.model.take_events().contains(&Event::Flushed));
    let bench = Bench::new(Script { write_cache: false, ..Script::default() });
    let mut device = bench.open().unwrap();
    assert!(!device.geometry().write_cache);
    device.flush().unwrap();
    assert_eq!(bench.model.take_events(), []);
}

#[test]
fn flushes_report_what_goes_wrong() {
    let bench = Bench::new(Script { refuse: Some((nvm::FLUSH, 0x06 << 1)), ..Script::default() });
    let error = bench.open().unwrap().flush().unwrap_err();
    assert_eq!(error.operation, "flush");
    assert!(matches!(error.cause, Cause::Status(_)));

    let bench = Bench::new(Script { hold: true, ..Script::default() });
    let mut device = bench.open().unwrap();
    bench.machine.set_tick(1_000);
    assert_eq!(device.flush().unwrap_err().cause, Cause::Timeout(60_000));

    let (_bench, mut device) = with_one_in_flight();
    assert!(matches!(device.flush().unwrap_err().cause, Cause::Unsupported(_)));
}

#[test]
fn shutting_down_leaves_the_controller_as_linux_would() {
    let bench = Bench::new(Script::default());
    let mut device = bench.open().unwrap();
    submit(&mut device, Direction::Write, 0, &[bench.patterned(1)], 1).unwrap();
    drain(&mut device, 1);
    device.shutdown().unwrap();
    let events: Vec<_> = bench.model.take_events();
    let order: Vec<_> = events
        .into_iter()
        .filter(|event| !matches!(event, Event::Submitted(_) | Event::Acknowledged(_)))
        .collect();
    assert_eq!(order, [Event::Flushed, Event::QueuesDeleted, Event::ShutDown]);
    assert!(!bench.machine.is_bus_master(ADDRESS));
    device.shutdown().unwrap();
    let refused = submit(&mut device, Direction::Read, 0, &[bench.patterned(1)], 1);
    assert!(matches!(refused, Err(SubmitError::Device(_))));
    drop(device);
    assert!(bench.model.is_enabled(), "EN is Linux's to clear");
    bench.open().unwrap().shutdown().unwrap();
    assert!(!bench.model.take_events().contains(&Event::Flushed), "nothing was written");
}

#[test]
fn a_shutdown_that_never_ends_is_an_error_and_stops_dma() {
    let bench = Bench::new(Script { never_shuts_down: true, ..Script::default() });
    let mut device = bench.open().unwrap();
    bench.machine.set_tick(1_000);
    assert_eq!(device.shutdown().unwrap_err().cause, Cause::Timeout(10_000));
    assert!(!bench.machine.is_bus_master(ADDRESS));
}

#[test]
fn requests_in_flight_are_given_up_by_a_shutdown_or_a_drop() {
    let (bench, mut device) = with_one_in_flight();
    device.shutdown().unwrap();
    assert!(!bench.machine.is_bus_master(ADDRESS));
    let (bench, device) = with_one_in_flight();
    drop(device);
    assert!(!bench.machine.is_bus_master(ADDRESS));
    assert!(!bench.model.is_enabled());
}

mod hostile {
    use super::*;
    use crate::registers::Registers;
    use core::cell::Cell;
    use proptest::prelude::*;

    /// Registers that answer anything.
    struct Noise {
        answers: Vec<u32>,
        next: Cell<usize>,
    }

    impl Registers for Noise {
        fn read32(&self, _offset: usize) -> u32 {
            self.next.set(self.next.get() + 1);
            self.answers[self.next.get() % self.answers.len()]
        }

        fn write32(&self, _offset: usize, _value: u32) {}
    }

    proptest! {
        #[test]
        fn no_registers_whatever_hang_or_panic(answers in prop::collection::vec(any::<u32>(), 1..40)) {
            let bench = Bench::new(Script::default());
            bench.machine.set_tick(50_000);
            let endpoint = Endpoint::enable(bench.machine, ADDRESS).unwrap();
            let noise = Noise { answers, next: Cell::new(0) };
            let opened = Controller::bring_up(bench.machine, endpoint, noise)
                .and_then(|controller| Namespace::open(controller, 1));
            prop_assert!(opened.is_err(), "nobody answers commands");
            prop_assert!(!bench.machine.is_bus_master(ADDRESS));
        }

        #[test]
        fn no_completions_whatever_make_up_a_tag(
            entries in prop::collection::vec((0u16..256, 0u16..3, any::<u16>()), 1..50)
        ) {
            let bench = Bench::new(Script { hold: true, ..Script::default() });
            let mut device = bench.open().unwrap();
            let page = bench.patterned(1);
            for tag in 0..40 {
                submit(&mut device, Direction::Read, 0, &[page], 1000 + tag).unwrap();
            }
            device.ring();
            let mut seen = Vec::new();
            for (cid, sq_id, status) in entries {
                bench.model.forge(CompletionEntry { cid, sq_id, status: status & !1, ..Default::default() });
                match device.poll() {
                    Ok(Some(completion)) => {
                        prop_assert!((1000..1040).contains(&completion.tag));
                        prop_assert!(!seen.contains(&completion.tag), "ended twice");
                        seen.push(completion.tag);
                    }
                    Ok(None) => prop_assert!(false, "a completion was overlooked"),
                    Err(_) => {
                        prop_assert!(!bench.machine.is_bus_master(ADDRESS));
                        break;
                    }
                }
            }
        }
    }
}
