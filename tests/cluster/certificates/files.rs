//! Certificates in files, in the layout in which the kubelet brings a Secret of cert-manager into a Pod.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use super::{CONFIGURATIONS, client, pods, register_for};
use crate::ecr::EcrDouble;
use crate::harness::install::{Cluster, apply, service};
use crate::harness::namespace::Namespace;
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::wire::Wire;
use crate::harness::{eventually, in_shared_cluster};
use crate::pki::TestCa;
use crate::volume::Volume;

const NAME: &str = "mounted.ecr-admission.svc";
const CONFIGURATION: &str = "zz-mounted";

struct Bench<'a> {
    cluster: &'a Cluster,
    namespace: &'a Namespace<'a>,
    webhook: &'a Webhook,
    wire: &'a Wire,
}

impl Bench<'_> {
    /// Gives the configuration a `caBundle`, and waits until the API server has connected by it.
    async fn trust(&self, authorities: &[&TestCa]) {
        let plane = &self.cluster.plane;
        // One more each time: by a bundle that it knows, the API server would go on with its open connection.
        let all = authorities.iter().map(|ca| ca.pem());
        let bundle: String = all.chain([TestCa::new().pem()]).collect();
        let before = self.wire.connections();
        let client: Value = client(plane, "mounted", self.wire.port, &bundle).await;
        register_for(self.namespace, plane, CONFIGURATION, client).await;
        eventually("the API server connects anew", async || {
            self.wire.connections() > before
        })
        .await;
    }

    async fn reloads(&self, result: &str, count: u64) {
        let series = format!("ecr_admission_certificate_reloads_total{{result=\"{result}\"");
        eventually(result, async || {
            self.webhook.counted(&series).await >= count
        })
        .await;
    }
}

#[test]
fn a_mounted_secret_is_rotated_as_the_kubelet_does_it_and_no_call_fails() {
    in_shared_cluster(async |cluster| {
        let plane = &cluster.plane;
        // Long before it is needed: the first call must find it.
        apply(plane, vec![service("mounted")]).await;
        let (first, second) = (TestCa::new(), TestCa::new());
        let [cert, key] = first.server_pem(NAME);
        let mut volume = Volume::new(&cert, &key);
        let settings = Settings::files(&volume.path(""));
        let settings =
            settings.with(["--tls-poll=1s".into(), format!("--tls-names={NAME}").into()]);
        let ecr = EcrDouble::start().await;
        let webhook = Webhook::start_with(plane, &ecr, "mounted", settings).await;
        let namespace = Namespace::create(plane, "mounted").await;
        let wire = Wire::to([webhook.address]).await;
        let bench = Bench {
            cluster,
            namespace: &namespace,
            webhook: &webhook,
            wire: &wire,
        };
        let (done, made) = (AtomicBool::new(false), AtomicUsize::new(0));
        let rotating = async {
            bench.trust(&[&first]).await;
            for renewal in 1..=3 {
                let [cert, key] = first.server_pem(NAME);
                volume.update(&cert, &key);
                bench.reloads("loaded", renewal).await;
                bench.trust(&[&first]).await;
            }
            // A new authority: first it is trusted, then served, then trusted alone.
            bench.trust(&[&first, &second]).await;
            let [cert, key] = second.server_pem(NAME);
            volume.update(&cert, &key);
            bench.reloads("loaded", 4).await;
            bench.trust(&[&second]).await;

            let [right, _] = second.server_pem(NAME);
            let [_, other_key] = second.server_pem(NAME);
            for (count, bad) in [
                (1, [right, other_key]),
                (2, ["garbage".to_owned(), "garbage".to_owned()]),
                (3, second.server_pem("another.ecr-admission.svc")),
            ] {
                let [cert, key] = bad;
                volume.update(&cert, &key);
                bench.reloads("refused", count).await;
                assert!(webhook.is_degraded("certificate-reload").await);
                bench.trust(&[&second]).await;
            }
            let [cert, key] = second.server_pem(NAME);
            volume.update(&cert, &key);
            bench.reloads("loaded", 5).await;
            bench.trust(&[&second]).await;
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(rotating, pods(&namespace, &done, &made));
        assert!(!webhook.is_degraded("certificate-reload").await);
        let refused = "ecr_admission_tls_handshake_errors_total";
        assert_eq!(webhook.counted(refused).await, 0);
        assert!(webhook.counted("ecr_admission_admissions_total").await > 0);
    });
}

#[test]
fn the_annotation_for_the_ca_injector_is_applied_and_nothing_else_changes() {
    in_shared_cluster(async |cluster| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/inject-ca.yaml");
        let apply = [
            "apply",
            "--server-side",
            "--field-manager=ecr-admission-inject-ca",
            "-f",
            file,
        ];
        let dry = ["--dry-run=server", "-o", "json"];
        let said = cluster
            .plane
            .kubectl(&[&apply[..], &dry].concat(), "")
            .await;
        assert!(said.ok, "{said:?}");
        let list: Value = serde_json::from_str(&said.out).unwrap();
        let after = list["items"].as_array().unwrap();
        for (path, after) in CONFIGURATIONS.into_iter().zip(after) {
            let before = cluster.plane.api.get(path).await.unwrap();
            assert_eq!(after["webhooks"], before["webhooks"]);
            let injected = &after["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
            assert_eq!(injected, "ecr-admission/ecr-admission");
        }
    });
}
