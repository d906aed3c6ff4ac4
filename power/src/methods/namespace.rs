//! The tables' names, as far as methods need them: methods, registers, and where
//! they are.

use super::Obstacle;
use super::stream::{Path, Stream};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// How deep scopes may lie in each other.
const MAX_DEPTH: usize = 16;

/// A name from the root on.
pub type Full = Vec<[u8; 4]>;

/// What a name stands for.
#[derive(Clone)]
pub enum Object<'a> {
    /// A method: how many arguments, and its operations.
    Method(u8, Stream<'a>),
    /// A range of registers: address space, and the first address, if that is a
    /// constant.
    Region(u8, Option<u64>),
    /// A part of such a range.
    Field(Field),
    /// Anything else: it is there, and nothing is known of it.
    Other,
}

/// A part of a range of registers (ACPI 6.5 §19.6.48).
#[derive(Clone, Debug)]
pub struct Field {
    /// The range's name.
    pub region: Full,
    /// Its first bit in the range.
    pub bit: u64,
    /// How many bits.
    pub bits: u64,
    /// Bits of an access, if that is told.
    pub access: Option<u64>,
    /// Whether the lock is needed for it.
    pub locked: bool,
    /// What is written to the rest of a register: 0: what is there; 1: ones; 2:
    /// zeros.
    pub update: u8,
}

/// All names.
pub struct Namespace<'a> {
    names: BTreeMap<Full, Object<'a>>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Namespace<'a> {
    /// The names in these tables' bodies. A scope that cannot be read to its end
    /// is read as far as it goes.
    pub fn of(bodies: &[&'a [u8]]) -> Self {
        let mut namespace = Self { names: BTreeMap::new(), bodies: bodies.to_vec() };
        for body in bodies {
            let _as_far_as_it_goes = namespace.scope(Stream(body), &Vec::new(), 0);
        }
        namespace
    }

    /// Whether these bytes are anywhere in the tables: what cannot be read may have
    /// the name.
    pub fn mentions(&self, part: &[u8; 4]) -> bool {
        self.bodies.iter().any(|body| body.windows(4).any(|window| window == part))
    }

    /// What a name stands for in a scope, and its full name (§5.3: a single part is
    /// looked for upwards).
    pub fn find(&self, scope: &Full, path: &Path) -> Option<(Full, &Object<'a>)> {
        let direct = absolute(scope, path)?;
        if let Some(object) = self.names.get(&direct) {
            return Some((direct, object));
        }
        if path.absolute || path.up > 0 || path.parts.len() != 1 {
            return None;
        }
        (0..scope.len()).rev().find_map(|depth| {
            let mut name = scope[..depth].to_vec();
            name.extend(&path.parts);
            self.names.get(&name).map(|object| (name, object))
        })
    }

    fn add(&mut self, scope: &Full, path: &Path, object: Object<'a>) -> Result<(), Obstacle> {
        let name = absolute(scope, path).ok_or(Obstacle::Damaged)?;
        // Two of one name: nobody knows which is meant.
        let object = if self.names.contains_key(&name) { Object::Other } else { object };
        self.names.insert(name, object);
        Ok(())
    }

    fn scope(&mut self, mut code: Stream<'a>, here: &Full, depth: usize) -> Result<(), Obstacle> {
        if depth > MAX_DEPTH {
            return Err(Obstacle::Long);
        }
        while !code.0.is_empty() {
            match code.operation()? {
                // Scope, device, processor, power resource, thermal zone.
                kind @ (0x10 | 0x5b82 | 0x5b83 | 0x5b84 | 0x5b85) => {
                    let mut inside = code.enclosed()?;
                    let name = inside.path()?;
                    let more = match kind {
                        0x5b83 => 6,
                        0x5b84 => 3,
                        _ => 0,
                    };
                    inside.bytes(more)?;
                    let there = absolute(here, &name).ok_or(Obstacle::Damaged)?;
                    // What is in it is read as far as it goes.
                    let _ = self.scope(inside, &there, depth + 1);
                }
                // Method.
                0x14 => {
                    let mut inside = code.enclosed()?;
                    let name = inside.path()?;
                    let arguments = inside.byte()? & 7;
                    self.add(here, &name, Object::Method(arguments, inside))?;
                }
                // Operation region.
                0x5b80 => {
                    let name = code.path()?;
                    let space = code.byte()?;
                    let start = integer(&mut code)?;
                    integer(&mut code)?;
                    self.add(here, &name, Object::Region(space, start))?;
                }
                // Field.
                0x5b81 => {
                    let mut inside = code.enclosed()?;
                    let region = inside.path()?;
                    self.fields(inside, here, &region)?;
                }
                // Index and bank field: their names are there, and no more.
                kind @ (0x5b86 | 0x5b87) => {
                    let mut inside = code.enclosed()?;
                    inside.path()?;
                    inside.path()?;
                    if kind == 0x5b87 {
                        integer(&mut inside)?;
                    }
                    inside.byte()?;
                    each_field(inside, |name, _, _, _| {
                        let path = Path { absolute: false, up: 0, parts: [name].into() };
                        self.add(here, &path, Object::Other)
                    })?;
                }
                // Name, and what it is the name of.
                0x08 => {
                    let name = code.path()?;
                    skip_data(&mut code)?;
                    self.add(here, &name, Object::Other)?;
                }
                // Alias.
                0x06 => {
                    code.path()?;
                    let name = code.path()?;
                    self.add(here, &name, Object::Other)?;
                }
                // External: a name, its type, its number of arguments.
                0x15 => {
                    code.path()?;
                    code.bytes(2)?;
                }
                // Mutex, with its level; event.
                0x5b01 => {
                    let name = code.path()?;
                    code.byte()?;
                    self.add(here, &name, Object::Other)?;
                }
                0x5b02 => {
                    let name = code.path()?;
                    self.add(here, &name, Object::Other)?;
                }
                // If, else: whether it holds is not known, so what is in it is not.
                0xa0 | 0xa1 => {
                    code.enclosed()?;
                }
                other => return Err(Obstacle::Operation(other)),
            }
        }
        Ok(())
    }

    fn fields(&mut self, mut code: Stream<'a>, here: &Full, region: &Path) -> Result<(), Obstacle> {
        let flags = code.byte()?;
        let found = self.find(here, region).map(|(name, _)| name);
        each_field_with(code, flags, |name, bit, bits, flags| {
            let path = Path { absolute: false, up: 0, parts: [name].into() };
            let object = match &found {
                None => Object::Other,
                Some(region) => Object::Field(Field {
                    region: region.clone(),
                    bit,
                    bits,
                    access: match flags & 0xf {
                        1 => Some(8),
                        2 => Some(16),
                        3 => Some(32),
                        4 => Some(64),
                        _ => None,
                    },
                    locked: flags & 0x10 != 0,
                    update: flags >> 5 & 3,
                }),
            };
            self.add(here, &path, object)
        })
    }
}

/// The full name of a path in a scope.
fn absolute(scope: &Full, path: &Path) -> Option<Full> {
    let base = match path.absolute {
        true => &[],
        false => &scope[..scope.len().checked_sub(path.up)?],
    };
    let mut name = base.to_vec();
    name.extend(&path.parts);
    Some(name)
}

fn each_field(
    code: Stream<'_>,
    add: impl FnMut([u8; 4], u64, u64, u8) -> Result<(), Obstacle>,
) -> Result<(), Obstacle> {
    each_field_with(code, 0, add)
}

/// Each named field: its name, first bit, number of bits, and flags.
fn each_field_with(
    mut code: Stream<'_>,
    mut flags: u8,
    mut add: impl FnMut([u8; 4], u64, u64, u8) -> Result<(), Obstacle>,
) -> Result<(), Obstacle> {
    let mut bit = 0_u64;
    while let Some(next) = code.peek() {
        match next {
            // Reserved bits.
            0 => {
                code.byte()?;
                bit = bit.saturating_add(code.length()?.0 as u64);
            }
            // Another way of access from here on.
            1 => {
                code.byte()?;
                flags = flags & 0xf0 | code.byte()? & 0xf;
                code.byte()?;
            }
            2 | 3 => return Err(Obstacle::Operation(next.into())),
            _ => {
                let name = code.part()?;
                let bits = code.length()?.0 as u64;
                add(name, bit, bits, flags)?;
                bit = bit.saturating_add(bits);
            }
        }
    }
    Ok(())
}

/// An integer: a constant, or a name, whose value is not known.
fn integer(code: &mut Stream<'_>) -> Result<Option<u64>, Obstacle> {
    if let Some(value) = code.constant()? {
        return Ok(Some(value));
    }
    if code.at_name() {
        code.path()?;
        return Ok(None);
    }
    Err(Obstacle::Operation(code.operation()?))
}

/// Passes over a data object: an integer, a string, a buffer, a package.
pub fn skip_data(code: &mut Stream<'_>) -> Result<(), Obstacle> {
    if code.constant()?.is_some() {
        return Ok(());
    }
    match code.operation()? {
        0x0d => loop {
            if code.byte()? == 0 {
                return Ok(());
            }
        },
        0x11..=0x13 => code.enclosed().map(drop),
        other => Err(Obstacle::Operation(other)),
    }
}
