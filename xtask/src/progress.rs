//! What is being done, on a terminal as one line that moves, elsewhere line by
//! line.

use dormouse_tests::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Steps on standard error.
pub struct Steps {
    /// On a terminal.
    spinner: Option<ProgressBar>,
    began: Instant,
}

impl Steps {
    /// Begins.
    pub fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Self { spinner, began: Instant::now() }
    }

    /// Takes the line away.
    pub fn finish(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

impl Progress for Steps {
    fn step(&self, words: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(words.to_owned()),
            None => eprintln!("{:>5.1} s  {words}", self.began.elapsed().as_secs_f64()),
        }
    }
}
