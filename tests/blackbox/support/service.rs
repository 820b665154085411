//! The service as `serve` wires it, over doubles of the outside systems, with simulated time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::admit::{Admission, NotAReview, Settings, Timing, Webhook};
use ecr_admission::assembly::{Assembly, METRICS_PREFIX, Outside, Rules, assemble};
use ecr_admission::clock::Clock;
use ecr_admission::event::EventSink;
use ecr_admission::namespace::NamespaceIndex;
use ecr_admission::policy::{OnFailure, Policy};
use ecr_admission::pull_secret::State;
use ecr_admission::rulebook::Rulebook;
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::secret::{
    PodImages, PodPage, PodSight, SecretIndex, SecretStore, StoreError, StoreErrorKind,
    StoredSecret,
};
use ecr_admission::server::body::{BodyLimits, BodyReader};
use ecr_admission::server::routes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::events::Noticeboard;
use super::mint::Mint;
use super::review::wire;
use super::store::CountingStore;

/// The Secret's name, and a namespace that is left alone.
pub(crate) const SECRET: &str = "ecr-pull-secret";
pub(crate) const EXCLUDED: &str = "kube-system";
/// When every simulation starts.
pub(crate) const START: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// Pods a page.
const PAGE: usize = 100;
/// What the API server waits for, less the margin.
const PATIENCE: Duration = Duration::from_millis(4_500);

pub(crate) fn denying() -> Policy {
    Policy {
        on_failure: OnFailure::Deny,
        ..Policy::default()
    }
}

/// One replica.
pub(crate) struct Service {
    pub(crate) clock: Clock,
    pub(crate) store: Arc<CountingStore>,
    pub(crate) tokens: Arc<Mint>,
    pub(crate) pods: Arc<Pods>,
    pub(crate) events: Arc<Noticeboard>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) index: Arc<SecretIndex>,
    pub(crate) namespaces: Arc<NamespaceIndex>,
    pub(crate) rulebook: Arc<Rulebook>,
    registry: Registry,
}

impl Service {
    /// With its own cluster and a watch that is alive.
    pub(crate) fn new() -> Self {
        Self::with(Policy::default())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        let clock = Clock::simulated(START, 1);
        // The API server's clock does not follow the jumps of ours.
        let cluster = Arc::new(MemorySecretStore::new(Clock::simulated(START, 2)));
        let service = Self::over(policy, &clock, &cluster);
        let watched = Arc::clone(&cluster);
        tokio::spawn(async move { watched.bookmarks().await });
        service
    }

    /// A replica whose watch of the cluster is alive as long as somebody runs the cluster's bookmarks.
    pub(crate) fn over(policy: Policy, clock: &Clock, cluster: &Arc<MemorySecretStore>) -> Self {
        let service = Self::unwatched(policy, clock, cluster);
        cluster.attach(Arc::clone(&service.index) as Arc<_>);
        service
    }

    /// A replica whose watch has never been heard of.
    pub(crate) fn unwatched(
        policy: Policy,
        clock: &Clock,
        cluster: &Arc<MemorySecretStore>,
    ) -> Self {
        Self::ruled(Rules::everywhere(policy), clock, cluster)
    }

    /// The same under policies that may tell namespaces apart.
    pub(crate) fn ruled(rules: Rules, clock: &Clock, cluster: &Arc<MemorySecretStore>) -> Self {
        let mut registry = Registry::default();
        let store = Arc::new(CountingStore::new(Arc::clone(cluster)));
        let tokens = Arc::new(Mint::new(clock));
        let pods = Arc::new(Pods::default());
        let board = Arc::new(Noticeboard::default());
        let outside = Outside {
            store: Arc::clone(&store) as Arc<dyn SecretStore>,
            pods: Arc::clone(&pods) as Arc<dyn PodImages>,
            events: Arc::clone(&board) as Arc<dyn EventSink>,
            tokens: Arc::clone(&tokens) as Arc<_>,
        };
        let settings = Settings {
            secret: SECRET.to_owned(),
            excluded_namespaces: [EXCLUDED.to_owned()].into(),
        };
        let ours = registry.sub_registry_with_prefix(METRICS_PREFIX);
        let Assembly {
            admission,
            index,
            namespaces,
            rulebook,
            events,
            tokens: _,
        } = assemble(settings, rules, clock, outside, ours);
        tokio::spawn(async move { events.run().await });
        Self {
            clock: clock.clone(),
            store,
            tokens,
            pods,
            events: board,
            admission,
            index,
            namespaces,
            rulebook,
            registry,
        }
    }

    pub(crate) fn router(&self) -> Router {
        routes::router(&self.admission, &BodyReader::new(BodyLimits::default()))
    }

    /// Starts the work that no admission asks for.
    pub(crate) fn look_after(&self) {
        let admission = Arc::clone(&self.admission);
        tokio::spawn(async move { admission.keep_fresh().await });
        let admission = Arc::clone(&self.admission);
        tokio::spawn(async move { admission.reconcile().await });
    }

    /// What the mutating webhook answers.
    pub(crate) async fn mutate(&self, review: &Value) -> Answered {
        let body = wire(review);
        self.answer(Webhook::Mutating, body.as_bytes())
            .await
            .unwrap()
    }

    /// What the validating webhook answers.
    pub(crate) async fn validate(&self, review: &Value) -> Answered {
        let body = wire(review);
        self.answer(Webhook::Validating, body.as_bytes())
            .await
            .unwrap()
    }

    /// The answer to a review of which only the front was kept, or why there is none.
    pub(crate) fn answer_too_large(&self, front: &[u8]) -> Result<Vec<u8>, NotAReview> {
        let timing = Timing::within(PATIENCE, &self.clock);
        self.admission.answer_too_large(front, timing)
    }

    /// The answer to any bytes, or why there is none.
    pub(crate) async fn answer(&self, webhook: Webhook, body: &[u8]) -> Result<Answered, String> {
        let timing = Timing::within(PATIENCE, &self.clock);
        let answer = self.admission.answer(webhook, body, timing).await;
        answer
            .map(|answer| Answered::of(&answer))
            .map_err(|error| error.to_string())
    }

    pub(crate) fn secret(&self, namespace: &str) -> Option<StoredSecret> {
        self.store.cluster.get(namespace).now_or_never()?.unwrap()
    }

    /// The registries that a namespace's Secret has an entry for, by its state; the data must say the same.
    pub(crate) fn registries(&self, namespace: &str) -> Vec<String> {
        let Some(secret) = self.secret(namespace) else {
            return Vec::new();
        };
        let state = State::parse(secret.metadata.state.as_deref());
        let of_state: Vec<String> = state.entries.keys().cloned().collect();
        let document = secret.docker_config.unwrap();
        let document: Value = serde_json::from_slice(document.expose_secret()).unwrap();
        let auths = document["auths"].as_object().unwrap();
        assert_eq!(of_state, auths.keys().cloned().collect::<Vec<_>>());
        of_state
    }

    /// The password that a namespace's Secret holds for a registry.
    pub(crate) fn password(&self, namespace: &str, registry: &str) -> Option<String> {
        let document = self.secret(namespace)?.docker_config?;
        let document: Value = serde_json::from_slice(document.expose_secret()).unwrap();
        let auth = document["auths"][registry]["auth"].as_str()?;
        let pair = String::from_utf8(BASE64_STANDARD.decode(auth).unwrap()).unwrap();
        Some(pair.strip_prefix("AWS:").unwrap().to_owned())
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// The `response` of an AdmissionReview.
#[derive(Debug)]
pub(crate) struct Answered(pub(crate) Value);

impl Answered {
    /// Reads an answer as strictly as the API server does (pkg/admission/plugin/webhook/request/admissionreview.go).
    pub(crate) fn of(body: &[u8]) -> Self {
        let review: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        let response = &review["response"];
        assert!(response["uid"].is_string() && response["allowed"].is_boolean());
        assert_eq!(
            response["patch"].is_string(),
            response["patchType"] == "JSONPatch"
        );
        assert!(response["patch"].is_null() || response["allowed"] == true);
        Self(response.clone())
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.0["allowed"].as_bool().unwrap()
    }

    pub(crate) fn uid(&self) -> &str {
        self.0["uid"].as_str().unwrap()
    }

    /// The refusal.
    pub(crate) fn message(&self) -> &str {
        assert!(!self.is_allowed(), "{:?}", self.0);
        assert_eq!(self.0["status"]["code"], 403);
        self.0["status"]["message"].as_str().unwrap()
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        let warnings = self.0["warnings"].as_array().into_iter().flatten();
        warnings.map(|warning| warning.as_str().unwrap()).collect()
    }

    pub(crate) fn patch(&self) -> Option<json_patch::Patch> {
        let patch = BASE64_STANDARD.decode(self.0["patch"].as_str()?).unwrap();
        Some(serde_json::from_slice(&patch).unwrap())
    }

    /// Allowed, injected, and nothing to say.
    pub(crate) fn is_injected(&self) -> bool {
        self.is_allowed() && self.patch().is_some() && self.warnings().is_empty()
    }

    /// Allowed, unchanged, and nothing to say.
    pub(crate) fn is_untouched(&self) -> bool {
        self.is_allowed()
            && self.patch().is_none()
            && self.warnings().is_empty()
            && self.0["auditAnnotations"].is_null()
    }

    /// What a person reads, one line each.
    pub(crate) fn said(&self) -> String {
        if self.is_allowed() {
            let warnings = self.warnings().into_iter();
            let audit = self.0["auditAnnotations"]["findings"].as_str();
            let lines = warnings
                .map(|warning| format!("warning: {warning}"))
                .chain(audit.map(|audit| format!("audit: {audit}")));
            lines.collect::<Vec<_>>().join("\n")
        } else {
            format!("refused: {}", self.message())
        }
    }
}

/// The Pods that run: images that are the same in every namespace, and Pods of one.
#[derive(Default)]
pub(crate) struct Pods {
    sights: Mutex<Vec<PodSight>>,
    images: Mutex<Vec<String>>,
    fails: AtomicBool,
    asked: AtomicUsize,
}

impl Pods {
    /// These run from now on.
    pub(crate) fn run(&self, images: impl IntoIterator<Item = impl Into<String>>) {
        *self.images.lock().unwrap() = images.into_iter().map(Into::into).collect();
    }

    /// These Pods are there from now on.
    pub(crate) fn show(&self, sights: impl IntoIterator<Item = PodSight>) {
        *self.sights.lock().unwrap() = sights.into_iter().collect();
    }

    /// Whether the list cannot be had.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    /// How often it was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl PodImages for Pods {
    fn images<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let images = if self.fails.load(Ordering::Relaxed) {
            Err(StoreError {
                kind: StoreErrorKind::Unavailable,
                message: "cannot list Pods".to_owned(),
            })
        } else {
            Ok(self.images.lock().unwrap().clone())
        };
        ready(images).boxed()
    }

    fn page<'a>(
        &'a self,
        namespace: Option<&'a str>,
        next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<PodPage, StoreError>> {
        Box::pin(async move {
            let mut images = self.images(namespace.unwrap_or_default()).await?;
            let all = self.sights.lock().unwrap().clone();
            let all = all.into_iter();
            let mut pods: Vec<PodSight> = all
                .filter(|pod| namespace.is_none_or(|namespace| namespace == pod.namespace))
                .skip(next.map_or(0, |next| next.parse().unwrap()))
                .collect();
            let more = pods.len() > PAGE;
            pods.truncate(PAGE);
            let behind = next.map_or(0, |next| next.parse::<usize>().unwrap()) + PAGE;
            if let Some(namespace) = namespace {
                pods.push(PodSight {
                    namespace: namespace.to_owned(),
                    images: std::mem::take(&mut images),
                    pull_secrets: vec![SECRET.to_owned()],
                    ..PodSight::default()
                });
            }
            Ok(PodPage {
                pods,
                next: more.then(|| behind.to_string()),
            })
        })
    }
}
