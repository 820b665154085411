//! The admission service as `serve` wires it, over Secrets in memory, with everything that the reviews need in place.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use ecr_admission::admit::{self, Admission, Webhook};
use ecr_admission::clock::{Clock, add};
use ecr_admission::commands::assembly::{Assembly, Outside, Rules, assemble};
use ecr_admission::config::DEFAULT_SECRET_NAME;
use ecr_admission::event::NoEvents;
use ecr_admission::policy::Policy;
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::secret::{PodImages, PodPage, SecretStore, StoreError};
use ecr_admission::token::{MintError, Token, TokenKey, TokenSource};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio::time::Instant;

use super::review;

/// A service for which every benchmarked review is warm.
pub(crate) struct Service {
    pub(crate) admission: Arc<Admission>,
    pub(crate) clock: Clock,
    store: Arc<MemorySecretStore>,
}

impl Service {
    /// Wires it, with its metrics in `registry`, and lets it make the Secret.
    pub(crate) async fn warm(registry: &mut Registry) -> anyhow::Result<Self> {
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
            admission, index, ..
        } = assemble(
            settings,
            Rules::everywhere(Policy::default()),
            &clock,
            outside,
            registry,
        );
        store.attach(index);
        let service = Self {
            admission,
            clock,
            store,
        };
        for bytes in review::SIZES {
            let body = review::body(bytes);
            let deadline = service.clock.monotonic() + Duration::from_secs(10);
            let answer = service.admission.answer(Webhook::Mutating, &body, deadline);
            let answer = answer.await.context("the review was not taken")?;
            let text = String::from_utf8_lossy(&answer);
            ensure!(text.contains("JSONPatch"), "not injected: {text}");
            service.answer_now(&body, deadline)?;
        }
        Ok(service)
    }

    /// Answers without waiting for anything, as the warm path does.
    pub(crate) fn answer_now(&self, body: &[u8], deadline: Instant) -> anyhow::Result<Vec<u8>> {
        let answer = self.admission.answer(Webhook::Mutating, body, deadline);
        let answer = answer.now_or_never().context("this review is not warm")?;
        Ok(answer?)
    }

    /// Keeps the index sure of itself, as the watch of a cluster does.
    pub(crate) async fn keep_watch(&self) {
        self.store.bookmarks().await;
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
