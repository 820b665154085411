//! The order of things.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::{Entry, FoundSecret, Installation, Kind, Object, Outcome};
use crate::clock::Clock;
use crate::secret::{StoreError, StoreErrorKind};
use crate::service_account::{Edited, Goal, ServiceAccountStore, reach};

/// How often Pods are counted while they end.
const COUNTING: Duration = Duration::from_secs(1);
/// The most objects that are changed at once.
const AT_ONCE: usize = 8;
/// How often a Secret that changed in the meantime is looked at again.
const ATTEMPTS: u32 = 5;

const FOREIGN: &str =
    "it lacks the label app.kubernetes.io/managed-by=ecr-admission, so it is not ours";

/// What is to go.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What the installation is called, which its objects are named after.
    pub name: String,
    /// Where it is installed.
    pub namespace: String,
    /// The name of both webhook configurations.
    pub webhook_configuration: String,
    /// The name of the pull Secret in every namespace.
    pub secret: String,
    /// Secrets beside it, by namespace and name: the one with our certificate, those of repositories.
    pub more_secrets: Vec<(String, String)>,
    /// Whether Secrets stay, so that Pods that run can pull again until their tokens expire.
    pub keep_secrets: bool,
    /// Whether nothing is changed, and only told what would be.
    pub dry_run: bool,
    /// How long Pods of ours may take to end.
    pub patience: Duration,
}

/// Takes away what is chosen, and tells of each object what became of it. What comes after replicas that do not end is not
/// touched: they would put it back. Whatever is gone already is not told, so a second run tells nothing.
pub async fn clean(
    choice: &Choice,
    installation: &dyn Installation,
    accounts: &dyn ServiceAccountStore,
    clock: &Clock,
    tell: &mut (dyn FnMut(Entry) + Send),
) {
    let run = Run {
        choice,
        installation,
        accounts,
        clock,
    };
    for (kind, name) in [
        (
            Kind::MutatingWebhookConfiguration,
            choice.webhook_configuration.clone(),
        ),
        (
            Kind::ValidatingWebhookConfiguration,
            choice.webhook_configuration.clone(),
        ),
        (
            Kind::MutatingAdmissionPolicyBinding,
            format!("{}-inject", choice.name),
        ),
        (
            Kind::MutatingAdmissionPolicy,
            format!("{}-inject", choice.name),
        ),
    ] {
        let object = Object {
            kind,
            namespace: String::new(),
            name,
        };
        let gone = run.delete(&object).await;
        run.tell(object, gone, tell);
    }
    if run.end_replicas(tell).await {
        run.free_service_accounts(tell).await;
        run.delete_secrets(tell).await;
    }
}

struct Run<'a> {
    choice: &'a Choice,
    installation: &'a dyn Installation,
    accounts: &'a dyn ServiceAccountStore,
    clock: &'a Clock,
}

type Tell<'a> = &'a mut (dyn FnMut(Entry) + Send);

impl Run<'_> {
    async fn delete(&self, object: &Object) -> Result<bool, StoreError> {
        if self.choice.dry_run {
            return self.installation.exists(object).await;
        }
        self.installation.delete(object).await
    }

    /// Tells of an object that was there, or could not be dealt with.
    fn tell(&self, object: Object, outcome: Result<bool, StoreError>, tell: Tell<'_>) {
        let outcome = match outcome {
            Ok(false) => return,
            Ok(true) if self.choice.dry_run => Outcome::Would,
            Ok(true) => Outcome::Done,
            Err(error) => Outcome::Failed(error),
        };
        tell(Entry { object, outcome });
    }

    /// Whether no replica is left that could put anything back.
    async fn end_replicas(&self, tell: Tell<'_>) -> bool {
        let object = Object {
            kind: Kind::Deployment,
            namespace: self.choice.namespace.clone(),
            name: self.choice.name.clone(),
        };
        let scaled = if self.choice.dry_run {
            self.installation.exists(&object).await
        } else {
            self.scale_to_zero(&object).await
        };
        let ended = scaled.is_ok();
        self.tell(object, scaled, tell);
        ended
    }

    async fn scale_to_zero(&self, object: &Object) -> Result<bool, StoreError> {
        if !self.installation.scale_to_zero(object).await? {
            return Ok(false);
        }
        let give_up = self.clock.monotonic() + self.choice.patience;
        loop {
            let left = self.installation.pods(object).await?;
            if left == 0 {
                return Ok(true);
            }
            if self.clock.monotonic() >= give_up {
                let message = format!(
                    "{left} Pods of Deployment {:?} in namespace {:?} have not ended within {:?}; nothing else was taken \
                     away, since they would put it back: end them and try again",
                    object.name, object.namespace, self.choice.patience
                );
                let kind = StoreErrorKind::TimedOut;
                return Err(StoreError { kind, message });
            }
            tokio::time::sleep(COUNTING).await;
        }
    }

    async fn free_service_accounts(&self, tell: Tell<'_>) {
        let object = |namespace: String, name: String| Object {
            kind: Kind::ServiceAccount,
            namespace,
            name,
        };
        let found = match self.installation.service_accounts().await {
            Ok(found) => found,
            Err(error) => {
                return self.tell(object(String::new(), "*".to_owned()), Err(error), tell);
            }
        };
        let free = async |(namespace, name): (String, String)| {
            let freed = self.free(&namespace, &name).await;
            (object(namespace, name), freed)
        };
        let mut freed = stream::iter(found).map(free).buffer_unordered(AT_ONCE);
        while let Some((object, freed)) = freed.next().await {
            self.tell(object, freed, tell);
        }
    }

    async fn free(&self, namespace: &str, name: &str) -> Result<bool, StoreError> {
        if self.choice.dry_run {
            return Ok(true);
        }
        let (goal, at) = (Goal::Unnamed, (namespace, name));
        let edited = reach(goal, self.accounts, self.clock, at, &self.choice.secret).await?;
        Ok(matches!(edited, Edited::Changed(_)))
    }

    async fn delete_secrets(&self, tell: Tell<'_>) {
        let pull = (None, self.choice.secret.as_str());
        let more = self.choice.more_secrets.iter();
        let more = more.map(|(namespace, name)| (Some(namespace.as_str()), name.as_str()));
        for (namespace, name) in std::iter::once(pull).chain(more) {
            let object = |namespace: &str| Object {
                kind: Kind::Secret,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            let found = match self.installation.secrets(namespace, name).await {
                Ok(found) => found,
                Err(error) => {
                    self.tell(object(namespace.unwrap_or_default()), Err(error), tell);
                    continue;
                }
            };
            let delete = async |found: FoundSecret| {
                let object = object(&found.namespace);
                (object, self.delete_secret(found).await)
            };
            let mut deleted = stream::iter(found).map(delete).buffer_unordered(AT_ONCE);
            while let Some((object, outcome)) = deleted.next().await {
                if let Some(outcome) = outcome {
                    tell(Entry { object, outcome });
                }
            }
        }
    }

    /// `None` for one that is gone already.
    async fn delete_secret(&self, mut found: FoundSecret) -> Option<Outcome> {
        let mut attempt = 1;
        loop {
            if !found.metadata.owned {
                return Some(Outcome::Kept(FOREIGN));
            }
            if self.choice.keep_secrets {
                return Some(Outcome::Kept("Secrets are to be kept"));
            }
            if self.choice.dry_run {
                return Some(Outcome::Would);
            }
            match self.installation.delete_secret(&found).await {
                Ok(()) => return Some(Outcome::Done),
                Err(error) if error.kind == StoreErrorKind::NotFound => return None,
                Err(error) if error.kind == StoreErrorKind::Conflict && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Some(Outcome::Failed(error)),
            }
            let again = self
                .installation
                .secrets(Some(&found.namespace), &found.name);
            match again.await {
                Ok(again) => found = again.into_iter().next()?,
                Err(error) => return Some(Outcome::Failed(error)),
            }
        }
    }
}
