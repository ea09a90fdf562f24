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
        let told = async {
            let share = self.writing_share(name, folder)?;
            shares::guard(&self.share_sockets(name, &share).control, watch).await
        };
        told.await.map_err(|error| machine_error(name, error))
    }

    /// The alarm that stands in the share of a folder; one that cannot be asked has none to
    /// tell, and is noticed elsewhere.
    pub(in crate::supervisor) async fn alarm(
        &self,
        name: &MachineName,
        folder: &FolderId,
    ) -> Option<Alarm> {
        let share = self.writing_share(name, folder).ok()?;
        shares::alarm(&self.share_sockets(name, &share).control).await.ok().flatten()
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
        let told = async {
            let share = self.writing_share(name, folder)?;
            shares::resume(&self.share_sockets(name, &share).control).await
        };
        told.await.map_err(|error| machine_error(name, error))
    }
}
