//! JSON reader for events (RFC 8259): reads one object's members at a time, with values as slices of the text.
//!
//! The text must be valid UTF-8. `None` means invalid or unusual JSON.

/// A member's value. An array is only delimited: read it with `Cursor::items`.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Text(Text<'a>),
    Number(&'a [u8]),
    Array(&'a [u8]),
    Object(&'a [u8]),
}

/// The text between the quotes.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    pub raw: &'a [u8],
    pub has_escapes: bool,
}

impl<'a> Text<'a> {
    /// The text's bytes, if they contain no escapes.
    pub fn plain(self) -> Option<&'a [u8]> {
        (!self.has_escapes).then_some(self.raw)
    }
}

/// The text without control characters, spaces and byte order marks around it (see `runtime.events.lossless_json`).
pub fn unpadded(mut text: &[u8]) -> &[u8] {
    const MARK: &[u8] = b"\xEF\xBB\xBF";
    let is_empty = |byte: &u8| *byte <= b' ' || *byte == 0x7F;
    loop {
        text = match text {
            [first, rest @ ..] if is_empty(first) => rest,
            [rest @ .., last] if is_empty(last) => rest,
            _ => match text.strip_prefix(MARK).or(text.strip_suffix(MARK)) {
                Some(rest) => rest,
                None => return text,
            },
        }
    }
}

pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Cursor { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Calls `take` for each member of the object at the cursor, and moves behind the object.
    pub fn members(&mut self, mut take: impl FnMut(&'a [u8], Value<'a>) -> Option<()>) -> Option<()> {
        self.each_member(|cursor, name| take(name.plain()?, cursor.value()?))
    }

    /// Calls `take` for each item of the array at the cursor, and moves behind the array.
    pub fn items(&mut self, mut take: impl FnMut(Value<'a>) -> Option<()>) -> Option<()> {
        self.each_item(|cursor| take(cursor.value()?))
    }

    /// As `members`, but `take` starts before the member's value and must move behind it.
    pub fn each_member(&mut self, mut take: impl FnMut(&mut Self, Text<'a>) -> Option<()>) -> Option<()> {
        self.separated(b'{', b'}', |cursor| {
            cursor.skip_space();
            let name = cursor.text()?;
            cursor.skip_space();
            cursor.expect(b':')?;
            take(cursor, name)
        })
    }

    /// As `items`, but `take` starts before the item and must move behind it.
    pub fn each_item(&mut self, take: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.separated(b'[', b']', take)
    }

    fn separated(&mut self, begin: u8, end: u8, mut take: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.skip_space();
        self.expect(begin)?;
        self.skip_space();
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            take(self)?;
            if !self.goes_on(end)? {
                return Some(());
            }
        }
    }

    /// The first byte of the next value.
    pub fn first_byte(&mut self) -> Option<u8> {
        self.skip_space();
        self.peek()
    }

    /// Whether only whitespace is left.
    pub fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }

    fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            _ if byte == end => Some(false),
            _ => None,
        }
    }

    pub fn value(&mut self) -> Option<Value<'a>> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.text().map(Value::Text),
            b'{' => self.delimited().map(Value::Object),
            b'[' => self.delimited().map(Value::Array),
            b't' => self.word(b"true", Value::Bool(true)),
            b'f' => self.word(b"false", Value::Bool(false)),
            b'n' => self.word(b"null", Value::Null),
            _ => self.number().map(Value::Number),
        }
    }

    fn word(&mut self, word: &[u8], value: Value<'a>) -> Option<Value<'a>> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn text(&mut self) -> Option<Text<'a>> {
        self.expect(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.at += plain_run(self.text.get(self.at..)?);
            match self.peek()? {
                b'"' => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Some(Text { raw, has_escapes });
                }
                b'\\' => {
                    has_escapes = true;
                    self.at += 2;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Delimits the text from this bracket to its counterpart. The reader of that text checks it.
    fn delimited(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.text()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(&self.text[start..self.at]);
            }
        }
    }
}

/// Number of bytes before a quote, a backslash or a control character. Reads eight bytes at a time.
fn plain_run(text: &[u8]) -> usize {
    const EACH: u64 = u64::MAX / 0xFF;
    const HIGH_BITS: u64 = EACH << 7;
    let mut at = 0;
    while let Some(&bytes) = text[at..].first_chunk() {
        let word = u64::from_le_bytes(bytes);
        // Sets the high bit of each byte below `limit`. Bits behind the first such byte may be wrong.
        let below = |word: u64, limit: u8| word.wrapping_sub(EACH * u64::from(limit)) & !word;
        let equal = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
        let special = (equal(b'"') | equal(b'\\') | below(word, 0x20)) & HIGH_BITS;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += bytes.len();
    }
    at + text[at..].iter().take_while(|&&byte| byte != b'"' && byte != b'\\' && byte >= 0x20).count()
}

/// Appends the unescaped text of `raw`. `None` for an unknown escape or a lone surrogate.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let (&kind, behind) = rest[at + 1..].split_first()?;
        rest = behind;
        let byte = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = escaped_character(&mut rest)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(byte);
    }
    out.extend_from_slice(rest);
    Some(())
}

fn escaped_character(rest: &mut &[u8]) -> Option<char> {
    let first = hex4(rest)?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first);
    }
    *rest = rest.strip_prefix(b"\\u")?;
    let second = hex4(rest)?;
    if !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

fn hex4(rest: &mut &[u8]) -> Option<u32> {
    let (digits, behind) = rest.split_at_checked(4)?;
    *rest = behind;
    digits.iter().try_fold(0, |number, &byte| Some(number << 4 | char::from(byte).to_digit(16)?))
}
