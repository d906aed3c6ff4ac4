//! The checks of a plan: what a writer follows.

use super::{
    Action, CHECKED_FROM, Ecam, Flags, MAGIC, MAX_WINDOW, Plan, Transport, VERSION,
    WINDOW_ALIGNMENT,
};
use crate::checksum;
use crate::extents::{ExtentError, ExtentMap};
use crate::image::Kind;
use crate::memory_map::{self, MapError, MemoryKind, MemoryRange};
use crate::units::{PAGE_SIZE, PageRange, Pfn};
use zerocopy::{FromBytes, IntoBytes};

/// Why a plan is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// No plan was stamped into this `writer.elf`.
    Unstamped,
    /// Fewer bytes than a plan has.
    Truncated,
    /// Another version than [`VERSION`].
    Version(u32),
    /// The checksum does not match.
    Checksum,
    /// A count is larger than its array, or an enumeration has an unknown
    /// number; the field's name.
    Field(&'static str),
    /// The window is not aligned, too large, or outside RAM.
    Window,
    /// The memory map is not usable.
    Memory(MapError),
    /// The extents are not usable.
    Extents(ExtentError),
    /// The mailbox page with this index is outside RAM or in the window.
    Mailbox(usize),
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unstamped => write!(f, "no plan was stamped into this writer.elf"),
            Self::Truncated => write!(f, "the plan is cut short"),
            Self::Version(v) => {
                write!(f, "the plan has version {v}, this writer.elf takes {VERSION}")
            }
            Self::Checksum => write!(f, "the plan's checksum does not match"),
            Self::Field(name) => write!(f, "the plan's field `{name}` is out of range"),
            Self::Window => write!(f, "the plan's window is not a usable range of RAM"),
            Self::Memory(e) => write!(f, "the plan's memory map: {e}"),
            Self::Extents(e) => write!(f, "the plan's target: {e}"),
            Self::Mailbox(i) => write!(f, "mailbox page {i} is not a usable page of RAM"),
        }
    }
}

/// A plan whose every field has been checked: a view of the bytes.
#[derive(Clone, Copy)]
pub struct CheckedPlan<'a> {
    plan: &'a Plan,
    action: Action,
    image: Option<Kind>,
    transport: Option<Transport>,
    extents: ExtentMap<'a>,
}

impl core::ops::Deref for CheckedPlan<'_> {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        self.plan
    }
}

impl<'a> CheckedPlan<'a> {
    /// Checks the bytes of a `.plan` section or of an image's plan.
    ///
    /// `bytes` must be aligned to 8 and may be longer than the plan.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PlanError> {
        let (plan, _) = Plan::ref_from_prefix(bytes).map_err(|_| PlanError::Truncated)?;
        if plan.magic != MAGIC {
            return Err(PlanError::Unstamped);
        }
        if plan.version != VERSION {
            return Err(PlanError::Version(plan.version));
        }
        if plan.length as usize != size_of::<Plan>() {
            return Err(PlanError::Truncated);
        }
        if plan.checksum != checksum::plain(&plan.as_bytes()[CHECKED_FROM..]) {
            return Err(PlanError::Checksum);
        }
        let action = Action::from_number(plan.action).ok_or(PlanError::Field("action"))?;
        let image = match plan.image {
            0 => None,
            number => Some(Kind::from_number(number).ok_or(PlanError::Field("image"))?),
        };
        if !action.allows(image) {
            return Err(PlanError::Field("image"));
        }
        let transport = match plan.target.transport {
            // Suspending to RAM alone takes no target.
            0 if action == Action::Suspend && image.is_none() => None,
            1 => Some(Transport::Nvme),
            2 => Some(Transport::VirtioBlk),
            3 => Some(Transport::Ahci),
            4 => Some(Transport::VirtioMmio),
            _ => return Err(PlanError::Field("transport")),
        };
        let memory = plan
            .memory
            .get(..plan.memory_count as usize)
            .ok_or(PlanError::Field("memory_count"))?;
        memory_map::check(memory).map_err(PlanError::Memory)?;
        let extents = plan
            .extents
            .get(..plan.extent_count as usize)
            .ok_or(PlanError::Field("extent_count"))?;
        let extents = match transport {
            Some(_) => ExtentMap::new(extents, plan.target.block_size, plan.target.device_blocks),
            None => Ok(ExtentMap::none()),
        };
        let extents = extents.map_err(PlanError::Extents)?;
        plan.methods.before_off.check("before_off")?;
        plan.methods.before_suspend.check("before_suspend")?;
        plan.methods.after_wake.check("after_wake")?;
        if plan.vmcoreinfo_length as usize > plan.vmcoreinfo.len() {
            return Err(PlanError::Field("vmcoreinfo_length"));
        }
        let checked = Self { plan, action, image, transport, extents };
        let window = checked.window();
        let aligned = |n: u64| n.is_multiple_of(WINDOW_ALIGNMENT);
        if !aligned(plan.window_start.0)
            || !aligned(plan.window_bytes)
            || plan.window_bytes == 0
            || plan.window_bytes > MAX_WINDOW
            || !checked.is_ram(&window)
        {
            return Err(PlanError::Window);
        }
        for (i, page) in plan.mailbox.iter().enumerate() {
            let frame = Pfn::containing(*page);
            let range = PageRange { start: frame, pages: 1 };
            if page.0 % PAGE_SIZE != 0 || window.contains(frame) || !checked.is_ram(&range) {
                return Err(PlanError::Mailbox(i));
            }
        }
        // A register of a device is never a page of the old kernel's.
        let is_ram = |region: &&Ecam| {
            let range = region.range();
            checked.memory().iter().any(|entry| entry.range.intersection(&range).is_some())
        };
        let regions = || plan.ecam.iter().filter(|region| **region != Ecam::default());
        if regions().any(|region| !region.is_usable()) || regions().any(|region| is_ram(&region)) {
            return Err(PlanError::Field("ecam"));
        }
        Ok(checked)
    }

    /// What follows the commit.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Of which kind the image is that is written; `None`: none is.
    pub fn image(&self) -> Option<Kind> {
        self.image
    }

    /// Which driver the target needs; `None`: there is no target.
    pub fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// The flags; unknown ones are ignored.
    pub fn flags(&self) -> Flags {
        Flags::from_bits_truncate(self.plan.flags)
    }

    /// What to save, ordered and disjoint.
    pub fn memory(&self) -> &'a [MemoryRange] {
        &self.plan.memory[..self.plan.memory_count as usize]
    }

    /// Those of its ranges that are RAM, the lowest first.
    pub fn ram(&self) -> impl DoubleEndedIterator<Item = PageRange> + use<'a> {
        let ram = self.memory().iter().filter(|entry| entry.kind == MemoryKind::Ram as u32);
        ram.map(|entry| entry.range)
    }

    /// Pages in all of [`CheckedPlan::memory`].
    pub fn memory_pages(&self) -> u64 {
        self.memory().iter().map(|entry| entry.range.pages).sum()
    }

    /// The blocks that the image may use.
    pub fn extents(&self) -> ExtentMap<'a> {
        self.extents
    }

    /// The window's frames.
    pub fn window(&self) -> PageRange {
        PageRange {
            start: Pfn::containing(self.plan.window_start),
            pages: self.plan.window_bytes / PAGE_SIZE,
        }
    }

    /// The old kernel's VMCOREINFO note; empty where it was not to be had.
    pub fn vmcoreinfo(&self) -> &'a [u8] {
        &self.plan.vmcoreinfo[..self.plan.vmcoreinfo_length as usize]
    }

    /// The whole structure as bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.plan.as_bytes()
    }

    /// The structure itself.
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    fn is_ram(&self, range: &PageRange) -> bool {
        let ram = self.memory().iter().map(|entry| entry.range);
        memory_map::first_missing(*range, ram).is_none()
    }
}
