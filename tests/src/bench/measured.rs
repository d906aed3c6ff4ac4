//! What the writer's and the reader's log tell of their steps
//! (`transfer::measure`).

use crate::error::Error;
use crate::life::Life;
use crate::report::rate;

/// A step, as in `measured checksum: 128726 pages in 250000 us`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Pages that went through it.
    pub pages: u64,
    /// Microseconds that they took.
    pub us: u64,
}

impl Step {
    /// MB/s (10^6 bytes).
    pub fn mb_s(&self) -> f64 {
        rate(self.pages * 4096, self.us)
    }

    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("measured ")?;
        let (name, rest) = rest.split_once(": ")?;
        let (pages, rest) = rest.split_once(" pages in ")?;
        let us = rest.trim().strip_suffix(" us")?;
        Some(Self { name: name.into(), pages: pages.parse().ok()?, us: us.parse().ok()? })
    }
}

/// The steps of the last pass of writer and reader in a serial log.
pub struct Steps(Vec<Step>);

impl Steps {
    /// Those of a life so far.
    pub fn of(life: &Life) -> Result<Self, Error> {
        Ok(Self::parse(&life.serial_log()?))
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Step::parse).collect())
    }

    /// The step of this name that was logged last.
    pub fn last(&self, name: &str) -> Result<&Step, Error> {
        let step = self.0.iter().rfind(|step| step.name == name);
        step.ok_or_else(|| Error::verdict(format!("the log has no measured {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_kind_counts() {
        let steps = Steps::parse(
            "[  0.1] dormouse: measured device: 10 pages in 20 us\r\n\
             [  0.2] dormouse: measured walk: 5 pages in 1 us\n\
             [  0.3] dormouse: measured: 7 pages of zeros\n\
             [  0.4] dormouse: measured device: 11 pages in 21 us\n",
        );
        let device = Step { name: "device".into(), pages: 11, us: 21 };
        assert_eq!(steps.last("device").unwrap(), &device);
        assert_eq!(steps.last("walk").unwrap().pages, 5);
        assert!(steps.last("checksum").is_err());
    }
}
