//! Which secrets a session carries, and whether each can be had.
//!
//! A secret is read when a session that carries it begins, before anything is shared, and is
//! forgotten when the session process has it. Nothing of it is written down: a daemon that adopts
//! the session later does not know it, and need not.

use std::path::PathBuf;

use futures_util::future::join_all;
use ringfence_model::api::{Finding, Verdict};
use ringfence_model::config::Config;
use ringfence_model::error::ApiError;
use ringfence_model::name::SecretName;
use ringfence_model::secret::{Delivery, Secret, SecretView};

use super::{Daemon, failed, profiles};
use crate::secrets::{self, Carried};
use crate::session::{SecretVariable, SpecBytes};

impl Daemon {
    /// Reads secrets, side by side.
    ///
    /// # Errors
    /// The first one that cannot be had; none of the others goes anywhere then.
    pub(super) async fn read_secrets(
        &self,
        config: &Config,
        names: &[SecretName],
    ) -> Result<Vec<Carried>, ApiError> {
        let wanted: Vec<&Secret> =
            config.secrets.iter().filter(|secret| names.contains(&secret.name)).collect();
        let folders = self.folder_paths()?;
        join_all(wanted.iter().map(|secret| secrets::read(secret, &folders)))
            .await
            .into_iter()
            .collect()
    }

    fn folder_paths(&self) -> Result<Vec<PathBuf>, ApiError> {
        let file = self.store.folders().map_err(failed)?;
        Ok(file.folders.into_iter().map(|folder| folder.path).collect())
    }

    /// Every secret of the configuration: where it is read and who carries it, never its value.
    ///
    /// # Errors
    /// When the configuration is broken.
    pub fn secret_views(&self) -> Result<Vec<SecretView>, ApiError> {
        let config = self.config.current()?;
        let all = profiles::all(&config);
        let view = |secret: &Secret| SecretView {
            name: secret.name.clone(),
            source: secret.source.to_string(),
            variable: secret.variable.clone(),
            profiles: all
                .iter()
                .filter(|profile| profile.secrets.contains(&secret.name))
                .map(|profile| profile.name.clone())
                .collect(),
        };
        Ok(config.secrets.iter().map(view).collect())
    }

    /// Whether each secret can be had, for `doctor`.
    pub(super) async fn check_secrets(&self) -> Vec<Finding> {
        let (Ok(config), Ok(folders)) = (self.config.current(), self.folder_paths()) else {
            return Vec::new();
        };
        let check = async |secret: &Secret| {
            let (verdict, message, cure) = match secrets::read(secret, &folders).await {
                Ok(_) => {
                    let message = format!("{} can be had from {}", secret.name, secret.source);
                    (Verdict::Good, message, None)
                }
                Err(error) => (Verdict::Bad, error.message, error.hints.into_iter().next()),
            };
            Finding { check: "secret".into(), verdict, message, cure }
        };
        join_all(config.secrets.iter().map(check)).await
    }
}

/// What is handed to the session process.
pub(super) fn variables(carried: Vec<Carried>) -> Vec<SecretVariable> {
    let variable = |one: Carried| match one.delivery {
        Delivery::Environment(name) => {
            SecretVariable { variable: SpecBytes::new(name), value: one.value }
        }
    };
    carried.into_iter().map(variable).collect()
}
