//! Python's pickle format, restricted to what `torch.save` writes. Nothing is executed: a call stays a description.
//!
//! Source: CPython's `Lib/pickletools.py`. candle's reader is not used: it panics on short argument lists, prints, and
//! copies every object that is referred to twice. Here objects live in one arena, so that shared, cyclic or deeply
//! nested ones cost nothing and freeing them does not recurse.

/// Place of an object in its [`Pickle`].
pub type Ref = usize;

/// An object of the pickled program.
#[derive(Debug, Clone, PartialEq)]
pub enum Object<'a> {
    /// A name to import: module, then name.
    Global(&'a str, &'a str),
    /// An integer.
    Int(i64),
    /// Text.
    Str(&'a str),
    /// A tuple or a list.
    Seq(Vec<Ref>),
    /// A dictionary, in order.
    Dict(Vec<(Ref, Ref)>),
    /// `callable(*args)`, not called.
    Call(Ref, Ref),
    /// A reference to something outside (torch: a storage).
    Persistent(Ref),
    /// None, a flag or a float: nothing that a tensor's description needs.
    Other,
    /// Marks the start of a run on the stack.
    Mark,
}

/// A pickled object and everything it refers to.
#[derive(Debug)]
pub struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: Ref,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle from the start of `bytes`; what follows its end is ignored.
    ///
    /// # Errors
    /// A message for the caller to put the file's name before.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine { rest: bytes, objects: vec![], stack: vec![], memo: Default::default() };
        while machine.step()? {}
        let root = machine.pop()?;
        Ok(Pickle { objects: machine.objects, root })
    }

    /// The object that was pickled.
    pub fn root(&self) -> Ref {
        self.root
    }

    /// The object at `at`.
    pub fn get(&self, at: Ref) -> &Object<'a> {
        // A `Ref` of another pickle is the only one that could be out of range.
        self.objects.get(at).unwrap_or(&Object::Other)
    }

    /// The entries of the dictionary at `at`.
    pub fn dict(&self, at: Ref) -> Option<&[(Ref, Ref)]> {
        match self.get(at) {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements of the tuple or list at `at`.
    pub fn seq(&self, at: Ref) -> Option<&[Ref]> {
        match self.get(at) {
            Object::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The text at `at`.
    pub fn str(&self, at: Ref) -> Option<&'a str> {
        match self.get(at) {
            Object::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The count at `at`.
    pub fn size(&self, at: Ref) -> Option<usize> {
        match self.get(at) {
            Object::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The counts in the tuple or list at `at`.
    pub fn sizes(&self, at: Ref) -> Option<Vec<usize>> {
        self.seq(at)?.iter().map(|r| self.size(*r)).collect()
    }

    /// The imported name of the call at `at`, and its arguments.
    pub fn call(&self, at: Ref) -> Option<(&'a str, &[Ref])> {
        let Object::Call(callable, args) = self.get(at) else { return None };
        let Object::Global(_, name) = self.get(*callable) else { return None };
        Some((name, self.seq(*args)?))
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    objects: Vec<Object<'a>>,
    stack: Vec<Ref>,
    memo: std::collections::HashMap<usize, Ref>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        if n > self.rest.len() {
            return Err(format!("the pickle is cut short: {} bytes are missing", n - self.rest.len()));
        }
        let (taken, rest) = self.rest.split_at(n);
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned little-endian number of `n <= 8` bytes.
    fn number(&mut self, n: usize) -> Result<u64, String> {
        Ok(self.take(n)?.iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b)))
    }

    fn length(&mut self, n: usize) -> Result<usize, String> {
        let n = self.number(n)?;
        usize::try_from(n).map_err(|_| format!("a length of {n}"))
    }

    fn text(&mut self, len: usize) -> Result<&'a str, String> {
        std::str::from_utf8(self.take(len)?).map_err(|e| format!("a name in the pickle is not UTF-8: {e}"))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let len = self.rest.iter().position(|b| *b == b'\n').ok_or("the pickle is cut short inside a name")?;
        let line = self.text(len)?;
        self.take(1)?;
        Ok(line)
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Ref, String> {
        self.stack.pop().ok_or_else(|| "the pickle takes from an empty stack".into())
    }

    fn top(&self) -> Result<Ref, String> {
        self.stack.last().copied().ok_or_else(|| "the pickle looks at an empty stack".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Ref>, String> {
        let mark = self.stack.iter().rposition(|r| self.objects[*r] == Object::Mark);
        let mark = mark.ok_or("the pickle has no mark where one is needed")?;
        let run = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(run)
    }

    fn tuple(&mut self, n: usize) -> Result<(), String> {
        let at = self.stack.len().checked_sub(n).ok_or("the pickle takes from an empty stack")?;
        let items = self.stack.split_off(at);
        self.push(Object::Seq(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Ref>) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.objects[list] {
            Object::Seq(all) => all.extend(items),
            other => return Err(format!("the pickle appends to {other:?}")),
        }
        Ok(())
    }

    fn insert(&mut self, flat: Vec<Ref>) -> Result<(), String> {
        let dict = self.top()?;
        match &mut self.objects[dict] {
            Object::Dict(all) => all.extend(flat.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            other => return Err(format!("the pickle inserts into {other:?}")),
        }
        Ok(())
    }

    fn remember(&mut self, key: usize) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), String> {
        let at = self.memo.get(&key).ok_or_else(|| format!("the pickle refers to the unknown object {key}"))?;
        self.stack.push(*at);
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (args, callable) = (self.pop()?, self.pop()?);
        let is_dict = matches!(self.objects[callable], Object::Global("collections", "OrderedDict" | "defaultdict"));
        self.push(if is_dict { Object::Dict(vec![]) } else { Object::Call(callable, args) });
        Ok(())
    }

    /// Executes one instruction; false after the last.
    fn step(&mut self) -> Result<bool, String> {
        match self.take(1)?[0] {
            0x80 => drop(self.take(1)?), // PROTO
            0x95 => drop(self.take(8)?), // FRAME
            b'.' => return Ok(false),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(module, name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.objects[module], &self.objects[name]) {
                    (Object::Str(module), Object::Str(name)) => self.push(Object::Global(module, name)),
                    _ => return Err("the pickle imports something that has no name".into()),
                }
            }
            b'K' => int(self, 1)?,
            b'M' => int(self, 2)?,
            b'J' => {
                let n = self.number(4)? as u32 as i32;
                self.push(Object::Int(i64::from(n)));
            }
            0x8a => {
                let n = self.length(1)?;
                if n > 8 {
                    return Err("the pickle holds an integer of more than 64 bits".into());
                }
                let bits = self.number(n)?;
                // Sign-extends from the top bit of the bytes given.
                let unused = 64 - 8 * n as u32;
                self.push(Object::Int(if n == 0 { 0 } else { (bits << unused) as i64 >> unused }));
            }
            b'G' => {
                self.take(8)?;
                self.push(Object::Other);
            }
            b'X' => string(self, 4)?,
            0x8c => string(self, 1)?,
            b'N' | 0x88 | 0x89 => self.push(Object::Other),
            b'(' => self.push(Object::Mark),
            b')' | b']' => self.push(Object::Seq(vec![])),
            b'}' => self.push(Object::Dict(vec![])),
            b't' | b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Object::Seq(items));
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Object::Dict(vec![]));
                self.insert(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.insert(items)?;
            }
            b'R' | 0x81 => self.call()?,
            b'b' => drop(self.pop()?), // BUILD: the state of an object, e.g. a state dict's `_metadata`
            b'Q' => {
                let id = self.pop()?;
                self.push(Object::Persistent(id));
            }
            b'q' => {
                let key = self.length(1)?;
                self.remember(key)?;
            }
            b'r' => {
                let key = self.length(4)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let key = self.length(1)?;
                self.recall(key)?;
            }
            b'j' => {
                let key = self.length(4)?;
                self.recall(key)?;
            }
            other => return Err(format!("the pickle uses the unsupported instruction {other:#04x}")),
        }
        Ok(true)
    }
}

fn int(machine: &mut Machine, bytes: usize) -> Result<(), String> {
    let n = machine.number(bytes)?;
    machine.push(Object::Int(n as i64));
    Ok(())
}

fn string(machine: &mut Machine, length_bytes: usize) -> Result<(), String> {
    let len = machine.length(length_bytes)?;
    let text = machine.text(len)?;
    machine.push(Object::Str(text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({"a": (1, -2, 70000), "b": [None]}, protocol=2)`.
    const SAMPLE: &[u8] =
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x87q\x02X\x01\x00\x00\x00bq\x03]q\x04Nau.";

    /// Protects Meta checkpoints: what Python wrote is what is read.
    #[test]
    fn reads_what_python_wrote() {
        let p = Pickle::parse(SAMPLE).unwrap();
        let entries = p.dict(p.root()).unwrap();
        assert_eq!(p.str(entries[0].0), Some("a"));
        let numbers: Vec<_> = p.seq(entries[0].1).unwrap().iter().map(|r| p.get(*r).clone()).collect();
        assert_eq!(numbers, [Object::Int(1), Object::Int(-2), Object::Int(70_000)]);
        assert_eq!(p.seq(entries[1].1).map(<[_]>::len), Some(1));
    }

    /// Protects against damaged and hostile files: errors at every cut, and no recursion for deep nesting.
    #[test]
    fn damage_is_an_error() {
        for end in 0..SAMPLE.len() {
            assert!(Pickle::parse(&SAMPLE[..end]).is_err());
        }
        let mut deep = b")".to_vec();
        deep.extend(std::iter::repeat_n(0x85, 1_000_000));
        deep.push(b'.');
        assert!(Pickle::parse(&deep).is_ok());
        for bad in [&b"R."[..], b"h\x07.", b"u.", b"X\xff\xff\xff\xff.", b"K\x01a.", b"\x8a\x09aaaaaaaaa.", b"\x07"] {
            assert!(Pickle::parse(bad).is_err(), "{bad:?}");
        }
    }
}
