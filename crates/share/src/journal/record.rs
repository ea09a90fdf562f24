//! One record: what it says and how it is written as bytes. Pure.

/// Longest path, in bytes; a longer one is cut there and still tells its directory.
pub const LONGEST_PATH: usize = 4096;

/// Longest value that goes along: a link's target or an extended attribute.
pub const LONGEST_DATA: usize = 65_536;

/// What was done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// A session that may write began; the path is its id.
    Begin = 1,
    /// A session ended; the path is its id.
    End = 2,
    /// The session's changes stand in the journal of the session that the path names.
    With = 3,
    /// A file was made.
    Create = 4,
    /// A directory was made.
    MakeDirectory = 5,
    /// A symbolic link was made.
    MakeLink = 6,
    /// A FIFO or a socket was made.
    MakeNode = 7,
    /// A file got one more name: `other` is the new one.
    Link = 8,
    /// Content was about to be overwritten, cut off, punched out or shifted.
    Overwrite = 9,
    /// Content was about to be added behind the end; what stood there stays.
    Append = 10,
    /// A file that was written to was closed, so a version of it is complete.
    Close = 11,
    /// A name was about to be removed.
    Remove = 12,
    /// A directory was about to be removed.
    RemoveDirectory = 13,
    /// A name was about to be moved to `other`.
    Rename = 14,
    /// A name was about to be replaced by a rename.
    Replace = 15,
    /// Permission bits or times were about to change.
    Attributes = 16,
    /// An extended attribute, named in `other`, was about to be set or removed.
    ExtendedAttribute = 17,
    /// The change that the last record of this path announced was refused.
    Undone = 18,
    /// Two names, the path and `other`, were about to change places.
    Exchange = 19,
}

/// `data` of the removal or replacement of a file that other names still lead to.
pub const STILL_NAMED: &[u8] = b"named";

impl Operation {
    /// All operations, for reading and for tests.
    pub const ALL: [Self; 19] = [
        Self::Begin,
        Self::End,
        Self::With,
        Self::Create,
        Self::MakeDirectory,
        Self::MakeLink,
        Self::MakeNode,
        Self::Link,
        Self::Overwrite,
        Self::Append,
        Self::Close,
        Self::Remove,
        Self::RemoveDirectory,
        Self::Rename,
        Self::Replace,
        Self::Attributes,
        Self::ExtendedAttribute,
        Self::Undone,
        Self::Exchange,
    ];

    /// Whether it says something of a path in the folder.
    #[must_use]
    pub const fn changes(self) -> bool {
        !matches!(self, Self::Begin | Self::End | Self::With)
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == code)
    }
}

/// What was done, by whom, and what of the state before was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Rises with each change that a share makes.
    pub sequence: u64,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// The guest's process, as its kernel says.
    pub pid: u32,
    /// That process's user inside.
    pub uid: u32,
    /// What was done.
    pub operation: Operation,
    /// The file's inode on the host; 0 where it is not known.
    pub inode: u64,
    /// Its size before, in bytes.
    pub size_before: u64,
    /// Its size after, where it is known already.
    pub size_after: u64,
    /// Kind and permission bits before (`st_mode`).
    pub mode: u32,
    /// Modification time before, in nanoseconds since 1970.
    pub modified: i64,
    /// The number under which the content before is kept; 0 for none.
    pub object: u64,
    /// Relative to the folder's root.
    pub path: Vec<u8>,
    /// The second path or name of operations that have one.
    pub other: Vec<u8>,
    /// A removed symbolic link's target, an extended attribute's value before.
    pub data: Vec<u8>,
}

impl Record {
    /// Bytes of the numbers.
    const FIXED: usize = 8 * 7 + 4 * 3 + 1 + 2 * 2 + 4;

    /// Longest record, in bytes.
    pub const LONGEST: usize = Self::FIXED + 2 * LONGEST_PATH + LONGEST_DATA;

    /// A record of an operation on a path; everything else is still unknown.
    #[must_use]
    pub fn new(operation: Operation, path: Vec<u8>) -> Self {
        Self {
            sequence: 0,
            time: 0,
            pid: 0,
            uid: 0,
            operation,
            inode: 0,
            size_before: 0,
            size_after: 0,
            mode: 0,
            modified: 0,
            object: 0,
            path,
            other: Vec::new(),
            data: Vec::new(),
        }
    }

    /// The second path of operations that have one.
    #[must_use]
    pub fn second_path(&self) -> Option<&[u8]> {
        matches!(self.operation, Operation::Link | Operation::Rename | Operation::Exchange)
            .then_some(self.other.as_slice())
    }

    /// Adds the record's bytes.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.sequence.to_le_bytes());
        to.extend(self.time.to_le_bytes());
        to.extend(self.inode.to_le_bytes());
        to.extend(self.size_before.to_le_bytes());
        to.extend(self.size_after.to_le_bytes());
        to.extend(self.modified.to_le_bytes());
        to.extend(self.object.to_le_bytes());
        to.extend(self.pid.to_le_bytes());
        to.extend(self.uid.to_le_bytes());
        to.extend(self.mode.to_le_bytes());
        to.push(self.operation as u8);
        let cut = |bytes: &[u8], most: usize| bytes.len().min(most);
        let (path, other) = (cut(&self.path, LONGEST_PATH), cut(&self.other, LONGEST_PATH));
        let data = cut(&self.data, LONGEST_DATA);
        // The bounds above fit these widths.
        to.extend((path as u16).to_le_bytes());
        to.extend((other as u16).to_le_bytes());
        to.extend((data as u32).to_le_bytes());
        to.extend_from_slice(&self.path[..path]);
        to.extend_from_slice(&self.other[..other]);
        to.extend_from_slice(&self.data[..data]);
    }

    /// Reads exactly one record; `None` for anything that `encode` does not write.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut wide = || {
            let (word, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*word))
        };
        let (sequence, time, inode) = (wide()?, wide()?.cast_signed(), wide()?);
        let (size_before, size_after) = (wide()?, wide()?);
        let (modified, object) = (wide()?.cast_signed(), wide()?);
        let mut narrow = || {
            let (word, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            Some(u32::from_le_bytes(*word))
        };
        let (pid, uid, mode) = (narrow()?, narrow()?, narrow()?);
        let (code, after) = rest.split_first()?;
        let (path, after) = after.split_first_chunk::<2>()?;
        let (other, after) = after.split_first_chunk::<2>()?;
        let (data, after) = after.split_first_chunk::<4>()?;
        let path = usize::from(u16::from_le_bytes(*path));
        let other = usize::from(u16::from_le_bytes(*other));
        let data = usize::try_from(u32::from_le_bytes(*data)).ok()?;
        let bounded = path <= LONGEST_PATH && other <= LONGEST_PATH && data <= LONGEST_DATA;
        if !bounded || after.len() != path + other + data {
            return None;
        }
        let (path, after) = after.split_at(path);
        let (other, data) = after.split_at(other);
        Some(Self {
            sequence,
            time,
            pid,
            uid,
            operation: Operation::of(*code)?,
            inode,
            size_before,
            size_after,
            mode,
            modified,
            object,
            path: path.to_vec(),
            other: other.to_vec(),
            data: data.to_vec(),
        })
    }
}
