//! One port: its link, and its command list switched on and off.

use super::ata::TaskFile;
use super::controller;
use super::spec::{
    CONTROL_NO_POWER_SAVING, CONTROL_RESET, CONTROL_SPEED, Command, DETECT_MASK, DETECT_NONE,
    DETECT_UP, Fault, SIGNATURE_DISK, host, port,
};
use crate::platform::Platform;
use crate::queue::Cause;
use crate::registers::Registers;
use crate::wait::{settle, wait_until};
use core::sync::atomic::{Ordering, fence};
use dormouse_handoff::units::PhysAddr;

/// Time for the command list or the receiver to stop (AHCI 1.3.1, §10.1.2).
const STOP_LIMIT_MS: u64 = 500;
/// Time from the end of a link's reset, or from power, to a link that is up.
const LINK_LIMIT_MS: u64 = 2_000;
/// How long a reset of the link lasts (AHCI 1.3.1, §10.4.2), in microseconds.
const LINK_RESET_US: u64 = 1_000;
/// Time for a device to be ready that has nothing to do.
const IDLE_LIMIT_MS: u64 = 1_000;
/// Time for a device to be ready after a reset: a disk may have to spin up.
const READY_LIMIT_MS: u64 = 30_000;

const LINK_DOWN: Cause = Cause::Dead("the link to the disk is down");

/// A port's registers.
pub struct Port<R> {
    registers: R,
    first: usize,
}

impl<R: Registers> Port<R> {
    /// Port `number` of a controller's registers.
    pub fn new(registers: R, number: u32) -> Self {
        Self { registers, first: host::PORTS + number as usize * host::PORT_BYTES }
    }

    /// Whether there is a device, or signs of one that is waking.
    pub fn senses_device(&self) -> bool {
        self.detection() != DETECT_NONE
    }

    /// Gives the device power and wakes the link. Answers whether that was
    /// news to it: then a device needs a moment to be sensed.
    pub fn power_up(&self) -> bool {
        let before = self.command();
        let mut power = Command::SPIN_UP;
        if before.contains(Command::POWER_SWITCH) {
            power |= Command::POWER_ON;
        }
        let control = self.read(port::SCTL) & CONTROL_SPEED | CONTROL_NO_POWER_SAVING;
        self.write(port::SCTL, control);
        self.set_command(before | power | Command::LINK_ACTIVE);
        !before.contains(power)
    }

    /// Brings a port that is stopped to where its device waits for a command,
    /// with its memory at `list` and `received`.
    ///
    /// Answers whether the device is a disk.
    pub fn attach(
        &self,
        platform: &dyn Platform,
        list: PhysAddr,
        received: PhysAddr,
    ) -> Result<bool, Cause> {
        self.write(port::IE, 0);
        self.registers.write64(self.first + port::CLB, list.0);
        self.registers.write64(self.first + port::FB, received.0);
        self.power_up();
        self.wait_for_link(platform)?;
        self.start_receiving();
        if self.wait_until_ready(platform, IDLE_LIMIT_MS).is_err() {
            self.reset_link(platform)?;
            self.wait_until_ready(platform, READY_LIMIT_MS)?;
        }
        self.clear_faults();
        Ok(self.read(port::SIG) == SIGNATURE_DISK)
    }

    /// Has the controller work on the command list.
    pub fn start(&self) {
        self.set_command(self.command() | Command::START);
    }

    /// Stops all work: then the port reaches no memory, save where it does not
    /// say that its receiver has stopped.
    pub fn stop(&self, platform: &dyn Platform) -> Result<(), Cause> {
        self.stop_commands(platform)?;
        self.set_command(self.command() - Command::RECEIVE);
        let stopped =
            wait_until(platform, STOP_LIMIT_MS, || !self.command().contains(Command::RECEIVING));
        if stopped.is_err() {
            // Some controllers never say that it has stopped; a FIS comes only
            // in answer to a command, and there are none.
            log::debug!("AHCI port: the receiver still says that it is on");
        }
        Ok(())
    }

    /// Takes back all that controller and device were given, whatever they do
    /// with it: afterwards neither works on a command or answers one late, and
    /// the port reaches no memory.
    pub fn abandon(&self, platform: &dyn Platform) -> Result<(), Cause> {
        if self.read(port::CMD) == u32::MAX {
            return Err(Cause::Dead("the controller is gone from the bus (PxCMD reads all ones)"));
        }
        // The controller forgets its commands when the list stops; a disk
        // remembers those that it has taken until its link is reset.
        let listed = self.stop_commands(platform);
        if let Err(cause) = self.reset_link(platform) {
            // Then there is nobody at the other end to do anything late.
            log::debug!("AHCI port: {cause}");
        }
        self.set_command(self.command() - Command::RECEIVE);
        if listed.is_ok() && self.wait_until_still(platform).is_ok() {
            return Ok(());
        }
        controller::reset(&self.registers, platform)?;
        self.wait_until_still(platform)
    }

    /// Whether it works on no command and takes no FIS.
    pub fn is_still(&self) -> bool {
        !self.command().intersects(Command::RUNNING | Command::RECEIVING)
    }

    fn wait_until_still(&self, platform: &dyn Platform) -> Result<(), Cause> {
        wait_until(platform, STOP_LIMIT_MS, || self.is_still())
            .map_err(|_| Cause::Timeout(STOP_LIMIT_MS))
    }

    /// From a command that failed to a port and a device that take the next
    /// one. All commands are forgotten by both.
    ///
    /// After an error a disk answers no queued command until its error log is
    /// read, or its link is reset: the latter always works.
    pub fn recover(&self, platform: &dyn Platform) -> Result<(), Cause> {
        let stopped = self.stop_commands(platform);
        self.reset_link(platform)?;
        stopped.or_else(|_| self.stop_commands(platform))?;
        self.wait_until_ready(platform, READY_LIMIT_MS)?;
        self.clear_faults();
        self.start();
        Ok(())
    }

    /// Hands the commands in `slots` to the controller.
    pub fn issue(&self, slots: u32, queued: bool) {
        // Tables, and the pages that they name, before the registers.
        fence(Ordering::SeqCst);
        if queued {
            self.write(port::SACT, slots);
        }
        self.write(port::CI, slots);
    }

    /// The slots whose commands have not come to their end.
    pub fn outstanding(&self, queued: bool) -> u32 {
        // A queued command leaves CI when the device has taken it, SACT when
        // it is done.
        let slots = self.read(if queued { port::SACT } else { port::CI });
        // What the controller wrote before is read after.
        fence(Ordering::Acquire);
        slots
    }

    /// What went wrong since faults were cleared.
    pub fn faults(&self) -> Fault {
        Fault::from_bits_truncate(self.read(port::IS))
    }

    /// The device's status and error registers.
    pub fn task_file(&self) -> TaskFile {
        TaskFile(self.read(port::TFD))
    }

    /// Whether the device is still there.
    pub fn check_link(&self) -> Result<(), Cause> {
        if self.detection() == DETECT_UP { Ok(()) } else { Err(LINK_DOWN) }
    }

    fn stop_commands(&self, platform: &dyn Platform) -> Result<(), Cause> {
        self.set_command(self.command() - Command::START);
        wait_until(platform, STOP_LIMIT_MS, || !self.command().contains(Command::RUNNING))
            .map_err(|_| Cause::Timeout(STOP_LIMIT_MS))
    }

    fn start_receiving(&self) {
        self.set_command(self.command() | Command::RECEIVE);
    }

    /// Resets the device by its link (COMRESET).
    fn reset_link(&self, platform: &dyn Platform) -> Result<(), Cause> {
        let control = self.read(port::SCTL) & CONTROL_SPEED | CONTROL_NO_POWER_SAVING;
        self.write(port::SCTL, control | CONTROL_RESET);
        settle(platform, LINK_RESET_US);
        self.write(port::SCTL, control);
        self.wait_for_link(platform)?;
        // QEMU delivers the FIS that ends a reset only when this is written.
        self.start_receiving();
        Ok(())
    }

    fn wait_for_link(&self, platform: &dyn Platform) -> Result<(), Cause> {
        wait_until(platform, LINK_LIMIT_MS, || self.detection() == DETECT_UP)
            .map_err(|_| LINK_DOWN)?;
        // The link's errors so far are those of its start.
        self.write(port::SERR, u32::MAX);
        Ok(())
    }

    fn wait_until_ready(&self, platform: &dyn Platform, limit_ms: u64) -> Result<(), Cause> {
        wait_until(platform, limit_ms, || self.task_file().is_ready())
            .map_err(|_| Cause::Timeout(limit_ms))
    }

    /// Bits of both registers are cleared by writing ones.
    fn clear_faults(&self) {
        self.write(port::SERR, u32::MAX);
        self.write(port::IS, u32::MAX);
    }

    fn detection(&self) -> u32 {
        self.read(port::SSTS) & DETECT_MASK
    }

    fn command(&self) -> Command {
        Command::from_bits_retain(self.read(port::CMD))
    }

    fn set_command(&self, command: Command) {
        self.write(port::CMD, command.bits());
    }

    fn read(&self, register: usize) -> u32 {
        self.registers.read32(self.first + register)
    }

    fn write(&self, register: usize, value: u32) {
        self.registers.write32(self.first + register, value);
    }
}
