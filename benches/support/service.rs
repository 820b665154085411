//! The admission service as `serve` wires it, over Secrets in memory, with everything that the reviews need in place.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use ecr_admission::admit::{self, Admission, Timing, Webhook};
use ecr_admission::assembly::{Assembly, Outside, Rules, assemble};
use ecr_admission::clock::{Clock, add};
use ecr_admission::config::DEFAULT_SECRET_NAME;
use ecr_admission::event::NoEvents;
use ecr_admission::namespace::{Namespace, NamespaceIndex};
use ecr_admission::policy::{Labels, Policy, PolicySet, PolicyVersion};
use ecr_admission::rulebook::{LiveReads, PolicyVersions};
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::secret::{PodImages, PodPage, SecretStore, StoreError};
use ecr_admission::token::{MintError, Token, TokenKey, TokenSource};
use ecr_admission::watch::Mirror;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use prometheus_client::registry::Registry;
use secrecy::SecretString;

use super::{review, tenants};

/// A service for which every benchmarked review is warm.
pub(crate) struct Service {
    pub(crate) admission: Arc<Admission>,
    pub(crate) clock: Clock,
    store: Arc<MemorySecretStore>,
}

impl Service {
    /// Wires it, with its metrics in `registry`, and lets it make the Secret.
    pub(crate) async fn warm(registry: &mut Registry) -> anyhow::Result<Self> {
        let (service, _) = Self::wire(Rules::everywhere(Policy::default()), registry);
        let bodies = review::SIZES.map(review::body);
        service.warm_up(&bodies).await?;
        Ok(service)
    }

    /// The same under these policies, with all namespaces of `tenants` known and the Secrets of the first `admitting` made.
    pub(crate) async fn of_tenants(policies: PolicySet, admitting: usize) -> anyhow::Result<Self> {
        let rules = Rules {
            tell_apart: !policies.is_empty(),
            policies,
            live: Arc::new(Tenants),
        };
        let (service, namespaces) = Self::wire(rules, &mut Registry::default());
        for number in 0..tenants::NAMESPACES {
            let (name, labels) = tenants::namespace(number);
            namespaces.apply(&name, labelled(labels));
        }
        let bodies: Vec<Vec<u8>> = (0..admitting).map(review::of_tenant).collect();
        service.warm_up(&bodies).await?;
        Ok(service)
    }

    fn wire(rules: Rules, registry: &mut Registry) -> (Self, Arc<NamespaceIndex>) {
        let clock = Clock::system();
        let store = Arc::new(MemorySecretStore::new(clock.clone()));
        let outside = Outside {
            store: Arc::clone(&store) as Arc<dyn SecretStore>,
            pods: Arc::new(NoPods),
            events: Arc::new(NoEvents),
            tokens: Arc::new(Tokens(clock.clone())),
        };
        let settings = admit::Settings {
            secret: DEFAULT_SECRET_NAME.to_owned(),
            excluded_namespaces: ["kube-system".to_owned()].into(),
        };
        let Assembly {
            admission,
            index,
            namespaces,
            ..
        } = assemble(settings, rules, &clock, outside, registry);
        store.attach(index);
        let service = Self {
            admission,
            clock,
            store,
        };
        (service, namespaces)
    }

    async fn warm_up(&self, bodies: &[Vec<u8>]) -> anyhow::Result<()> {
        for body in bodies {
            let timing = Timing::within(Duration::from_secs(10), &self.clock);
            let answer = self.admission.answer(Webhook::Mutating, body, timing);
            let answer = answer.await.context("the review was not taken")?;
            let text = String::from_utf8_lossy(&answer);
            let clean = text.contains("JSONPatch") && !text.contains("warnings");
            ensure!(clean, "not injected, or not without a warning: {text}");
            self.answer_now(body)?;
        }
        Ok(())
    }

    /// Answers without waiting for anything, as the warm path does.
    pub(crate) fn answer_now(&self, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let timing = Timing::within(Duration::from_secs(10), &self.clock);
        let answer = self.admission.answer(Webhook::Mutating, body, timing);
        let answer = answer.now_or_never().context("this review is not warm")?;
        Ok(answer?)
    }

    /// Keeps the index sure of itself, as the watch of a cluster does.
    pub(crate) async fn keep_watch(&self) {
        self.store.bookmarks().await;
    }
}

/// The cluster, whose mirror lags behind nothing.
struct Tenants;

impl LiveReads for Tenants {
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Namespace, StoreError>> {
        let number = name.rsplit('-').next().and_then(|text| text.parse().ok());
        let (_, labels) = tenants::namespace(number.unwrap_or_default());
        ready(Ok(labelled(labels))).boxed()
    }

    fn policy<'a>(
        &'a self,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>> {
        ready(Ok(None)).boxed()
    }
}

fn labelled(labels: Labels) -> Namespace {
    Namespace {
        labels: Arc::new(labels),
        ..Namespace::default()
    }
}

struct Tokens(Clock);

impl TokenSource for Tokens {
    fn mint<'a>(&'a self, _key: &'a TokenKey) -> BoxFuture<'a, Result<Token, MintError>> {
        let now = self.0.now();
        let password = SecretString::from("0".repeat(1_800));
        let token = Token::new(password, now, add(now, Duration::from_hours(12)));
        ready(Ok(token)).boxed()
    }
}

struct NoPods;

impl PodImages for NoPods {
    fn images<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn page<'a>(
        &'a self,
        _namespace: Option<&'a str>,
        _next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<PodPage, StoreError>> {
        ready(Ok(PodPage::default())).boxed()
    }
}
