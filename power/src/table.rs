//! System description tables as bytes: signature, length, checksum.

use alloc::vec::Vec;

/// Bytes of the header that every table begins with (ACPI 6.5 §5.2.6).
pub const HEADER_BYTES: usize = 36;

/// Most bytes of a table that is read: far above any real one, so that a wild
/// length does not make anybody read for ever.
const MAX_BYTES: usize = 16 << 20;

/// Why a machine's power facts cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerError {
    /// The table with this signature is unusable.
    Table {
        /// What the table should have been.
        signature: [u8; 4],
        /// What is wrong with it.
        fault: TableFault,
    },
    /// There is no DSDT among the AML tables.
    NoDsdt,
    /// No table holds `\_S5` as a package of constants, or the FADT has no
    /// register to write it to: the machine cannot be powered off by ACPI.
    NoPowerOff,
}

/// What is wrong with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFault {
    /// It ends before its own length.
    Truncated,
    /// It is another table.
    Signature,
    /// Its bytes do not sum up to zero.
    Checksum,
    /// A field is out of range; its name.
    Field(&'static str),
}

impl core::fmt::Display for TableFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => write!(f, "it is cut short"),
            Self::Signature => write!(f, "it is another table"),
            Self::Checksum => write!(f, "its checksum does not match"),
            Self::Field(name) => write!(f, "its field {name} is out of range"),
        }
    }
}

impl core::fmt::Display for PowerError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Table { signature, fault } => {
                write!(f, "ACPI table {}: {fault}", signature.escape_ascii())
            }
            Self::NoDsdt => write!(f, "the machine has no ACPI DSDT"),
            Self::NoPowerOff => write!(f, "the ACPI tables name no way to power off (\\_S5)"),
        }
    }
}

impl core::error::Error for PowerError {}

/// A table whose signature, length and checksum are right.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Checks `bytes`, which may be longer than the table.
    pub fn parse(bytes: &'a [u8], signatures: &[[u8; 4]]) -> Result<Self, PowerError> {
        let fault = |fault| PowerError::Table { signature: signatures[0], fault };
        let header = bytes.get(..HEADER_BYTES).ok_or(fault(TableFault::Truncated))?;
        if !signatures.iter().any(|signature| header.starts_with(signature)) {
            return Err(fault(TableFault::Signature));
        }
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if !(HEADER_BYTES..=MAX_BYTES).contains(&length) {
            return Err(fault(TableFault::Field("Length")));
        }
        let bytes = bytes.get(..length).ok_or(fault(TableFault::Truncated))?;
        if bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
            return Err(fault(TableFault::Checksum));
        }
        Ok(Self { bytes })
    }

    /// The whole table.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header: the AML of a DSDT or SSDT.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The table's revision.
    #[cfg(feature = "interpreter")]
    pub fn revision(&self) -> u8 {
        self.bytes[8]
    }
}

/// All tables that power facts come from, checked.
pub struct Checked<'a> {
    /// The FADT.
    pub fadt: Table<'a>,
    /// The DSDT, then the SSDTs.
    pub aml: Vec<Table<'a>>,
}

impl<'a> Checked<'a> {
    /// Checks all tables.
    pub fn all(fadt: &'a [u8], aml: &[&'a [u8]]) -> Result<Self, PowerError> {
        let fadt = Table::parse(fadt, &[*b"FACP"])?;
        let mut tables = Vec::with_capacity(aml.len());
        for (i, bytes) in aml.iter().enumerate() {
            let signatures: &[[u8; 4]] = if i == 0 { &[*b"DSDT"] } else { &[*b"SSDT", *b"PSDT"] };
            tables.push(Table::parse(bytes, signatures)?);
        }
        if tables.is_empty() {
            return Err(PowerError::NoDsdt);
        }
        Ok(Self { fadt, aml: tables })
    }
}
