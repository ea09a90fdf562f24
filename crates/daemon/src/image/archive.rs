//! Tar archives, written: the few files that are put into a system under construction.
//!
//! Owns: the ustar format as far as plain files need it. Must not: read archives.

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it goes, without a leading slash, at most 100 bytes.
    pub path: &'a str,
    /// Its mode.
    pub mode: u32,
    /// What is in it.
    pub content: &'a [u8],
}

const BLOCK: usize = 512;

/// The archive, owned by root, with no times in it: the same files give the same bytes.
#[must_use]
pub fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut header = [0_u8; BLOCK];
        let name = entry.path.as_bytes();
        let length = name.len().min(100);
        header[..length].copy_from_slice(&name[..length]);
        octal(&mut header[100..108], u64::from(entry.mode));
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
        octal(&mut header[124..136], entry.content.len() as u64);
        octal(&mut header[136..148], 0);
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut header[148..155], sum);
        out.extend_from_slice(&header);
        out.extend_from_slice(entry.content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// An octal number that fills its field up to the final NUL.
fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[..digits]);
    field[digits] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::command::Program;

    #[tokio::test]
    async fn tar_itself_reads_it() {
        let long = vec![b'x'; 1000];
        let archive = tar(&[
            Entry { path: "etc/one", mode: 0o644, content: b"1\n" },
            Entry { path: "usr/lib/two", mode: 0o755, content: &long },
        ]);
        let list =
            Program::new("tar").args(["-tvf", "-", "--numeric-owner"]).input(archive.clone());
        let text = list.check().await.expect("tar reads").text();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..3], ["-rw-r--r--", "0/0", "2"], "{text}");
        assert_eq!(lines[1][..3], ["-rwxr-xr-x", "0/0", "1000"], "{text}");
        let read = Program::new("tar").args(["-xOf", "-", "usr/lib/two"]).input(archive);
        assert_eq!(read.check().await.expect("extracted").stdout, long);
    }
}
