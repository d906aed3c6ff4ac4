//! Loading the tables with the `acpi` crate's interpreter, against a machine
//! that is not there: every access reads zero, every write goes nowhere.

use crate::table::Checked;
use crate::{SleepStates, SleepTypes};
use acpi::aml::namespace::AmlName;
use acpi::aml::object::Object;
use acpi::aml::{AmlError, Interpreter};
use acpi::registers::FixedRegisters;
use acpi::sdt::fadt::Fadt;
use acpi::{Handle, Handler, PciAddress, PhysicalMapping};
use alloc::sync::Arc;
use core::str::FromStr;
use core::sync::atomic::{AtomicU64, Ordering};

/// The tables as a namespace of objects.
pub struct Loaded(Interpreter<Nowhere>);

impl Loaded {
    /// Loads all tables; `None` where the DSDT cannot be loaded. An SSDT that
    /// cannot be loaded is left out: most hold nothing about sleep.
    pub fn from(tables: &Checked<'_>) -> Option<Self> {
        let (dsdt, ssdts) = tables.aml.split_first()?;
        let nowhere = Nowhere::default();
        // An all-zero FADT makes registers of I/O ports, which need no mapping.
        // SAFETY: the structure is made of integers and arrays of them only.
        let no_fadt: Fadt = unsafe { core::mem::zeroed() };
        let registers = FixedRegisters::new(&no_fadt, nowhere.clone()).ok()?;
        #[allow(clippy::arc_with_non_send_sync)] // The interpreter's signature asks for it.
        let registers = Arc::new(registers);
        let interpreter = Interpreter::new(nowhere, dsdt.revision(), registers, None);
        interpreter.load_table(dsdt.body()).ok()?;
        for ssdt in ssdts {
            let _ = interpreter.load_table(ssdt.body());
        }
        Some(Self(interpreter))
    }
}

impl SleepStates for Loaded {
    fn types(&self, state: u8) -> Option<SleepTypes> {
        let name = [b'\\', b'_', b'S', b'0' + state, b'_'];
        let name = AmlName::from_str(core::str::from_utf8(&name).ok()?).ok()?;
        // Looked up, not evaluated: evaluating would run it if it is a method.
        let object = self.0.namespace.lock().get(name).ok()?;
        let Object::Package(elements) = &*object else { return None };
        let integer = |index: usize| match elements.get(index).map(|element| &**element) {
            Some(Object::Integer(value)) => u8::try_from(value & 0xff).ok().filter(|t| *t <= 7),
            _ => None,
        };
        let a = integer(0)?;
        let b = if elements.len() > 1 { integer(1)? } else { 0 };
        Some((a, b))
    }
}

/// A machine that is not there.
#[derive(Clone, Default)]
struct Nowhere {
    /// Time that has passed, in nanoseconds: it jumps ahead at every look, so
    /// that a loop that waits for it ends.
    nanoseconds: Arc<AtomicU64>,
}

/// How far time jumps ahead at every look: 10 ms.
const TICK: u64 = 10_000_000;

impl Handler for Nowhere {
    unsafe fn map_physical_region<T>(
        &self,
        _physical_address: usize,
        _size: usize,
    ) -> PhysicalMapping<Self, T> {
        unreachable!("only registers in system memory, a FACS and table discovery need mappings")
    }

    fn unmap_physical_region<T>(_region: &PhysicalMapping<Self, T>) {}

    fn read_u8(&self, _address: usize) -> u8 {
        0
    }
    fn read_u16(&self, _address: usize) -> u16 {
        0
    }
    fn read_u32(&self, _address: usize) -> u32 {
        0
    }
    fn read_u64(&self, _address: usize) -> u64 {
        0
    }
    fn write_u8(&self, _address: usize, _value: u8) {}
    fn write_u16(&self, _address: usize, _value: u16) {}
    fn write_u32(&self, _address: usize, _value: u32) {}
    fn write_u64(&self, _address: usize, _value: u64) {}

    fn read_io_u8(&self, _port: u16) -> u8 {
        0
    }
    fn read_io_u16(&self, _port: u16) -> u16 {
        0
    }
    fn read_io_u32(&self, _port: u16) -> u32 {
        0
    }
    fn write_io_u8(&self, _port: u16, _value: u8) {}
    fn write_io_u16(&self, _port: u16, _value: u16) {}
    fn write_io_u32(&self, _port: u16, _value: u32) {}

    fn read_pci_u8(&self, _address: PciAddress, _offset: u16) -> u8 {
        0
    }
    fn read_pci_u16(&self, _address: PciAddress, _offset: u16) -> u16 {
        0
    }
    fn read_pci_u32(&self, _address: PciAddress, _offset: u16) -> u32 {
        0
    }
    fn write_pci_u8(&self, _address: PciAddress, _offset: u16, _value: u8) {}
    fn write_pci_u16(&self, _address: PciAddress, _offset: u16, _value: u16) {}
    fn write_pci_u32(&self, _address: PciAddress, _offset: u16, _value: u32) {}

    fn nanos_since_boot(&self) -> u64 {
        self.nanoseconds.fetch_add(TICK, Ordering::Relaxed)
    }
    fn stall(&self, _microseconds: u64) {}
    fn sleep(&self, _milliseconds: u64) {}

    fn create_mutex(&self) -> Handle {
        Handle(0)
    }
    fn acquire(&self, _mutex: Handle, _timeout: u16) -> Result<(), AmlError> {
        Ok(())
    }
    fn release(&self, _mutex: Handle) {}

    fn handle_fatal_error(&self, _fatal_type: u8, _fatal_code: u32, _fatal_arg: u64) {}
}
