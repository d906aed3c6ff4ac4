//! The steps of writer and reader.

/// A step of writer or reader, as mailbox and messages name it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Entered; own stack, page tables and exceptions are being set up.
    Enter = 1,
    /// Checking the plan.
    Plan = 2,
    /// Finding and initialising the target's device.
    Device = 3,
    /// Preparing the target: identity, older image made invalid.
    Prepare = 4,
    /// Writing pages and tables.
    Write = 5,
    /// Making the image valid.
    Commit = 6,
    /// Entering the sleep state.
    Power = 7,
    /// Reading the image back and comparing it with memory.
    Compare = 8,
    /// Looking for an image (reader).
    Find = 16,
    /// Checking image against machine and memory map (reader).
    Check = 17,
    /// Moving into the image's window (reader).
    Move = 18,
    /// Reading pages into place (reader).
    Read = 19,
    /// Making the image consumed (reader).
    Consume = 20,
    /// Jumping into the old kernel (reader).
    Jump = 21,
}

impl Stage {
    /// All stages, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Enter,
        Self::Plan,
        Self::Device,
        Self::Prepare,
        Self::Write,
        Self::Commit,
        Self::Power,
        Self::Compare,
        Self::Find,
        Self::Check,
        Self::Move,
        Self::Read,
        Self::Consume,
        Self::Jump,
    ];

    /// The stage with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage as u32 == number)
    }

    /// The stage's name in messages and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Plan => "plan",
            Self::Device => "device",
            Self::Prepare => "prepare",
            Self::Write => "write",
            Self::Commit => "commit",
            Self::Power => "power",
            Self::Compare => "compare",
            Self::Find => "find",
            Self::Check => "check",
            Self::Move => "move",
            Self::Read => "read",
            Self::Consume => "consume",
            Self::Jump => "jump",
        }
    }
}
