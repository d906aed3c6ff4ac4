//! Following a method with its argument put in, down to the accesses that it makes.

use super::Obstacle;
use super::namespace::{Field, Full, Namespace, Object, skip_data};
use super::stream::{Path, Stream};
use alloc::vec::Vec;
use dormouse_handoff::plan::{MAX_STEPS, Register, Step};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

/// How deep methods may call each other.
const MAX_CALLS: usize = 8;

/// Most operations that are followed.
const MAX_OPERATIONS: usize = 4096;

/// Longest that a method may wait in all, in microseconds.
const MAX_WAIT_US: u64 = 2_000_000;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// This number.
    Known(u64),
    /// What is in a field, with some bits cleared and then some set.
    Of { field: Full, kept: u64, set: u64 },
    /// Only the machine knows.
    Unknown,
}

/// Whether a method goes on.
enum Flow {
    On,
    Back(Value),
}

/// A method under way.
struct Frame {
    scope: Full,
    arguments: [Value; 7],
    locals: [Value; 8],
}

/// The accesses of the method with this name at the root, with this argument;
/// `None` where there is none.
pub fn method(
    namespace: &Namespace<'_>,
    name: &'static str,
    argument: u64,
    memory: &[PageRange],
) -> Result<Option<Vec<Step>>, Obstacle> {
    let part: [u8; 4] = name.as_bytes().try_into().map_err(|_| Obstacle::Damaged)?;
    let path = Path { absolute: true, up: 0, parts: [part].into() };
    let Some((full, object)) = namespace.find(&Vec::new(), &path) else {
        return if namespace.mentions(&part) { Err(Obstacle::Name(part)) } else { Ok(None) };
    };
    let Object::Method(1, code) = object else { return Err(Obstacle::Name(part)) };
    let mut follower = Follower { namespace, memory, steps: Vec::new(), operations: 0, waited: 0 };
    follower.call(&full, *code, [Value::Known(argument)].into(), 0)?;
    Ok(Some(follower.steps))
}

struct Follower<'n, 'a> {
    namespace: &'n Namespace<'a>,
    memory: &'n [PageRange],
    steps: Vec<Step>,
    operations: usize,
    waited: u64,
}

impl<'a> Follower<'_, 'a> {
    fn call(
        &mut self,
        name: &Full,
        code: Stream<'a>,
        arguments: Vec<Value>,
        depth: usize,
    ) -> Result<Value, Obstacle> {
        if depth > MAX_CALLS {
            return Err(Obstacle::Long);
        }
        const UNKNOWN: Value = Value::Unknown;
        let mut frame =
            Frame { scope: name.clone(), arguments: [UNKNOWN; 7], locals: [UNKNOWN; 8] };
        for (place, value) in frame.arguments.iter_mut().zip(arguments) {
            *place = value;
        }
        match self.block(code, &mut frame, depth)? {
            Flow::Back(value) => Ok(value),
            Flow::On => Ok(Value::Unknown),
        }
    }

    fn block(
        &mut self,
        mut code: Stream<'a>,
        frame: &mut Frame,
        depth: usize,
    ) -> Result<Flow, Obstacle> {
        while let Some(next) = code.peek() {
            self.count()?;
            match next {
                // If, and else.
                0xa0 => {
                    code.byte()?;
                    let mut inside = code.enclosed()?;
                    let holds = self.known(&mut inside, frame, depth)? != 0;
                    let otherwise = match code.peek() {
                        Some(0xa1) => {
                            code.byte()?;
                            code.enclosed()?
                        }
                        _ => Stream(&[]),
                    };
                    // An If inside a block counts as deep as a call: both are bounded
                    // by the bytes, but only one of them by the stack.
                    if depth >= MAX_CALLS {
                        return Err(Obstacle::Long);
                    }
                    let taken = if holds { inside } else { otherwise };
                    if let Flow::Back(value) = self.block(taken, frame, depth + 1)? {
                        return Ok(Flow::Back(value));
                    }
                }
                // Return: of data, or of what an expression comes to.
                0xa4 => {
                    code.byte()?;
                    let value = match code.peek() {
                        Some(0x0d | 0x11..=0x13) => {
                            skip_data(&mut code)?;
                            Value::Unknown
                        }
                        None => Value::Unknown,
                        _ => self.value(&mut code, frame, depth)?,
                    };
                    return Ok(Flow::Back(value));
                }
                // Nothing.
                0xa3 => {
                    code.byte()?;
                }
                // Notify: there is nobody to be told.
                0x86 => {
                    code.byte()?;
                    code.path()?;
                    self.value(&mut code, frame, depth)?;
                }
                0x5b if matches!(code.0.get(1), Some(0x21 | 0x22)) => {
                    let unit = if code.operation()? == 0x5b22 { 1000 } else { 1 };
                    let wait = self.known(&mut code, frame, depth)?.saturating_mul(unit);
                    self.waited = self.waited.saturating_add(wait);
                    if self.waited > MAX_WAIT_US {
                        return Err(Obstacle::Long);
                    }
                    let register = Register::default();
                    self.step(Step { register, keep: 0, set: wait as u32 })?;
                }
                _ => {
                    self.value(&mut code, frame, depth)?;
                }
            }
        }
        Ok(Flow::On)
    }

    fn known(
        &mut self,
        code: &mut Stream<'a>,
        frame: &mut Frame,
        depth: usize,
    ) -> Result<u64, Obstacle> {
        match self.value(code, frame, depth)? {
            Value::Known(value) => Ok(value),
            _ => Err(Obstacle::Unknown),
        }
    }

    /// What the next expression comes to; its accesses become steps.
    fn value(
        &mut self,
        code: &mut Stream<'a>,
        frame: &mut Frame,
        depth: usize,
    ) -> Result<Value, Obstacle> {
        self.count()?;
        if depth > 2 * MAX_CALLS {
            return Err(Obstacle::Long);
        }
        if let Some(value) = code.constant()? {
            return Ok(Value::Known(value));
        }
        if code.at_name() {
            return self.named(code, frame, depth);
        }
        let operation = code.operation()?;
        let depth = depth + 1;
        match operation {
            local @ 0x60..=0x67 => Ok(frame.locals[usize::from(local - 0x60)].clone()),
            argument @ 0x68..=0x6e => Ok(frame.arguments[usize::from(argument - 0x68)].clone()),
            // Store.
            0x70 => {
                let value = self.value(code, frame, depth)?;
                self.store(code, frame, &value)?;
                Ok(value)
            }
            // Add, subtract, multiply, shifts, and, or, exclusive or.
            0x72 | 0x74 | 0x77 | 0x79 | 0x7a | 0x7b | 0x7d | 0x7f => {
                let left = self.value(code, frame, depth)?;
                let right = self.value(code, frame, depth)?;
                let value = binary(operation, left, right);
                self.store(code, frame, &value)?;
                Ok(value)
            }
            // Not.
            0x80 => {
                let value = match self.value(code, frame, depth)? {
                    Value::Known(value) => Value::Known(!value),
                    _ => Value::Unknown,
                };
                self.store(code, frame, &value)?;
                Ok(value)
            }
            // And, or, equal, greater, less.
            0x90 | 0x91 | 0x93..=0x95 => {
                let left = self.known(code, frame, depth)?;
                let right = self.known(code, frame, depth)?;
                let holds = match operation {
                    0x90 => left != 0 && right != 0,
                    0x91 => left != 0 || right != 0,
                    0x93 => left == right,
                    0x94 => left > right,
                    _ => left < right,
                };
                Ok(Value::Known(if holds { u64::MAX } else { 0 }))
            }
            // Not, of what holds.
            0x92 => {
                let holds = self.known(code, frame, depth)? != 0;
                Ok(Value::Known(if holds { 0 } else { u64::MAX }))
            }
            other => Err(Obstacle::Operation(other)),
        }
    }

    /// What a name comes to: a call, or what is in a field.
    fn named(
        &mut self,
        code: &mut Stream<'a>,
        frame: &mut Frame,
        depth: usize,
    ) -> Result<Value, Obstacle> {
        let (name, object) = self.find(code, frame)?;
        match object {
            Object::Method(arguments, body) => {
                let mut values = Vec::new();
                for _ in 0..arguments {
                    values.push(self.value(code, frame, depth + 1)?);
                }
                self.call(&name, body, values, depth + 1)
            }
            Object::Field(field) => {
                self.place(&field)?;
                Ok(Value::Of { field: name, kept: u64::MAX, set: 0 })
            }
            Object::Region(..) | Object::Other => Err(last_part(&name)),
        }
    }

    fn find(&self, code: &mut Stream<'a>, frame: &Frame) -> Result<(Full, Object<'a>), Obstacle> {
        let path = code.path()?;
        match self.namespace.find(&frame.scope, &path) {
            Some((name, object)) => Ok((name, object.clone())),
            None => Err(last_part(&path.parts)),
        }
    }

    /// Stores into the target that comes next.
    fn store(
        &mut self,
        code: &mut Stream<'a>,
        frame: &mut Frame,
        value: &Value,
    ) -> Result<(), Obstacle> {
        if code.at_name() {
            let (name, object) = self.find(code, frame)?;
            return match object {
                Object::Field(field) => self.write(&name, &field, value),
                _ => Err(last_part(&name)),
            };
        }
        match code.operation()? {
            // Nowhere; to the debugger.
            0x00 | 0x5b31 => {}
            local @ 0x60..=0x67 => frame.locals[usize::from(local - 0x60)] = value.clone(),
            argument @ 0x68..=0x6e => {
                frame.arguments[usize::from(argument - 0x68)] = value.clone();
            }
            other => return Err(Obstacle::Operation(other)),
        }
        Ok(())
    }

    /// The space of a field and the address of its range.
    fn place(&self, field: &Field) -> Result<(u32, u64), Obstacle> {
        let path = Path { absolute: true, up: 0, parts: field.region.clone() };
        let region = self.namespace.find(&Vec::new(), &path);
        match region {
            Some((_, Object::Region(space @ (0 | 1), Some(start)))) if !field.locked => {
                Ok(((*space).into(), *start))
            }
            Some((_, Object::Region(0 | 1, Some(_)))) => Err(Obstacle::Lock),
            Some((_, Object::Region(0 | 1, None))) => Err(Obstacle::Unknown),
            Some((_, Object::Region(space, _))) => Err(Obstacle::Space(*space)),
            _ => Err(last_part(&field.region)),
        }
    }

    fn write(&mut self, name: &Full, field: &Field, value: &Value) -> Result<(), Obstacle> {
        let (space, start) = self.place(field)?;
        // What stays of the field, and what is set in it.
        let (kept, set) = match value {
            Value::Known(value) => (0, *value),
            Value::Of { field: from, kept, set } if from == name => (kept & !set, *set),
            Value::Of { .. } | Value::Unknown => return Err(Obstacle::Unknown),
        };
        let end = field.bit.saturating_add(field.bits);
        let fits = |width: &u64| field.bit / width == (end - 1) / width;
        if !(1..=64).contains(&field.bits) {
            return Err(Obstacle::Register(start));
        }
        let width = match field.access {
            Some(width @ (8 | 16 | 32)) => width,
            Some(_) => return Err(Obstacle::Register(start)),
            None => [8, 16, 32].into_iter().find(fits).unwrap_or(8),
        };
        for unit in field.bit / width..=(end - 1) / width {
            let (from, to) = (field.bit.max(unit * width), end.min((unit + 1) * width));
            let shift = from - unit * width;
            let own = ones(to - from) << shift;
            let part = |bits: u64| (bits >> (from - field.bit)) << shift & own;
            let rest = ones(width) & !own;
            let (keep_rest, set_rest) = match field.update {
                0 => (rest, 0),
                1 => (0, rest),
                _ => (0, 0),
            };
            let address = start.saturating_add(unit * width / 8);
            let register = Register { space, width: width as u32, address };
            self.accessible(&register)?;
            self.step(Step {
                register,
                keep: (part(kept) | keep_rest) as u32,
                set: (part(set) | set_rest) as u32,
            })?;
        }
        Ok(())
    }

    /// Whether a register is one that may be written to.
    fn accessible(&self, register: &Register) -> Result<(), Obstacle> {
        let bytes = u64::from(register.width / 8);
        let end = register.address.saturating_add(bytes);
        let good = match register.space {
            1 => end <= 1 << 16,
            _ => {
                let (first, last) =
                    (Pfn::containing(PhysAddr(register.address)), end.div_ceil(PAGE_SIZE));
                let pages = PageRange { start: first, pages: last.saturating_sub(first.0) };
                first.0 > 0
                    && end <= 1 << 52
                    && register.address.is_multiple_of(bytes)
                    && self.memory.iter().all(|range| range.intersection(&pages).is_none())
            }
        };
        if good { Ok(()) } else { Err(Obstacle::Register(register.address)) }
    }

    fn step(&mut self, step: Step) -> Result<(), Obstacle> {
        if self.steps.len() == MAX_STEPS {
            return Err(Obstacle::Long);
        }
        self.steps.push(step);
        Ok(())
    }

    fn count(&mut self) -> Result<(), Obstacle> {
        self.operations += 1;
        if self.operations > MAX_OPERATIONS { Err(Obstacle::Long) } else { Ok(()) }
    }
}

fn binary(operation: u16, left: Value, right: Value) -> Value {
    use Value::{Known, Of, Unknown};
    match (operation, left, right) {
        (0x72, Known(a), Known(b)) => Known(a.wrapping_add(b)),
        (0x74, Known(a), Known(b)) => Known(a.wrapping_sub(b)),
        (0x77, Known(a), Known(b)) => Known(a.wrapping_mul(b)),
        (0x79, Known(a), Known(b)) => Known(a.checked_shl(b.min(64) as u32).unwrap_or(0)),
        (0x7a, Known(a), Known(b)) => Known(a.checked_shr(b.min(64) as u32).unwrap_or(0)),
        (0x7b, Known(a), Known(b)) => Known(a & b),
        (0x7d, Known(a), Known(b)) => Known(a | b),
        (0x7f, Known(a), Known(b)) => Known(a ^ b),
        (0x7b, Of { field, kept, set }, Known(mask))
        | (0x7b, Known(mask), Of { field, kept, set }) => {
            Of { field, kept: kept & mask, set: set & mask }
        }
        (0x7d, Of { field, kept, set }, Known(bits))
        | (0x7d, Known(bits), Of { field, kept, set }) => Of { field, kept, set: set | bits },
        _ => Unknown,
    }
}

/// So many ones.
fn ones(bits: u64) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

fn last_part(name: &[[u8; 4]]) -> Obstacle {
    name.last().map_or(Obstacle::Damaged, |part| Obstacle::Name(*part))
}
