//! What a guest may not do to the folder, whatever the mode: names that are no
//! names, set-uid files, device nodes, attributes of the host's security. Pure.

use std::ffi::CStr;

use rustix::io::Errno;

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;
const S_IFDIR: u32 = 0o040_000;
const SET_ID: u32 = 0o6000;

/// Longest name in a directory, in bytes.
const NAME_MAX: usize = 255;

/// One component of a path, and never a way up or across.
///
/// # Errors
/// EINVAL for an empty name, `.`, `..` and a name with `/`; ENAMETOOLONG.
pub fn name(name: &CStr) -> Result<(), Errno> {
    let bytes = name.to_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    if bytes.len() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    Ok(())
}

/// The permission bits (0o7777) with which a regular file or special node may be made.
///
/// # Errors
/// EPERM for set-uid or set-gid.
pub fn file_mode(mode: u32) -> Result<u32, Errno> {
    if mode & SET_ID != 0 {
        return Err(Errno::PERM);
    }
    Ok(mode & 0o7777)
}

/// The permission bits which an existing node of this kind (`S_IFMT` bits) may get.
///
/// A bit that the file already has is refused as well: between the look and
/// the change a write could have taken it away.
///
/// # Errors
/// EPERM for set-uid or set-gid on anything but a directory.
pub fn new_mode(kind: u32, mode: u32) -> Result<u32, Errno> {
    if kind & S_IFMT == S_IFDIR { Ok(mode & 0o7777) } else { file_mode(mode) }
}

/// The kinds that `mknod` may make: regular files, FIFOs and sockets.
///
/// # Errors
/// EPERM for device nodes, EINVAL for anything else.
pub fn node_kind(mode: u32) -> Result<u32, Errno> {
    match mode & S_IFMT {
        // The kernel takes "no type" for a regular file.
        0 => Ok(S_IFREG),
        kind @ (S_IFREG | S_IFIFO | S_IFSOCK) => Ok(kind),
        0o020_000 | 0o060_000 => Err(Errno::PERM),
        _ => Err(Errno::INVAL),
    }
}

/// Extended attributes of which a guest knows: `user.*`.
#[must_use]
pub fn xattr_visible(name: &[u8]) -> bool {
    name.starts_with(b"user.") && name.len() > b"user.".len()
}

/// Whether a guest may set or remove this extended attribute.
///
/// # Errors
/// EPERM for `security.*` and `trusted.*`; EOPNOTSUPP for everything else but `user.*`
/// (`system.posix_acl_*`: access lists are not offered).
pub fn xattr_change(name: &[u8]) -> Result<(), Errno> {
    if xattr_visible(name) {
        Ok(())
    } else if name.starts_with(b"security.") || name.starts_with(b"trusted.") {
        Err(Errno::PERM)
    } else {
        Err(Errno::OPNOTSUPP)
    }
}

/// Whether a guest may read this extended attribute.
///
/// # Errors
/// ENODATA for `security.*` and `trusted.*` (a file without any), EOPNOTSUPP for
/// everything else but `user.*`.
pub fn xattr_look(name: &[u8]) -> Result<(), Errno> {
    match xattr_change(name) {
        Err(Errno::PERM) => Err(Errno::NODATA),
        other => other,
    }
}

/// The flags with which a file is opened on the host for a guest's `open(2)` flags.
///
/// Access mode and synchronous writing are kept. Appending is done per write (a
/// mapped write of the same handle has an offset of its own); direct I/O
/// is between the guest and its cache.
///
/// # Errors
/// EINVAL for the access mode 3.
pub fn host_open_flags(flags: u32) -> Result<u32, Errno> {
    const O_SYNC: u32 = 0o4_010_000;
    if flags & 0o3 == 0o3 {
        return Err(Errno::INVAL);
    }
    Ok(flags & (0o3 | O_SYNC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(bytes: &[u8]) -> std::ffi::CString {
        std::ffi::CString::new(bytes).unwrap()
    }

    #[test]
    fn names_stay_in_their_directory() {
        for bad in [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"/etc"] {
            assert_eq!(name(&c(bad)), Err(Errno::INVAL), "{bad:?}");
        }
        assert_eq!(name(&c(&[b'x'; 256])), Err(Errno::NAMETOOLONG));
        for good in [&b"..."[..], b".git", b"a\\b", b"\xff\xfe", b"-", b" ", b"\n"] {
            assert_eq!(name(&c(good)), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn set_id_bits_are_for_directories_only() {
        for bits in [0o4755, 0o2755, 0o6000] {
            assert_eq!(file_mode(bits), Err(Errno::PERM));
            assert_eq!(new_mode(S_IFREG, bits), Err(Errno::PERM));
            assert_eq!(new_mode(S_IFIFO, bits), Err(Errno::PERM));
            assert_eq!(new_mode(S_IFDIR, bits), Ok(bits));
        }
        assert_eq!(file_mode(S_IFREG | 0o1644), Ok(0o1644));
    }

    #[test]
    fn devices_cannot_be_made() {
        assert_eq!(node_kind(0o020_666), Err(Errno::PERM));
        assert_eq!(node_kind(0o060_666), Err(Errno::PERM));
        assert_eq!(node_kind(0o644), Ok(S_IFREG));
        assert_eq!(node_kind(S_IFIFO | 0o600), Ok(S_IFIFO));
        assert_eq!(node_kind(S_IFSOCK | 0o600), Ok(S_IFSOCK));
        assert_eq!(node_kind(S_IFDIR), Err(Errno::INVAL));
        assert_eq!(node_kind(0o120_000), Err(Errno::INVAL));
    }

    #[test]
    fn only_user_attributes_exist_for_a_guest() {
        assert_eq!(xattr_change(b"user.note"), Ok(()));
        assert_eq!(xattr_change(b"user."), Err(Errno::OPNOTSUPP));
        assert_eq!(xattr_change(b"security.capability"), Err(Errno::PERM));
        assert_eq!(xattr_change(b"trusted.overlay.opaque"), Err(Errno::PERM));
        assert_eq!(xattr_change(b"system.posix_acl_access"), Err(Errno::OPNOTSUPP));
        assert_eq!(xattr_look(b"security.selinux"), Err(Errno::NODATA));
        assert_eq!(xattr_look(b"user.note"), Ok(()));
    }

    #[test]
    fn flags_that_lead_elsewhere_do_not_reach_the_host() {
        // O_CREAT|O_EXCL|O_TRUNC|O_APPEND|O_DIRECT|O_NOATIME|O_PATH|O_TMPFILE
        let all = 0o100 | 0o200 | 0o1000 | 0o2000 | 0o40_000 | 0o1_000_000 | 0o10_000_000;
        assert_eq!(host_open_flags(all | 2), Ok(2));
        assert_eq!(host_open_flags(0o4_010_001), Ok(0o4_010_001));
        assert_eq!(host_open_flags(3), Err(Errno::INVAL));
    }
}
