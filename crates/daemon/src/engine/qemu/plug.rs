//! Shares plugged into and out of a running machine.
//!
//! Owns: the spare ports and the order of the commands. Must not: start or know the
//! share's process; it is handed the socket where that process listens.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::engine::qemu::EngineError;
use crate::engine::qemu::argv::SLOTS;
use crate::engine::qemu::machine::Running;
use crate::engine::qemu::qmp::{Qmp, QmpError, connect_short};

/// How long a guest may take to let go of a share.
pub const RELEASES: Duration = Duration::from_secs(10);

/// Which tag is in which port.
#[derive(Debug, Default)]
pub(super) struct Slots([Option<String>; SLOTS as usize]);

impl Slots {
    /// What is plugged into a QEMU that was adopted.
    pub(super) async fn found(qmp: &Qmp) -> Result<Self, EngineError> {
        let mut slots = Self::default();
        for (number, slot) in slots.0.iter_mut().enumerate() {
            let path = format!("/machine/peripheral/{}", device(number));
            let asked = json!({"path": path, "property": "tag"});
            match qmp.execute("qom-get", asked).await {
                Ok(tag) => *slot = Some(tag.as_str().unwrap_or_default().to_owned()),
                Err(QmpError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(slots)
    }

    fn free(&self) -> Option<usize> {
        self.0.iter().position(Option::is_none)
    }

    fn of(&self, tag: &str) -> Option<usize> {
        self.0.iter().position(|slot| slot.as_deref() == Some(tag))
    }
}

fn device(slot: usize) -> String {
    format!("share{slot}")
}

impl Running {
    /// Plugs in the share whose process listens on `socket`. The guest can then mount `tag`
    /// (at most 36 bytes). A tag that is plugged in already stays as it is.
    ///
    /// # Errors
    /// When every port is taken, the share does not listen, or QEMU refuses.
    pub async fn plug(&self, tag: &str, socket: &Path) -> Result<(), EngineError> {
        let mut slots = self.slots.lock().await;
        if slots.of(tag).is_some() {
            return Ok(());
        }
        let slot = slots
            .free()
            .ok_or_else(|| EngineError::NoSlot { machine: self.spec.name.to_string() })?;
        let name = device(slot);
        // The connection is made here and handed over, so that QEMU needs no right to reach the socket.
        let directory = socket.parent().unwrap_or(Path::new("/"));
        let file = socket.file_name().unwrap_or_default().to_string_lossy();
        let stream = connect_short(directory, &file).await.map_err(EngineError::file(socket))?;
        self.qmp.execute_with("getfd", json!({"fdname": name}), stream.as_fd()).await?;
        let address = json!({"type": "fd", "data": {"str": name}});
        let backend = json!({"type": "socket", "data": {"addr": address, "server": false}});
        self.qmp.execute("chardev-add", json!({"id": name, "backend": backend})).await?;
        let added = self
            .qmp
            .execute(
                "device_add",
                json!({
                    "driver": "vhost-user-fs-pci", "id": name, "chardev": name,
                    "bus": format!("slot{slot}"), "tag": tag, "queue-size": 1024,
                }),
            )
            .await;
        if let Err(error) = added {
            let _ = self.qmp.execute("chardev-remove", json!({"id": name})).await;
            return Err(error.into());
        }
        slots.0[slot] = Some(tag.to_owned());
        Ok(())
    }

    /// Takes the share out again and returns once the guest has let go of it.
    ///
    /// # Errors
    /// When the guest keeps it longer than [`RELEASES`], or QEMU refuses.
    pub async fn unplug(&self, tag: &str) -> Result<(), EngineError> {
        let mut slots = self.slots.lock().await;
        let Some(slot) = slots.of(tag) else { return Ok(()) };
        let name = device(slot);
        let mut events = self.qmp.events();
        match self.qmp.execute("device_del", json!({"id": name})).await {
            // Asked before and not yet released: wait for that.
            Ok(_) => {}
            Err(QmpError::Refused { text, .. }) if text.contains("in the process of unplug") => {}
            Err(error) => return Err(error.into()),
        }
        let released = async {
            loop {
                match events.recv().await {
                    Ok(event)
                        if event.name == "DEVICE_DELETED"
                            && event.data["device"] == name.as_str() =>
                    {
                        return Ok(());
                    }
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                        return Err(EngineError::from(QmpError::Closed));
                    }
                }
            }
        };
        tokio::select! {
            ended = released => ended?,
            () = self.qmp.closed() => return Err(QmpError::Closed.into()),
            () = tokio::time::sleep(RELEASES) => return Err(EngineError::Unplug {
                machine: self.spec.name.to_string(),
                tag: tag.to_owned(),
                seconds: RELEASES.as_secs(),
            }),
        }
        self.qmp.execute("chardev-remove", json!({"id": name})).await?;
        slots.0[slot] = None;
        Ok(())
    }

    /// The tags that are plugged in.
    pub async fn plugged(&self) -> Vec<String> {
        self.slots.lock().await.0.iter().flatten().cloned().collect()
    }
}
