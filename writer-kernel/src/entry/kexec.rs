//! The kexec door: what the old kernel stamped into us.

use dormouse_handoff::plan::{CheckedPlan, PlanError, SECTION_BYTES, WayBack};

#[repr(C, align(4096))]
struct PlanSection([u8; SECTION_BYTES]);

/// Where the CLI stamps the plan and the way back.
#[used]
#[unsafe(link_section = ".plan")]
static PLAN: PlanSection = PlanSection([0; SECTION_BYTES]);

fn section() -> &'static [u8] {
    // The bytes in the file are zero; the ones in memory are what was stamped.
    core::hint::black_box(&PLAN.0)
}

/// The plan, checked.
pub fn plan() -> Result<CheckedPlan<'static>, PlanError> {
    CheckedPlan::parse(section())
}

/// The way back, which is readable even where the plan is not.
pub fn way_back() -> Option<WayBack> {
    WayBack::parse(section())
}
