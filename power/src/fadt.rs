//! From the FADT to the plan's power facts.

use crate::table::{Checked, PowerError, Table, TableFault};
use crate::{SleepStates, SleepTypes};
use acpi::address::{AddressSpace, GenericAddress, RawGenericAddress};
use acpi::sdt::ExtendedField;
use acpi::sdt::fadt::Fadt;
use dormouse_handoff::plan::{MAX_GPE_BYTES, PowerFacts, Register};
use dormouse_handoff::units::PhysAddr;

/// "There is no such register."
const NO_REGISTER: Register = Register { space: 0, width: 0, address: 0 };

/// Puts registers and sleep types together.
pub fn assemble(tables: &Checked<'_>, states: &impl SleepStates) -> Result<PowerFacts, PowerError> {
    let fadt = read(&tables.fadt)?;
    let flags = fadt.flags;

    let (s5_type_a, s5_type_b) = numbers(states.types(5));
    let (s3_type_a, s3_type_b) = numbers(states.types(3));
    let mut facts = PowerFacts {
        pm1a_control: NO_REGISTER,
        pm1b_control: NO_REGISTER,
        sleep_control: NO_REGISTER,
        reset: NO_REGISTER,
        reset_value: 0,
        s5_type_a,
        s5_type_b,
        s3_type_a,
        s3_type_b,
        smi_command: 0,
        acpi_enable: 0,
        pm1_enable_offset: 0,
        pm1a_status: NO_REGISTER,
        pm1b_status: NO_REGISTER,
        gpe0_status: NO_REGISTER,
        gpe1_status: NO_REGISTER,
        gpe0_bytes: 0,
        gpe1_bytes: 0,
        facs: PhysAddr(fadt.facs_address().map_or(0, |address| address as u64)),
    };
    if flags.system_is_hw_reduced_acpi() {
        // §4.8.3.7: one byte wide.
        let sleep_control = fadt.sleep_control_register().map_err(|_| wild("SLEEP_CONTROL_REG"))?;
        facts.sleep_control = register(sleep_control, 8);
    } else {
        // §4.8.3.2: of whichever length, the sleep fields are in the low word.
        let pm1a = fadt.pm1a_control_block().map_err(|_| wild("PM1a_CNT_BLK"))?;
        let pm1b = fadt.pm1b_control_block().map_err(|_| wild("PM1b_CNT_BLK"))?;
        facts.pm1a_control = register(Some(pm1a), 16);
        facts.pm1b_control = register(pm1b, 16);
        events(&fadt, &mut facts);
    }
    if flags.supports_system_reset_via_fadt() {
        let reset = fadt.reset_register().map_err(|_| wild("RESET_REG"))?;
        // §4.8.3.6: one byte wide.
        facts.reset = register(Some(reset), 8);
        facts.reset_value = u32::from(fadt.reset_value);
    }
    let writable = facts.pm1a_control.width != 0 || facts.sleep_control.width != 0;
    if facts.s5_type_a == PowerFacts::UNKNOWN || !writable {
        return Err(PowerError::NoPowerOff);
    }
    Ok(facts)
}

/// Where events are told and enabled (§4.8.3.1, §4.8.4.1). What cannot be
/// reached, or is larger than is kept, is left out: it takes no part in
/// powering off.
fn events(fadt: &Fadt, facts: &mut PowerFacts) {
    let revision = fadt.header.revision;
    // SAFETY: both variants of the field are integers, of which any bytes are a
    // value; `read` has filled in zeros where the table is shorter.
    let wide = |field: ExtendedField<RawGenericAddress, 2>| unsafe { field.access(revision) };
    let block = |extended: ExtendedField<RawGenericAddress, 2>, port: u32, width| {
        let extended = wide(extended).and_then(|raw| GenericAddress::from_raw(raw).ok());
        let legacy = GenericAddress {
            address_space: AddressSpace::SystemIo,
            bit_width: 0,
            bit_offset: 0,
            access_size: 0,
            address: port.into(),
        };
        register(extended.filter(|address| address.address != 0).or(Some(legacy)), width)
    };
    if fadt.smi_cmd_port <= u32::from(u16::MAX) {
        facts.smi_command = fadt.smi_cmd_port;
        facts.acpi_enable = u32::from(fadt.acpi_enable);
    }
    if fadt.pm1_event_length >= 4 {
        facts.pm1_enable_offset = u32::from(fadt.pm1_event_length / 2);
        facts.pm1a_status = block(fadt.x_pm1a_event_block, fadt.pm1a_event_block, 16);
        facts.pm1b_status = block(fadt.x_pm1b_event_block, fadt.pm1b_event_block, 16);
    }
    let fits = |length: u8| (1..=MAX_GPE_BYTES).contains(&usize::from(length / 2));
    if fits(fadt.gpe0_block_length) {
        facts.gpe0_bytes = u32::from(fadt.gpe0_block_length / 2);
        facts.gpe0_status = block(fadt.x_gpe0_block, fadt.gpe0_block, 8);
    }
    if fits(fadt.gpe1_block_length) {
        facts.gpe1_bytes = u32::from(fadt.gpe1_block_length / 2);
        facts.gpe1_status = block(fadt.x_gpe1_block, fadt.gpe1_block, 8);
    }
}

fn wild(field: &'static str) -> PowerError {
    PowerError::Table { signature: *b"FACP", fault: TableFault::Field(field) }
}

fn numbers(types: Option<SleepTypes>) -> (u32, u32) {
    match types {
        Some((a, b)) => (u32::from(a), u32::from(b)),
        None => (PowerFacts::UNKNOWN, PowerFacts::UNKNOWN),
    }
}

/// The table as the `acpi` crate's structure. Fields that this revision of the
/// table does not have are zero, which the specification takes for "absent".
fn read(table: &Table<'_>) -> Result<Fadt, PowerError> {
    let mut bytes = [0; size_of::<Fadt>()];
    let used = table.bytes().len().min(bytes.len());
    bytes[..used].copy_from_slice(&table.bytes()[..used]);
    // SAFETY: `bytes` is as long as the structure, which is packed and made of
    // integers and arrays of them only: any bytes are a value of it.
    let fadt = unsafe { bytes.as_ptr().cast::<Fadt>().read_unaligned() };
    // The accessors multiply it by 8 in a byte; registers are 2 or 4 long.
    if fadt.pm1_control_length > 4 {
        return Err(wild("PM1_CNT_LEN"));
    }
    Ok(fadt)
}

/// A register in the plan's form; absent where its address is zero or in a
/// space that neither writer nor reader can reach.
fn register(address: Option<GenericAddress>, width: u32) -> Register {
    let Some(address) = address.filter(|address| address.address != 0) else {
        return NO_REGISTER;
    };
    let space = match address.address_space {
        AddressSpace::SystemMemory => 0,
        AddressSpace::SystemIo if address.address <= u64::from(u16::MAX) => 1,
        _ => return NO_REGISTER,
    };
    Register { space, width, address: address.address }
}
