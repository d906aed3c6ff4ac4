//! The controller as a whole: taken over from whoever had it, all ports still.

use super::port::Port;
use super::spec::{CAP2_HANDOFF, Capabilities, Global, Handoff, PORTS, host};
use crate::platform::Platform;
use crate::queue::Cause;
use crate::registers::Registers;
use crate::wait::{settle, wait_until};

/// Time for firmware to say that it is busy, and then to come to an end
/// (AHCI 1.3.1, §10.6.3).
const HANDOFF_MS: u64 = 25;
const HANDOFF_BUSY_MS: u64 = 2_000;
/// Time for a reset of the controller (AHCI 1.3.1, §10.4.3).
const RESET_LIMIT_MS: u64 = 1_000;
/// Time for a device to be sensed after its port got power, in microseconds:
/// 10 ms (AHCI 1.3.1, §10.1.1), and what slow disks take on top.
const SENSE_US: u64 = 100_000;

/// What is written to GHC to start everything anew.
pub const RESET: u32 = Global::ENABLE.union(Global::RESET).bits();

/// A controller whose ports are all stopped.
pub struct Controller<R> {
    registers: R,
    capabilities: Capabilities,
    /// A bit for each port that there is.
    ports: u32,
}

/// Bytes of registers up to those of the last port that there is.
pub fn register_bytes(registers: &impl Registers) -> usize {
    let last = PORTS - implemented(registers).leading_zeros();
    host::PORTS + last as usize * host::PORT_BYTES
}

fn implemented(registers: &impl Registers) -> u32 {
    match registers.read32(host::PI) {
        // Firmware should have said; then there are as many as can be.
        0 => u32::MAX >> (31 - (registers.read32(host::CAP) & 0x1f)),
        ports => ports,
    }
}

impl<R: Registers> Controller<R> {
    /// Takes the controller from firmware or from an earlier driver, and stops
    /// whatever it does.
    pub fn take_over(platform: &dyn Platform, registers: R) -> Result<Self, Cause> {
        let capabilities = registers.read32(host::CAP);
        if capabilities == u32::MAX {
            return Err(Cause::Dead("the controller is gone from the bus (CAP reads all ones)"));
        }
        let ports = implemented(&registers);
        let controller = Self { registers, capabilities: Capabilities(capabilities), ports };
        controller.take_from_firmware(platform);
        speak_ahci(&controller.registers)?;
        let still = controller.ports().try_for_each(|port| controller.port(port).stop(platform));
        if still.is_err() {
            reset(&controller.registers, platform)?;
        }
        Ok(controller)
    }

    /// What the controller can do.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The numbers of the ports that there are.
    pub fn ports(&self) -> impl Iterator<Item = u32> {
        let ports = self.ports;
        (0..PORTS).filter(move |port| ports & 1 << port != 0)
    }

    /// One port's registers.
    pub fn port(&self, number: u32) -> Port<&R> {
        Port::new(&self.registers, number)
    }

    /// One port's registers, the others out of reach.
    pub fn into_port(self, number: u32) -> Option<Port<R>> {
        let exists = self.ports().any(|port| port == number);
        exists.then(|| Port::new(self.registers, number))
    }

    /// Gives all ports power, and devices the time to be sensed.
    pub fn power_up(&self, platform: &dyn Platform) {
        let news = self.ports().filter(|port| self.port(*port).power_up()).count();
        if news != 0 {
            settle(platform, SENSE_US);
        }
    }

    fn take_from_firmware(&self, platform: &dyn Platform) {
        if self.registers.read32(host::CAP2) & CAP2_HANDOFF == 0 {
            return;
        }
        let handoff = || Handoff::from_bits_truncate(self.registers.read32(host::BOHC));
        if !handoff().contains(Handoff::FIRMWARE) {
            return;
        }
        self.registers.write32(host::BOHC, (Handoff::SYSTEM | Handoff::CHANGED).bits());
        let released = || !handoff().contains(Handoff::FIRMWARE);
        if wait_until(platform, HANDOFF_MS, released).is_ok() {
            return;
        }
        let busy = handoff().contains(Handoff::BUSY);
        if busy && wait_until(platform, HANDOFF_BUSY_MS, released).is_ok() {
            return;
        }
        // Then it is ours, whether firmware says so or not (§10.6.3).
        log::warn!("AHCI: firmware does not give the controller up; taking it");
    }
}

fn speak_ahci(registers: &impl Registers) -> Result<(), Cause> {
    let global = Global::from_bits_retain(registers.read32(host::GHC));
    let wanted = (global | Global::ENABLE) - Global::INTERRUPTS;
    registers.write32(host::GHC, wanted.bits());
    let global = Global::from_bits_retain(registers.read32(host::GHC));
    match global.contains(Global::ENABLE) {
        true => Ok(()),
        false => Err(Cause::Dead("the controller does not turn to AHCI (GHC.AE)")),
    }
}

/// The last resort for a port that does not stop: everything starts anew.
pub fn reset(registers: &impl Registers, platform: &dyn Platform) -> Result<(), Cause> {
    registers.write32(host::GHC, RESET);
    let global = || Global::from_bits_retain(registers.read32(host::GHC));
    wait_until(platform, RESET_LIMIT_MS, || !global().contains(Global::RESET))
        .map_err(|_| Cause::Timeout(RESET_LIMIT_MS))?;
    speak_ahci(registers)
}
