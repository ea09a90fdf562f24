//! Whether the host's processor really helps: measured, not guessed.
//!
//! Owns: the measurement and its memory. `/dev/kvm` can exist and be useless: under
//! some nested hosts QEMU aborts on its first register, under others a guest runs slower
//! than emulated. So QEMU itself runs a tiny program with the very accelerator and
//! processor that a machine would get: a loop, then port writes that each leave the guest.
//! Must not: hang, whatever KVM does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::qemu::EngineError;
use crate::host::command::{CommandError, Program};

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor, by the kernel's KVM.
    Kvm,
    /// QEMU's own emulation: works everywhere, several times slower.
    Tcg,
}

/// The choice and, for emulation, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The choice.
    pub accelerator: Accelerator,
    /// Why the processor is not used; shown in status and doctor.
    pub warning: Option<String>,
    /// The boot of the host that this holds for.
    boot_id: String,
    /// The QEMU it was measured with.
    qemu: String,
}

/// A sound KVM needs about a fifth of a second, most of it QEMU's own start.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the program's exit port makes QEMU return.
const DONE: i32 = 0x21;

const LOOPS: u32 = 100_000_000;
const EXITS: u32 = 5_000;

/// The accelerator for this boot of the host, measured at most once per boot and QEMU version.
///
/// # Errors
/// When the answer cannot be kept in `memory`, a file.
pub async fn accelerator(
    binary: &str,
    qemu: &str,
    boot_id: &str,
    memory: &Path,
) -> Result<Measured, EngineError> {
    if let Some(known) = remembered(memory)
        && known.boot_id == boot_id
        && known.qemu == qemu
    {
        return Ok(known);
    }
    let warning = measure(binary).await?;
    let accelerator = if warning.is_none() { Accelerator::Kvm } else { Accelerator::Tcg };
    let found = Measured { accelerator, warning, boot_id: boot_id.into(), qemu: qemu.into() };
    remember(memory, &found).map_err(EngineError::file(memory))?;
    Ok(found)
}

fn remembered(memory: &Path) -> Option<Measured> {
    serde_json::from_slice(&std::fs::read(memory).ok()?).ok()
}

fn remember(memory: &Path, found: &Measured) -> std::io::Result<()> {
    let directory = memory.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(found)?)?;
    file.as_file().sync_all()?;
    file.persist(memory)?;
    Ok(())
}

/// Why KVM is not to be used; `None` when it works and is fast.
async fn measure(binary: &str) -> Result<Option<String>, EngineError> {
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return Ok(Some(
            "no hardware virtualisation (/dev/kvm is missing): machines are emulated and slow"
                .into(),
        ));
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(device) {
        return Ok(Some(format!(
            "hardware virtualisation cannot be used (/dev/kvm: {error}): machines are emulated and slow; \
             add yourself to the group `kvm` and log in again"
        )));
    }
    let directory = tempfile::tempdir().map_err(EngineError::file(std::env::temp_dir()))?;
    let program: PathBuf = directory.path().join("program");
    std::fs::write(&program, firmware(LOOPS, EXITS)).map_err(EngineError::file(&program))?;
    let run = Program::new(binary)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-m", "16M"])
        .args(["-accel", "kvm", "-cpu", "host", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .arg("-bios")
        .arg(program)
        .deadline(PATIENCE)
        .run()
        .await;
    match run {
        Ok(finished) if finished.status.code() == Some(DONE) => Ok(None),
        Ok(_) => Ok(Some(
            "hardware virtualisation does not work here (QEMU gives up with KVM): machines are emulated and slow".into(),
        )),
        Err(CommandError::Deadline { .. }) => Ok(Some(
            "hardware virtualisation is slower than emulation here: machines are emulated".into(),
        )),
        Err(error) => Err(error.into()),
    }
}

/// A firmware image of 64 KiB, whose last 16 bytes are where a processor starts: jump to its first byte, count `loops`
/// down, write `exits` times to a port that nobody owns, then write to the port that ends QEMU.
fn firmware(loops: u32, exits: u32) -> Vec<u8> {
    let mut code = Vec::new();
    // mov ecx, loops; again: dec ecx; jnz again
    code.extend([0x66, 0xb9]);
    code.extend(loops.to_le_bytes());
    code.extend([0x66, 0x49, 0x75, 0xfc]);
    // mov ecx, exits; again: out 0x80, al; dec ecx; jnz again
    code.extend([0x66, 0xb9]);
    code.extend(exits.to_le_bytes());
    code.extend([0xe6, 0x80, 0x66, 0x49, 0x75, 0xfa]);
    // mov al, 0x10; out 0xf4, al; hlt; jmp to the hlt
    code.extend([0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd]);
    let mut image = vec![0xf4; 64 << 10];
    image[..code.len()].copy_from_slice(&code);
    // jmp f000:0000
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program itself, under emulation, which works everywhere.
    #[tokio::test]
    async fn the_program_ends_qemu_with_its_own_code() {
        let directory = tempfile::tempdir().expect("directory");
        let program = directory.path().join("program");
        std::fs::write(&program, firmware(1000, 10)).expect("written");
        let finished = Program::new("qemu-system-x86_64")
            .args(["-nodefaults", "-display", "none", "-M", "q35", "-m", "16M", "-accel", "tcg"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
            .arg(&program)
            .deadline(Duration::from_secs(60))
            .run()
            .await
            .expect("runs");
        assert_eq!(finished.status.code(), Some(DONE));
    }

    #[tokio::test]
    async fn the_answer_is_remembered_for_this_boot_only() {
        let directory = tempfile::tempdir().expect("directory");
        let memory = directory.path().join("state/accelerator.json");
        let known = Measured {
            accelerator: Accelerator::Kvm,
            warning: None,
            boot_id: "boot-1".into(),
            qemu: "10.0".into(),
        };
        remember(&memory, &known).expect("kept");
        let same = accelerator("no-such-qemu", "10.0", "boot-1", &memory).await.expect("known");
        assert_eq!(same, known);
        // Another boot measures again: here without a QEMU, or without KVM.
        let other = accelerator("no-such-qemu", "10.0", "boot-2", &memory).await;
        assert!(other.is_err() || other.is_ok_and(|found| found.boot_id == "boot-2"));
    }
}
