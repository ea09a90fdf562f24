//! A guest whose requests are decided by bytes: mostly well formed, so that they come deep,
//! with numbers of files and handles that the share gave out, and every field open to nonsense.

use super::{Lab, SECRET};

/// Names that requests carry: what is there, what is hidden or protected, what leads out.
pub const NAMES: [&[u8]; 20] = [
    b"f",
    b"d",
    b"e",
    b"new",
    b"other",
    b"out",
    b"way",
    b"fifo",
    b".env",
    b"alias",
    b"hidden",
    b"locked",
    b"..",
    b".",
    b"",
    b"a/b",
    b"../outside/f",
    b"user.x",
    b"security.capability",
    b"\xff\n",
];
/// Files that a guest knows of at most: older ones are not asked for again.
const MOST_KNOWN: usize = 24;
/// Requests of one guest.
const MOST_REQUESTS: usize = 96;
/// Less room than an answer's header makes the server's crate (1.14.0) panic, which ends the share
/// process as every other request does that no kernel sends: nothing is to be learned from it.
const LEAST_ROOM: u32 = 16;
const HEADER: usize = 40;
const ANSWER_HEADER: usize = 16;

/// An operation: its number, how long its fixed part is, where that has a file handle, where the
/// number of a second file, and how many names follow (include/uapi/linux/fuse.h).
struct Shape {
    opcode: u32,
    fixed: usize,
    handle: Option<usize>,
    file: Option<usize>,
    names: usize,
}

const fn shape(opcode: u32, fixed: usize, names: usize) -> Shape {
    Shape { opcode, fixed, handle: None, file: None, names }
}

const fn on_handle(opcode: u32, fixed: usize, at: usize) -> Shape {
    Shape { opcode, fixed, handle: Some(at), file: None, names: 0 }
}

const fn with_file(opcode: u32, fixed: usize, names: usize) -> Shape {
    Shape { opcode, fixed, handle: None, file: Some(0), names }
}

const LOOKUP: u32 = 1;
const INIT: u32 = 26;
const CREATES: [u32; 6] = [LOOKUP, 6, 8, 9, 13, 35];
const OPENS: [u32; 2] = [14, 27];

const SHAPES: [Shape; 42] = [
    shape(LOOKUP, 0, 1),
    shape(2, 8, 0),       // FORGET
    on_handle(3, 16, 8),  // GETATTR
    on_handle(4, 88, 8),  // SETATTR
    shape(5, 0, 0),       // READLINK
    shape(6, 0, 2),       // SYMLINK
    shape(8, 16, 1),      // MKNOD
    shape(9, 8, 1),       // MKDIR
    shape(10, 0, 1),      // UNLINK
    shape(11, 0, 1),      // RMDIR
    with_file(12, 8, 2),  // RENAME
    with_file(13, 8, 1),  // LINK
    shape(14, 8, 0),      // OPEN
    on_handle(15, 40, 0), // READ
    on_handle(16, 40, 0), // WRITE
    shape(17, 0, 0),      // STATFS
    on_handle(18, 24, 0), // RELEASE
    on_handle(20, 16, 0), // FSYNC
    shape(21, 8, 2),      // SETXATTR
    shape(22, 8, 1),      // GETXATTR
    shape(23, 8, 0),      // LISTXATTR
    shape(24, 0, 1),      // REMOVEXATTR
    on_handle(25, 24, 0), // FLUSH
    shape(INIT, 64, 0),
    shape(27, 8, 0),      // OPENDIR
    on_handle(28, 40, 0), // READDIR
    on_handle(29, 24, 0), // RELEASEDIR
    on_handle(30, 16, 0), // FSYNCDIR
    on_handle(31, 48, 0), // GETLK
    on_handle(32, 48, 0), // SETLK
    shape(34, 8, 0),      // ACCESS
    shape(35, 16, 1),     // CREATE
    shape(37, 16, 0),     // BMAP
    on_handle(39, 32, 0), // IOCTL
    on_handle(40, 24, 0), // POLL
    with_file(42, 24, 0), // BATCH_FORGET
    on_handle(43, 32, 0), // FALLOCATE
    on_handle(44, 40, 0), // READDIRPLUS
    with_file(45, 16, 2), // RENAME2
    on_handle(46, 24, 0), // LSEEK
    on_handle(47, 56, 0), // COPY_FILE_RANGE
    shape(51, 16, 1),     // TMPFILE
];

/// Plays one guest against a lab.
pub struct Guest<'a> {
    lab: &'a Lab,
    files: Vec<u64>,
    handles: Vec<u64>,
    unique: u64,
}

/// Bytes that decide; zeroes when they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let number = usize::from(self.next());
        number.checked_rem(all.len()).map(|number| all[number])
    }
}

impl<'a> Guest<'a> {
    /// A guest that knows the root and nothing else.
    #[must_use]
    pub fn new(lab: &'a Lab) -> Self {
        Self { lab, files: vec![1], handles: vec![0], unique: 0 }
    }

    /// Sends what the bytes say, and panics when an answer holds what no guest may see.
    ///
    /// # Panics
    /// That is its verdict.
    pub fn play(&mut self, bytes: &[u8]) {
        let mut hello = [0; 64];
        hello[..8].copy_from_slice(&[7, 0, 0, 0, 38, 0, 0, 0]);
        let _ = self.send(INIT, 0, &hello, None, 4096);
        let mut choices = Choices(bytes);
        for _ in 0..MOST_REQUESTS {
            if choices.0.is_empty() {
                return;
            }
            self.request(&mut choices);
        }
    }

    fn request(&mut self, choices: &mut Choices<'_>) {
        let number = usize::from(choices.next());
        let shape = &SHAPES[number % SHAPES.len()];
        // The last few values ask for an operation that the shape is not of.
        let opcode = if number >= 250 { u32::from(choices.next()) } else { shape.opcode };
        let node = choices.of(&self.files).unwrap_or(1);
        let mut body = vec![0; shape.fixed];
        for place in shape.handle.iter().chain(&shape.file) {
            let known = if shape.handle.is_some() { &self.handles } else { &self.files };
            let value = choices.of(known).unwrap_or(0);
            body[*place..place + 8].copy_from_slice(&value.to_le_bytes());
        }
        patch(&mut body, choices);
        for _ in 0..shape.names {
            body.extend(choices.of(&NAMES).unwrap_or(b""));
            body.push(0);
        }
        let tail = choices.next();
        body.extend(std::iter::repeat_n(b'x', usize::from(tail & 0x3f) * 64));
        // One in four tails lies about the length, or leaves little room for the answer.
        let (length, room) = match tail >> 6 {
            3 => (Some(u32::from(choices.next()) * 16), LEAST_ROOM + u32::from(choices.next())),
            _ => (None, 1 << 17),
        };
        self.learn(opcode, node, &body, length, room);
    }

    fn learn(&mut self, opcode: u32, node: u64, body: &[u8], length: Option<u32>, room: u32) {
        let Some(answer) = self.send(opcode, node, body, length, room) else { return };
        let at = |place: usize| {
            let bytes = answer.get(ANSWER_HEADER + place..ANSWER_HEADER + place + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        if answer.len() <= ANSWER_HEADER {
            return;
        }
        if CREATES.contains(&opcode) {
            remember(&mut self.files, at(0));
        }
        match opcode {
            35 => remember(&mut self.handles, at(128)),
            _ if OPENS.contains(&opcode) => remember(&mut self.handles, at(0)),
            _ => {}
        }
    }

    fn send(
        &mut self,
        opcode: u32,
        node: u64,
        body: &[u8],
        length: Option<u32>,
        room: u32,
    ) -> Option<Vec<u8>> {
        self.unique += 1;
        let whole = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
        let mut request = Vec::with_capacity(HEADER + body.len());
        request.extend(length.unwrap_or(whole).to_le_bytes());
        request.extend(opcode.to_le_bytes());
        request.extend(self.unique.to_le_bytes());
        request.extend(node.to_le_bytes());
        // User and group 1000, process 1, no extensions.
        for word in [1000u32, 1000, 1, 0] {
            request.extend(word.to_le_bytes());
        }
        request.extend(body);
        let answer = self.lab.ask(&request, room);
        if let Some(answer) = &answer {
            let shows = answer.windows(SECRET.len()).any(|bytes| bytes == SECRET);
            assert!(!shows, "operation {opcode} on file {node} shows what is hidden or outside");
        }
        answer
    }
}

fn remember(known: &mut Vec<u64>, new: Option<u64>) {
    let Some(new) = new.filter(|new| !known.contains(new)) else { return };
    if known.len() >= MOST_KNOWN {
        known.remove(1);
    }
    known.push(new);
}

/// Overwrites up to seven places; high values fill eight bytes.
fn patch(body: &mut [u8], choices: &mut Choices<'_>) {
    if body.is_empty() {
        return;
    }
    for _ in 0..choices.next() & 7 {
        let at = usize::from(choices.next()) % body.len();
        let value = choices.next();
        let until = if value >= 0xf0 { body.len().min(at + 8) } else { at + 1 };
        body[at..until].fill(value);
    }
}
