//! Messages on a serial line, each a JSON text between a record separator and
//! a line feed (RFC 7464).
//!
//! The separator is the way back into step: bytes lost or left over from
//! before a sleep cost the record they belong to, and no other.

use serde::{Serialize, de::DeserializeOwned};

/// Begins a record (RFC 7464 §2.2).
pub const SEPARATOR: u8 = 0x1e;

/// The longest record that is taken, in bytes.
pub const MAX_RECORD: usize = 16 << 20;

/// A message as the bytes of one record.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![SEPARATOR];
    serde_json::to_writer(&mut bytes, message)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Finds records in a stream of bytes that may be damaged.
#[derive(Default)]
pub struct Decoder {
    /// The record under way, without its separator; `None` between records.
    record: Option<Vec<u8>>,
}

impl Decoder {
    /// Takes the next bytes; the messages that they complete. What is not a
    /// message is dropped: its sender asks or answers again.
    pub fn take<T: DeserializeOwned>(&mut self, bytes: &[u8]) -> Vec<T> {
        let mut messages = Vec::new();
        for &byte in bytes {
            match (byte, &mut self.record) {
                (SEPARATOR, record) => *record = Some(Vec::new()),
                (b'\n', record) => {
                    let complete = record.take().unwrap_or_default();
                    messages.extend(serde_json::from_slice(&complete).ok());
                }
                (_, Some(record)) if record.len() < MAX_RECORD => record.push(byte),
                (_, record) => *record = None,
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Call, Request};
    use proptest::prelude::*;

    fn request(id: u64) -> Request {
        Request { id, call: Call::Read { path: "/proc/\nx\u{1e}".into() } }
    }

    #[test]
    fn a_record_cut_off_by_a_sleep_costs_only_itself() {
        let first = encode(&request(1)).unwrap();
        let second = encode(&request(2)).unwrap();
        let mut decoder = Decoder::default();
        let mut seen: Vec<Request> = decoder.take(&first[..first.len() / 2]);
        seen.extend(decoder.take::<Request>(&second));
        assert_eq!(seen.iter().map(|r| r.id).collect::<Vec<_>>(), [2]);
    }

    proptest! {
        #[test]
        fn records_survive_any_noise_between_them(noise: Vec<u8>, cut in 1usize..40) {
            let mut stream = noise;
            stream.extend(encode(&request(7)).unwrap());
            let mut decoder = Decoder::default();
            let seen: Vec<Request> =
                stream.chunks(cut).flat_map(|piece| decoder.take(piece)).collect();
            prop_assert_eq!(seen.last().map(|r| r.id), Some(7));
        }
    }
}
