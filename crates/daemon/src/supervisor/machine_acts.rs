//! Machines on request: made, started, stopped, suspended, removed.

use ringfence_model::admit::{Reach, Traces};
use ringfence_model::api::{MachineAct, MachineRequest, limits_or};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::machine::Machine;
use ringfence_model::name::MachineName;
use ringfence_model::profile::Network;
use ringfence_model::status::MachineStatus;

use super::report::Report;
use super::{Daemon, failed, profiles, run};
use crate::gateways::NetworkRule;
use crate::host::clock;

impl Daemon {
    /// Makes a machine that belongs to no folder. It does not start.
    ///
    /// # Errors
    /// When the name is taken or the profile unknown.
    pub async fn create_machine(
        &self,
        request: &MachineRequest,
        report: &Report,
    ) -> Result<MachineStatus, ApiError> {
        let config = self.config.current()?;
        let recipe = match &request.profile {
            Some(name) => profiles::find(&config, name)?.recipe,
            None => None,
        };
        {
            let _one_at_a_time = self.admission.lock().await;
            let machines = self.store.machines().map_err(failed)?;
            if machines.iter().any(|machine| machine.name == request.name) {
                return Err(ApiError::new(
                    ErrorKind::Failed,
                    format!("machine {} exists already", request.name),
                )
                .hint(format!("ringfence machine start {}", request.name)));
            }
            let machine = Machine {
                name: request.name.clone(),
                limits: limits_or(self.default_limits(&config), request),
                image: String::new(),
                recipe,
                slot: run::free_slot(&machines),
                folder: None,
                seen: Traces::default(),
                because: None,
                created: clock::now(),
            };
            self.store.set_machine(&machine).map_err(failed)?;
        }
        self.ensure_image(&request.name, report).await?;
        self.machine_status(&request.name).await
    }

    /// Starts, stops, restarts or suspends a machine.
    ///
    /// # Errors
    /// When a session is at work in it, or the engine fails.
    pub async fn machine_act(
        &self,
        name: &MachineName,
        act: MachineAct,
        report: &Report,
    ) -> Result<MachineStatus, ApiError> {
        self.machines.record(name)?;
        if act != MachineAct::Start {
            self.without_sessions(name)?;
        }
        match act {
            MachineAct::Start => self.start_machine(name, report).await?,
            MachineAct::Stop => self.machines.stop(name, report).await?,
            MachineAct::Suspend => self.machines.suspend(name, report).await?,
            MachineAct::Restart => {
                self.machines.stop(name, report).await?;
                self.start_machine(name, report).await?;
            }
        }
        self.machine_status(name).await
    }

    async fn start_machine(&self, name: &MachineName, report: &Report) -> Result<(), ApiError> {
        self.ensure_image(name, report).await?;
        let runtime = self.store.runtime(name).map_err(failed)?;
        let default = self.config.last_good().defaults.network;
        // What it last had; a new one gets the default, never more than a profile would.
        let default = default.unwrap_or_default().min(Network::Internet);
        let network = runtime.network.unwrap_or(default);
        let machine = self.machines.record(name)?;
        // Nor more than what lies on its disk may reach.
        let reach = self.network_of(&machine, &Reach::new(network, &runtime.allow))?;
        let rule = NetworkRule { network: reach.network, allow: reach.allow };
        self.machines.ensure_running(name, &rule, report).await.map(drop)
    }

    /// Ends a machine and removes its disk and keys.
    ///
    /// # Errors
    /// When a session is at work in it.
    pub async fn delete_machine(
        &self,
        name: &MachineName,
        report: &Report,
    ) -> Result<(), ApiError> {
        self.machines.record(name)?;
        self.without_sessions(name)?;
        self.machines.delete(name, report).await
    }

    /// What a machine printed.
    ///
    /// # Errors
    /// When there is no such machine.
    pub async fn machine_log(&self, name: &MachineName) -> Result<Vec<u8>, ApiError> {
        self.machines.log(name).await
    }

    fn without_sessions(&self, name: &MachineName) -> Result<(), ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        match sessions.iter().find(|session| session.machine == *name && !session.state.is_final())
        {
            None => Ok(()),
            Some(session) => Err(ApiError::new(
                ErrorKind::Failed,
                format!(
                    "session {} ({}) is at work in machine {name}",
                    session.id, session.profile
                ),
            )
            .hint(format!("end it first: ringfence session stop {}", session.id))),
        }
    }

    async fn machine_status(&self, name: &MachineName) -> Result<MachineStatus, ApiError> {
        let folders = self.store.folders().map_err(failed)?.folders;
        let statuses = self.machines.statuses(&folders).await?;
        statuses.into_iter().find(|status| status.name == *name).ok_or_else(|| {
            ApiError::new(ErrorKind::Failed, format!("machine {name} was removed meanwhile"))
        })
    }
}
