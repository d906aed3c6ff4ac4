//! Progress on a terminal.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts bytes up to `total`; nothing is seen where nobody looks.
pub fn bar(output: Output, words: &'static str, total: u64) -> ProgressBar {
    if !output.wants_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes} {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_message(words).with_style(style)
}
