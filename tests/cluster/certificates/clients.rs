//! The API server shows a certificate of its own, by the configuration that certs/ documents.

use serde_json::json;

use super::{client, register_for, trusted_only};
use crate::ecr::EcrDouble;
use crate::harness::install::Cluster;
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::wire::Wire;
use crate::harness::{eventually, in_shared_cluster};
use crate::pki::TestCa;

const CONFIGURATION: &str = "zz-authenticated";

/// A webhook that accepts clients of one authority only, for the Pods of a namespace.
struct Bench<'a> {
    cluster: &'a Cluster,
    namespace: Namespace<'a>,
    webhook: Webhook,
    wire: Wire,
}

impl Bench<'_> {
    /// Has the API server call the Service. A `caBundle` that is new to it makes it connect anew.
    async fn connect_anew(&self) {
        let plane = &self.cluster.plane;
        let bundle = format!("{}{}", plane.ca.ca_pem, TestCa::new().pem());
        let client = client(plane, "ecr-admission", self.wire.port, &bundle).await;
        register_for(&self.namespace, plane, CONFIGURATION, client).await;
    }

    /// Waits until Pods are refused because the webhook cannot be called, and counts why.
    async fn refused(&self, reason: &str) {
        let series = format!("ecr_admission_tls_handshake_errors_total{{reason=\"{reason}\"");
        let before = self.webhook.counted(&series).await;
        eventually(reason, async || {
            let name = format!("refused-{}", fastrand::u32(..));
            let made = self
                .namespace
                .create_pod(&name, &one_container(IMAGE))
                .await;
            let refused = made.is_err_and(|refusal| {
                let message = refusal.message;
                message.contains("failed calling webhook \"pods.ecr-admission.dev\"")
            });
            refused && self.webhook.counted(&series).await > before
        })
        .await;
    }

    /// Waits until Pods are admitted by the webhook.
    async fn admitted(&self) {
        let series = "ecr_admission_admissions_total";
        let before = self.webhook.counted(series).await;
        eventually("a Pod is admitted", async || {
            let name = format!("admitted-{}", fastrand::u32(..));
            let made = self
                .namespace
                .create_pod(&name, &one_container(IMAGE))
                .await;
            let injected = made.is_ok_and(|pod| pull_secrets(&pod) == [SECRET]);
            injected && self.webhook.counted(series).await > before
        })
        .await;
    }
}

#[test]
fn the_api_server_is_served_by_its_certificate_and_refused_and_counted_without_or_with_another() {
    in_shared_cluster(async |cluster| {
        let plane = &cluster.plane;
        let folder = tempfile::tempdir().unwrap();
        let accepted = folder.path().join("clients.crt");
        std::fs::write(&accepted, plane.client_ca.pem()).unwrap();
        let settings = Settings::files(&plane.folder).with([
            "--client-ca".into(),
            accepted.clone().into(),
            "--tls-poll=1s".into(),
        ]);
        let ecr = EcrDouble::start().await;
        let webhook = Webhook::start_with(plane, &ecr, "authenticated", settings).await;
        let bench = Bench {
            cluster,
            namespace: Namespace::create(plane, "authenticated").await,
            wire: Wire::from(plane.authenticated_port, [webhook.address]).await,
            webhook,
        };
        bench.connect_anew().await;
        bench.admitted().await;

        std::fs::write(&accepted, TestCa::new().pem()).unwrap();
        eventually("the new authority counts", async || {
            let log = bench.webhook.process.log();
            log.contains("accepting clients of new authorities")
        })
        .await;
        bench.connect_anew().await;
        bench.refused("client_certificate_refused").await;
        std::fs::write(&accepted, plane.client_ca.pem()).unwrap();
        bench.admitted().await;

        // By URL, under which the API server has no certificate to show.
        let url = format!("https://{}/mutate", bench.webhook.address);
        let by_url = trusted_only(json!({"url": url}), &plane.ca.ca_pem);
        register_for(&bench.namespace, plane, CONFIGURATION, by_url).await;
        bench.refused("client_certificate_missing").await;
    });
}
