//! Extended attributes of files and directories: `user.*` only. Other kinds of
//! nodes have none that a guest could see.

use std::ffi::CStr;
use std::io;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use virtiofsd::filesystem::{GetxattrReply, ListxattrReply};

use super::Beneath;
use super::change::Caller;
use crate::rules;

/// Largest value and list that Linux keeps, in bytes.
const LARGEST: usize = 65_536;

impl Beneath {
    pub(crate) fn setxattr(
        &self,
        id: u64,
        name: &CStr,
        value: &[u8],
        flags: u32,
        who: Caller,
    ) -> io::Result<()> {
        rules::xattr_change(name.to_bytes())?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        let node = self.table.get(id)?;
        self.may_change(&node)?;
        let file = self.xattr_file(&node)?.ok_or(Errno::PERM)?;
        self.note_xattr(&node, &file, name, who);
        Ok(rustix::fs::fsetxattr(&file, name, value, flags)?)
    }

    pub(crate) fn removexattr(&self, id: u64, name: &CStr, who: Caller) -> io::Result<()> {
        rules::xattr_change(name.to_bytes())?;
        let node = self.table.get(id)?;
        self.may_change(&node)?;
        let file = self.xattr_file(&node)?.ok_or(Errno::PERM)?;
        self.note_xattr(&node, &file, name, who);
        Ok(rustix::fs::fremovexattr(&file, name)?)
    }

    pub(crate) fn getxattr(&self, id: u64, name: &CStr, size: u32) -> io::Result<GetxattrReply> {
        rules::xattr_look(name.to_bytes())?;
        let file = self.xattr_file(&self.table.get(id)?)?.ok_or(Errno::NODATA)?;
        let mut value = vec![0; LARGEST];
        let length = rustix::fs::fgetxattr(&file, name, &mut value[..])?;
        value.truncate(length);
        match reply(value, size)? {
            Reply::Count(count) => Ok(GetxattrReply::Count(count)),
            Reply::Value(value) => Ok(GetxattrReply::Value(value)),
        }
    }

    pub(crate) fn listxattr(&self, id: u64, size: u32) -> io::Result<ListxattrReply> {
        let mut visible = Vec::new();
        if let Some(file) = self.xattr_file(&self.table.get(id)?)? {
            let mut names = vec![0; LARGEST];
            let length = rustix::fs::flistxattr(&file, &mut names[..])?;
            for name in names[..length].split(|byte| *byte == 0) {
                if rules::xattr_visible(name) {
                    visible.extend_from_slice(name);
                    visible.push(0);
                }
            }
        }
        match reply(visible, size)? {
            Reply::Count(count) => Ok(ListxattrReply::Count(count)),
            Reply::Value(names) => Ok(ListxattrReply::Names(names)),
        }
    }
}

enum Reply {
    Count(u32),
    Value(Vec<u8>),
}

/// A size of 0 asks for the length; any other must suffice.
fn reply(value: Vec<u8>, size: u32) -> Result<Reply, Errno> {
    if size == 0 {
        Ok(Reply::Count(u32::try_from(value.len()).unwrap_or(u32::MAX)))
    } else if value.len() > size as usize {
        Err(Errno::RANGE)
    } else {
        Ok(Reply::Value(value))
    }
}
