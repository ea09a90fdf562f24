//! The guard against mass loss in a machine's shares: told when sessions begin, asked for
//! alarms, told of somebody's decision.

use ringfence_model::error::ApiError;
use ringfence_model::name::{FolderId, MachineName};
use ringfence_share::{Alarm, Watch};

use super::{Machines, machine_error};
use crate::shares;

impl Machines {
    /// Tells the share of a folder what counts as mass loss from now on.
    ///
    /// # Errors
    /// When the share does not obey: nothing may be written then.
    pub(in crate::supervisor) async fn guard_share(
        &self,
        name: &MachineName,
        folder: &FolderId,
        watch: Option<Watch>,
    ) -> Result<(), ApiError> {
        let told = shares::guard(&self.writing_control(name, folder)?, watch).await;
        told.map_err(|error| machine_error(name, error))
    }

    /// The alarm that stands in the share of a folder; one that cannot be asked has none to
    /// tell, and is noticed elsewhere.
    pub(in crate::supervisor) async fn alarm(
        &self,
        name: &MachineName,
        folder: &FolderId,
    ) -> Option<Alarm> {
        let control = self.writing_control(name, folder).ok()?;
        shares::alarm(&control).await.ok().flatten()
    }

    /// Lets a share go on that its guard stopped.
    ///
    /// # Errors
    /// When the share does not obey.
    pub(in crate::supervisor) async fn resume_share(
        &self,
        name: &MachineName,
        folder: &FolderId,
    ) -> Result<(), ApiError> {
        let told = shares::resume(&self.writing_control(name, folder)?).await;
        told.map_err(|error| machine_error(name, error))
    }
}
