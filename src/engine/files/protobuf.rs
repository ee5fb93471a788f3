//! The wire format of Protocol Buffers, as far as reading a flat message needs it.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// One field's value. Groups, long deprecated, are not supported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// Wire type 0: any integer, flag or enumeration.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: bytes, text, or a message.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// As a flag.
    pub fn flag(&self) -> bool {
        matches!(self, Field::Varint(n) if *n != 0)
    }

    /// As a signed 32-bit integer (negative ones are stored as 64-bit varints).
    pub fn int(&self) -> i32 {
        match self {
            Field::Varint(n) => *n as i32,
            _ => 0,
        }
    }

    /// As a 32-bit float.
    pub fn float(&self) -> f32 {
        match self {
            Field::Fixed32(bits) => f32::from_bits(*bits),
            _ => 0.0,
        }
    }

    /// As bytes; empty if it is something else.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Field::Bytes(b) => b,
            _ => &[],
        }
    }
}

/// The fields of a message, in order, each with its number; ends after the first error.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the beginning of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut out = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or("the message ends inside a number")?;
            self.rest = rest;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err("a number has too many bytes".into())
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], String> {
        let len = usize::try_from(n).ok().filter(|n| *n <= self.rest.len());
        let Some(len) = len else {
            return Err(format!("a field takes {n} bytes, and {} of them are missing", n - self.rest.len() as u64));
        };
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(taken)
    }

    fn read(&mut self) -> Result<(u64, Field<'a>), String> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.take(8)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))),
            2 => {
                let len = self.varint()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Fixed32(self.take(4)?.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))),
            other => return Err(format!("unknown wire type {other}")),
        };
        Ok((key >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects tokenizers: the encoding guide's own examples, and a negative integer.
    #[test]
    fn reads_the_guides_examples() {
        let fields = |b| Fields::new(b).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(fields(&[0x08, 0x96, 0x01]), [(1, Field::Varint(150))]);
        assert_eq!(fields(b"\x12\x07testing"), [(2, Field::Bytes(b"testing"))]);
        let minus_one = fields(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(minus_one[0].1.int(), -1);
        assert_eq!(fields(&[0x15, 0, 0, 128, 63])[0].1.float(), 1.0);
    }

    /// Protects against damaged files: an error, not an endless loop or a panic.
    #[test]
    fn damage_is_an_error() {
        for bytes in [&b"\x12\x07tes"[..], &[0x08], &[0xff; 12], &[0x0b], &[0x12, 255, 255, 255, 255, 255, 127]] {
            assert!(Fields::new(bytes).collect::<Result<Vec<_>, _>>().is_err(), "{bytes:?}");
        }
    }
}
