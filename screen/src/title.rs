//! The titles, of whose letters the large font is made.

/// A hibernation.
pub const SLEEPING: &str = "Going to sleep";
/// A wake-up.
pub const WAKING: &str = "Waking up";
/// A suspend to RAM without an image.
pub const SUSPENDING: &str = "Suspending to RAM";
/// A snapshot.
pub const SNAPSHOT: &str = "Taking a snapshot";
/// A rehearsal.
pub const REHEARSING: &str = "Rehearsing";

/// All of them.
pub const ALL: [&str; 5] = [SLEEPING, WAKING, SUSPENDING, SNAPSHOT, REHEARSING];
