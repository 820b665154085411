//! What runs beside the listeners, restarted whenever it fails.

use std::sync::Arc;
use std::time::Duration;

use super::policies::{Policies, known};
use crate::admit::Admission;
use crate::assembly::Assembly;
use crate::aws::EcrTokenSource;
use crate::clock::Clock;
use crate::config::Config;
use crate::health::{Condition, Gate, Health};
use crate::kubernetes::{Cluster, Pace, Watch, watch_namespaces, watch_secrets};
use crate::server::supervise::Supervisor;

/// How often what is degraded is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// The mirrors of Secrets and namespaces: unready until each has been filled once.
pub(super) fn fill_mirrors(
    supervisor: &mut Supervisor,
    config: &Config,
    cluster: &Cluster,
    assembly: &Assembly,
    clock: &Clock,
    health: &Health,
) {
    let secrets = watch_secrets(
        cluster.watches.clone(),
        &config.secret_name,
        Arc::clone(&assembly.index) as Arc<_>,
        clock.clone(),
        Pace::default(),
    );
    let namespaces = watch_namespaces(
        cluster.watches.clone(),
        Arc::clone(&assembly.namespaces) as Arc<_>,
        clock.clone(),
        Pace::default(),
    );
    let listed = |index| Some(health.gate(index, "waiting for the first list"));
    let name = "secret-watch";
    let condition = health.condition(name);
    spawn_watch(supervisor, name, secrets, listed("secret-index"), condition);
    let name = "namespace-watch";
    let condition = health.condition(name);
    spawn_watch(
        supervisor,
        name,
        namespaces,
        listed("namespace-index"),
        condition,
    );
}

/// What goes on without any admission: it waits until the policies are known.
pub(super) fn look_after(
    supervisor: &mut Supervisor,
    assembly: &Assembly,
    policies: &Policies,
    health: &Health,
) {
    let admission = Arc::clone(&assembly.admission);
    let tokens = health.condition("ecr-tokens");
    let healing = health.condition("waiting-namespaces");
    let parts = (admission, tokens, healing);
    supervisor.spawn("health", parts, |(admission, tokens, healing)| async move {
        observe(&admission, &tokens, &healing).await;
    });
    let parts = (Arc::clone(&assembly.admission), policies.book());
    supervisor.spawn("refresh", parts.clone(), |(admission, book)| async move {
        known(book).await;
        admission.keep_fresh().await;
    });
    supervisor.spawn("reconcile", parts, |(admission, book)| async move {
        known(book).await;
        admission.reconcile().await;
    });
    let events = Arc::clone(&assembly.events);
    supervisor.spawn("events", events, |events| async move { events.run().await });
}

/// Credentials may come from the network; the first admission should not be the one that waits for them.
pub(super) fn warm_up(source: Arc<EcrTokenSource>) {
    tokio::spawn(async move {
        if let Err(error) = source.warm_up().await {
            tracing::warn!(%error, "no AWS credentials yet");
        }
    });
}

/// Runs a watch, and tells of its state. Without it synced once, the process is unready if there is a gate.
pub(super) fn spawn_watch<T: Send + Sync + 'static>(
    supervisor: &mut Supervisor,
    name: &'static str,
    watch: Watch<T>,
    synced: Option<Gate>,
    broken: Condition,
) {
    let mut state = watch.state();
    supervisor.spawn(name, Arc::new(watch), |watch| async move {
        watch.run().await;
    });
    tokio::spawn(async move {
        loop {
            let now = state.borrow_and_update().clone();
            match &now.broken {
                Some((_, reason)) => broken.set(reason),
                None => broken.clear(),
            }
            match (&synced, now.broken) {
                (Some(gate), _) if now.synced => gate.release(),
                (Some(gate), Some((_, reason))) => {
                    gate.hold(format!("waiting for the first list: {reason}"));
                }
                _ => {}
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Keeps the conditions that nobody reports by himself.
async fn observe(admission: &Admission, tokens: &Condition, healing: &Condition) {
    loop {
        match admission.token_trouble() {
            Some(reason) => tokens.set(reason),
            None => tokens.clear(),
        }
        match admission.healing() {
            0 => healing.clear(),
            waiting => healing.set(format!(
                "{waiting} namespaces wait for a pull Secret that could not be made yet"
            )),
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}
