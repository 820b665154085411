//! Replaces the served pair when its source has a new one, and watches its dates.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::certificate::error::PairError;
use crate::certificate::expiry::Expiry;
use crate::certificate::metrics::{CertificateMetrics, Reload};
use crate::certificate::pair::{CertificatePair, PemPair};
use crate::certificate::resolver::ServedCertificate;
use crate::clock::Clock;
use crate::health::{Condition, Health};

/// Where certificate pairs come from.
pub trait CertificateSource: Send + Sync + 'static {
    /// Reads the pair as it is now, unchecked. The error is a sentence that names what cannot be read.
    fn read(&self) -> BoxFuture<'_, Result<PemPair, PairError>>;
}

/// How a [`Reloader`] works.
#[derive(Clone, Debug)]
pub struct ReloaderOptions {
    /// How often the source is read.
    pub interval: Duration,
    /// Names that a pair must cover to be served; see [`CertificatePair::check`].
    pub expected_names: Vec<String>,
}

impl Default for ReloaderOptions {
    fn default() -> Self {
        Self {
            // The kubelet itself needs about a minute to bring a changed Secret into a volume, so a few seconds add
            // little; reading two small files costs nothing.
            interval: Duration::from_secs(5),
            expected_names: Vec::new(),
        }
    }
}

/// Polls a source by contents and keeps [`ServedCertificate`] at its newest good pair.
///
/// By contents, since the kubelet replaces a symlink two levels up: a watch on the file itself sees the first change
/// at most, and modification times prove nothing in a volume.
#[derive(Debug)]
pub struct Reloader<S> {
    source: S,
    served: Arc<ServedCertificate>,
    options: ReloaderOptions,
    clock: Clock,
    metrics: CertificateMetrics,
    expiry: Expiry,
    reload: Condition,
}

impl<S: CertificateSource> Reloader<S> {
    /// Reads and checks the first pair: without a good one there is nothing to serve, so that is an error to start with.
    pub async fn start(
        source: S,
        options: ReloaderOptions,
        clock: Clock,
        health: &Health,
        metrics: CertificateMetrics,
    ) -> Result<Self, PairError> {
        let pem = source.read().await?;
        let pair = CertificatePair::check(&pem, &options.expected_names, clock.now())?;
        log_served("serving certificate", &pair);
        let reloader = Self {
            source,
            served: ServedCertificate::new(pair),
            options,
            expiry: Expiry::new(clock.clone(), health, metrics.clone()),
            clock,
            metrics,
            reload: health.condition("certificate-reload"),
        };
        reloader.check_dates();
        Ok(reloader)
    }

    /// What is served, for the listener.
    pub fn served(&self) -> Arc<ServedCertificate> {
        Arc::clone(&self.served)
    }

    /// Polls for ever.
    pub async fn run(&self) {
        let mut last_refusal = None;
        loop {
            sleep(self.options.interval).await;
            self.poll(&mut last_refusal).await;
        }
    }

    /// One look at the source. A pair that is refused is tried again at each look, since time may cure it: it was
    /// caught half-written, or is not valid yet. It is logged and counted once.
    async fn poll(&self, last_refusal: &mut Option<PairError>) {
        match self.changed().await {
            Ok(changed) => {
                *last_refusal = None;
                self.reload.clear();
                if let Some(pair) = changed {
                    log_served("serving a new certificate", &pair);
                    self.served.replace(pair);
                    self.metrics.reloaded(Reload::Loaded);
                }
            }
            Err(refusal) => {
                self.reload
                    .set(format!("{refusal}; the previous certificate stays in use"));
                if last_refusal.as_ref() != Some(&refusal) {
                    warn!(reason = %refusal, "new certificate refused, the previous one stays in use");
                    self.metrics.reloaded(Reload::Refused);
                    *last_refusal = Some(refusal);
                }
            }
        }
        self.check_dates();
    }

    /// The source's pair where it differs from the served one and may be served.
    async fn changed(&self) -> Result<Option<CertificatePair>, PairError> {
        let pem = self.source.read().await?;
        let served = self.served.current();
        if served.is_some_and(|served| served.fingerprint == pem.fingerprint()) {
            return Ok(None);
        }
        let now = self.clock.now();
        CertificatePair::check(&pem, &self.options.expected_names, now).map(Some)
    }

    fn check_dates(&self) {
        if let Some(served) = self.served.current() {
            self.expiry.check(&served, None);
        }
    }
}

pub(crate) fn log_served(what: &str, pair: &CertificatePair) {
    info!(names = pair.names.join(","), not_after = %pair.not_after, "{what}");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::certificate::development::DevelopmentCa;

    const DAY: Duration = Duration::from_hours(24);

    /// Delivers what the test last put into it.
    #[derive(Clone)]
    struct Shelf(Arc<Mutex<Result<PemPair, PairError>>>);

    impl CertificateSource for Shelf {
        fn read(&self) -> BoxFuture<'_, Result<PemPair, PairError>> {
            let pair = self.0.lock().unwrap().clone();
            Box::pin(async { pair })
        }
    }

    struct Bench {
        clock: Clock,
        health: Health,
        registry: Registry,
        shelf: Shelf,
        reloader: Arc<Reloader<Shelf>>,
    }

    impl Bench {
        async fn new() -> Self {
            let clock = Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), 1);
            let (health, mut registry) = (Health::default(), Registry::default());
            let metrics = CertificateMetrics::register(&mut registry);
            let shelf = Shelf(Arc::new(Mutex::new(Ok(made(clock.now())))));
            let options = ReloaderOptions::default();
            let reloader = Reloader::start(shelf.clone(), options, clock.clone(), &health, metrics);
            let reloader = Arc::new(reloader.await.unwrap());
            let running = Arc::clone(&reloader);
            tokio::spawn(async move { running.run().await });
            Self {
                clock,
                health,
                registry,
                shelf,
                reloader,
            }
        }

        fn put(&self, pair: Result<PemPair, PairError>) {
            *self.shelf.0.lock().unwrap() = pair;
        }

        fn served(&self) -> crate::certificate::pair::Fingerprint {
            self.reloader.served.current().unwrap().fingerprint
        }

        fn page(&self) -> String {
            let mut page = String::new();
            encode(&mut page, &self.registry).unwrap();
            page
        }

        fn trouble(&self, name: &str) -> bool {
            let report = self.health.report();
            let line = report.lines.iter().find(|line| line.name == name).unwrap();
            line.state != crate::health::State::Ok
        }
    }

    fn made(now: Timestamp) -> PemPair {
        let ca = DevelopmentCa::new(now, &["a.test".to_owned()], DAY);
        ca.unwrap().pem_pair()
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_pair_is_served_within_one_interval() {
        let bench = Bench::new().await;
        let next = made(bench.clock.now());
        let fingerprint = next.fingerprint();
        assert_ne!(bench.served(), fingerprint);
        bench.put(Ok(next));
        sleep(Duration::from_secs(6)).await;
        assert_eq!(bench.served(), fingerprint);
        assert!(
            bench
                .page()
                .contains("certificate_reloads_total{result=\"loaded\"} 1")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_pair_keeps_the_last_good_one_degrades_and_is_counted_once() {
        let bench = Bench::new().await;
        let good = bench.served();
        let old_key = made(bench.clock.now()).key;
        bench.put(Ok(PemPair {
            key: old_key,
            ..made(bench.clock.now())
        }));
        sleep(Duration::from_mins(1)).await;
        assert_eq!(bench.served(), good);
        assert!(bench.trouble("certificate-reload"));
        assert!(bench.health.report().ready);
        assert!(
            bench
                .page()
                .contains("certificate_reloads_total{result=\"refused\"} 1")
        );

        bench.put(Err(PairError::new("tls.crt cannot be read")));
        sleep(Duration::from_secs(6)).await;
        assert_eq!(bench.served(), good);
        assert!(
            bench
                .page()
                .contains("certificate_reloads_total{result=\"refused\"} 2")
        );

        bench.put(Ok(made(bench.clock.now())));
        sleep(Duration::from_secs(6)).await;
        assert!(!bench.trouble("certificate-reload"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_is_not_valid_yet_is_served_when_it_is() {
        let bench = Bench::new().await;
        let good = bench.served();
        let in_an_hour = crate::clock::add(bench.clock.now(), Duration::from_hours(1));
        let early = made(in_an_hour);
        let fingerprint = early.fingerprint();
        bench.put(Ok(early));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(bench.served(), good);
        sleep(Duration::from_hours(1)).await;
        assert_eq!(bench.served(), fingerprint);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unrenewed_certificate_degrades_and_makes_unready_in_its_last_minute_only() {
        let bench = Bench::new().await;
        let not_after = bench
            .reloader
            .served
            .current()
            .unwrap()
            .not_after
            .as_second();
        let gauge = format!("certificate_not_after_timestamp_seconds {not_after}");
        assert!(bench.page().contains(&gauge), "{}", bench.page());
        assert!(!bench.trouble("certificate-expiry"));
        sleep(Duration::from_hours(22)).await;
        assert!(bench.trouble("certificate-expiry") && bench.health.report().ready);
        sleep(Duration::from_mins(118)).await;
        assert!(bench.health.report().ready, "two minutes before the end");
        sleep(Duration::from_mins(1) + Duration::from_secs(6)).await;
        assert!(!bench.health.report().ready);

        bench.put(Ok(made(bench.clock.now())));
        sleep(Duration::from_secs(6)).await;
        assert!(bench.health.report().ready && !bench.trouble("certificate-expiry"));
    }

    #[tokio::test]
    async fn without_a_good_first_pair_there_is_no_start() {
        let shelf = Shelf(Arc::new(Mutex::new(Err(PairError::new(
            "tls.crt cannot be read",
        )))));
        let health = Health::default();
        let started = Reloader::start(
            shelf,
            ReloaderOptions::default(),
            Clock::system(),
            &health,
            CertificateMetrics::default(),
        );
        assert_eq!(
            started.await.err().unwrap().to_string(),
            "tls.crt cannot be read"
        );
    }
}
