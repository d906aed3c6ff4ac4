//! Making the plan: everything that the writer must be told, put together.

use crate::linux::consoles::SerialConsole;
use crate::old_kernel::OldKernel;
use crate::slots::Generation;
use crate::target::Device;
use crate::target::direct::Page;
use dormouse_handoff::checksum::{self, Nonce};
use dormouse_handoff::image::Kind;
use dormouse_handoff::mailbox::PAGES;
use dormouse_handoff::plan::{
    self, Action, CheckedPlan, Ecam, Fault, Flags, Iommu, MAX_ECAM, MAX_IOMMUS, Machine, Methods,
    Plan, PlanError, PowerFacts, Stage,
};
use dormouse_handoff::screen::Framebuffer;
use dormouse_handoff::units::PhysAddr;
use zerocopy::IntoBytes;

/// What is so on this machine, whoever asks.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The kernel that is put to sleep.
    pub kernel: OldKernel,
    /// Its release.
    pub kernel_release: String,
    /// How to power off.
    pub power: PowerFacts,
    /// What ACPI's methods around a sleep come to.
    pub methods: Methods,
    /// What tells the machine from another.
    pub machine: Machine,
    /// Physical address of the RSDP; 0: to be searched for.
    pub rsdp: u64,
    /// The screen that the writer may draw on, if there is one.
    pub framebuffer: Option<Framebuffer>,
    /// Where PCI's configuration space lies in memory, as far as the tables say.
    pub ecam: [Ecam; MAX_ECAM],
    /// Of which none may translate while the writer is at work.
    pub iommus: [Iommu; MAX_IOMMUS],
    /// Where the image goes; `None`: there is no image.
    pub device: Option<Device>,
}

/// What the user asks for.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// What follows the commit.
    pub action: Action,
    /// Of which kind the image is; `None`: none is written.
    pub image: Option<Kind>,
    /// How many wake-ups are tried.
    pub attempts: u32,
    /// Of a reusable snapshot: which one of which series.
    pub generation: Generation,
    /// Where the writer prints.
    pub console: Option<SerialConsole>,
    /// Whether it draws on the screen.
    pub screen: bool,
    /// Everything besides the ordinary.
    pub flags: Flags,
    /// Tests only: what goes wrong where.
    pub fault: Option<(Stage, Fault)>,
}

/// What is chosen for one attempt alone.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Identifies it.
    pub nonce: Nonce,
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// Where the writer goes.
    pub window: PhysAddr,
    /// Bytes of the window.
    pub window_bytes: u64,
    /// Where the mailbox is.
    pub mailbox: [PhysAddr; PAGES],
    /// The target's first page, as it was read last.
    pub first_page: Page,
    /// The page to put back once the image is used up.
    pub kept_page: Page,
    /// How fast the time-stamp counter runs, in kHz; 0: not known.
    pub tsc_khz: u32,
    /// About how many pages are in use; 0: not known.
    pub pages_in_use: u32,
}

/// The sealed plan.
///
/// # Errors
/// [`PlanError`]: the writer would refuse it.
pub fn plan(
    circumstances: &Circumstances,
    wishes: &Wishes,
    attempt: &Attempt,
) -> Result<Box<Plan>, PlanError> {
    let Circumstances { kernel, device, .. } = circumstances;
    let mut plan = Box::new(Plan::empty());
    plan.nonce = attempt.nonce;
    plan.created = attempt.created;
    let mut flags = wishes.flags;
    if kernel.free_pages.must_be_kept() {
        flags |= Flags::STORE_FREE_PAGES;
    }
    plan.flags = flags.bits();
    plan.action = wishes.action as u32;
    plan.image = wishes.image.map_or(0, |kind| kind as u32);
    plan.attempts = wishes.attempts;
    plan.generation = wishes.generation.number;
    plan.series = wishes.generation.series;
    if let Some(console) = wishes.console {
        plan.console_port = u32::from(console.port);
        plan.console_baud = console.rate;
    }
    if let Some((stage, fault)) = wishes.fault {
        plan.fault_stage = stage as u32;
        plan.fault = fault as u32;
    }
    plan.window_start = attempt.window;
    plan.window_bytes = attempt.window_bytes;
    plan.direct_map = kernel.direct_map;
    plan.tsc_khz = attempt.tsc_khz;
    if !kernel.free_pages.must_be_kept() {
        plan.pages_in_use = attempt.pages_in_use;
    }
    plan.gdt = kernel.gdt;
    plan.rsdp = PhysAddr(circumstances.rsdp);
    plan.framebuffer = circumstances.framebuffer.filter(|_| wishes.screen).unwrap_or_default();
    // Linux does not believe a table that has registers in RAM either.
    let in_ram = |region: &Ecam| {
        let range = region.range();
        kernel.memory.saved.iter().any(|saved| saved.range.intersection(&range).is_some())
    };
    let regions = circumstances.ecam.iter().filter(|region| region.is_usable());
    let regions = regions.filter(|region| !in_ram(region));
    regions.zip(&mut plan.ecam).for_each(|(region, room)| *room = *region);
    plan.iommus = circumstances.iommus;
    plan.power = circumstances.power;
    plan.methods = circumstances.methods;
    plan.machine = circumstances.machine;
    plan::set_text(&mut plan.kernel_release, &circumstances.kernel_release);
    plan.mailbox = attempt.mailbox;

    let ranges = &kernel.memory.saved;
    let room = plan.memory.get_mut(..ranges.len()).ok_or(PlanError::Field("memory_count"))?;
    room.copy_from_slice(ranges);
    plan.memory_count = ranges.len() as u32;

    if let Some(device) = device {
        plan.target = device.plan_target();
        plan.target.first_page_checksum = checksum::plain(&attempt.first_page.0);
        plan.target.kept_page = attempt.kept_page.0;
        plan.extents[0] = device.extent;
        plan.extent_count = 1;
    }

    // A text that does not fit is of no use: without it every page is stored.
    if let Some(room) = plan.vmcoreinfo.get_mut(..kernel.vmcoreinfo.len()) {
        room.copy_from_slice(&kernel.vmcoreinfo);
        plan.vmcoreinfo_length = kernel.vmcoreinfo.len() as u32;
    }
    plan.seal();
    CheckedPlan::parse(plan.as_bytes())?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::free_pages::FreePages;
    use crate::linux::iomem;
    use dormouse_handoff::extents::Extent;
    use dormouse_handoff::plan::{PciAddress, Transport};
    use dormouse_handoff::units::Lba;

    fn circumstances(iomem: &str) -> Circumstances {
        Circumstances {
            kernel: OldKernel {
                memory: iomem::parse(iomem).unwrap(),
                direct_map: 0xffff_8880_0000_0000,
                gdt: 0,
                vmcoreinfo: b"OSRELEASE=6.1.192\n".to_vec(),
                free_pages: FreePages::Anything,
            },
            kernel_release: "6.1.192".into(),
            power: PowerFacts::default(),
            methods: Methods::default(),
            machine: Machine::default(),
            rsdp: 0xf_52e0,
            framebuffer: None,
            ecam: [Ecam::default(); MAX_ECAM],
            iommus: [Iommu::default(); MAX_IOMMUS],
            device: Some(Device {
                path: "/dev/nvme0n1p2".into(),
                name: "nvme0n1p2".into(),
                disk: "nvme0n1".into(),
                number: (259, 2),
                transport: Transport::Nvme,
                unit: 1,
                address: PciAddress { bus: 1, ..PciAddress::default() }.into(),
                block_size: 512,
                disk_blocks: 1 << 22,
                serial: "S4EWNX0".into(),
                extent: Extent { start: Lba(2048), blocks: 1 << 21 },
            }),
        }
    }

    fn wishes() -> Wishes {
        Wishes {
            action: Action::PowerOff,
            image: Some(Kind::Once),
            attempts: 3,
            generation: Generation { number: 4, series: 77 },
            console: Some(SerialConsole { port: 0x3f8, rate: 115_200 }),
            screen: true,
            flags: Flags::WAIT_BEFORE_WRITE,
            fault: None,
        }
    }

    fn attempt() -> Attempt {
        Attempt {
            nonce: [9; 16],
            created: 1_800_000_000,
            window: PhysAddr(0x3fc0_0000),
            window_bytes: 4 << 20,
            mailbox: std::array::from_fn(|i| PhysAddr(0x200_0000 + i as u64 * 0x3000)),
            first_page: Page([1; 4096]),
            kept_page: Page([2; 4096]),
            tsc_khz: 2_600_000,
            pages_in_use: 100_000,
        }
    }

    const IOMEM: &str = "00001000-0009fbff : System RAM\n00100000-3fffffff : System RAM\n";

    #[test]
    fn the_writer_accepts_what_is_planned() {
        let plan = plan(&circumstances(IOMEM), &wishes(), &attempt()).unwrap();
        let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
        assert_eq!(checked.memory_pages(), 0x9e + 0x3ff00);
        assert_eq!(checked.extents().capacity(), 1 << 30);
        assert_eq!(checked.vmcoreinfo(), b"OSRELEASE=6.1.192\n");
        assert_eq!((checked.generation, checked.series), (4, 77));
        assert_eq!(checked.transport(), Some(Transport::Nvme));
        assert_eq!(plan::text(&checked.target.serial), "S4EWNX0");
        assert_eq!(checked.target.first_page_checksum, checksum::plain(&[1; 4096]));
    }

    #[test]
    fn a_window_outside_ram_is_noticed_before_the_jump() {
        let mut attempt = attempt();
        attempt.window = PhysAddr(0x4000_0000);
        let error = plan(&circumstances(IOMEM), &wishes(), &attempt).unwrap_err();
        assert_eq!(error, PlanError::Window);
    }

    #[test]
    fn the_free_pages_of_a_kernel_that_relies_on_them_are_kept() {
        let mut circumstances = circumstances(IOMEM);
        let keeps = |circumstances: &Circumstances| {
            let plan = plan(circumstances, &wishes(), &attempt()).unwrap();
            CheckedPlan::parse(plan.as_bytes()).unwrap().flags().contains(Flags::STORE_FREE_PAGES)
        };
        assert!(!keeps(&circumstances));
        circumstances.kernel.free_pages = FreePages::Zeros;
        assert!(keeps(&circumstances));
    }

    #[test]
    fn a_note_that_does_not_fit_is_left_out() {
        let mut circumstances = circumstances(IOMEM);
        circumstances.kernel.vmcoreinfo = vec![b'x'; 4097];
        let plan = plan(&circumstances, &wishes(), &attempt()).unwrap();
        assert_eq!(plan.vmcoreinfo_length, 0);
    }
}
