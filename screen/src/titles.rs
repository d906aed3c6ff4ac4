//! The titles, of whose letters the large font is made.

/// All of them.
pub const TITLES: [&str; 6] = [
    "Going to sleep",
    "Waking up",
    "Suspending to RAM",
    "Taking a snapshot",
    "Rehearsing",
    "dormouse",
];
