//! How long what was once heard from the API server is believed, when nothing more comes: packets are lost, and no connection
//! ends.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::register_patiently;
use super::report::Report;
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Target, install_permissions};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::wire::Wire;
use crate::harness::{eventually, run};

/// Five minutes of silence, less those before the cut: the API server sends a bookmark every minute.
const BELIEVED_AT_LEAST: Duration = Duration::from_mins(3);
/// Far longer than it may be believed, on a busy machine.
const LONGEST: Duration = Duration::from_mins(10);
const BETWEEN_PODS: Duration = Duration::from_secs(2);

#[test]
#[ignore = "a measurement: tests/cluster/run --full stale"]
fn after_a_cut() {
    run(async {
        let mut report = Report::new("stale", "What was heard long ago");
        let plane = ControlPlane::start("stale").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let cable = Wire::to([plane.address()]).await;
        let kubeconfig = plane.kubeconfig_by(cable.port, "ecr-admission", &plane.token().await);
        let settings = Settings::files(&plane.folder).connecting_by(kubeconfig);
        let webhook = Webhook::start_with(&plane, &ecr, "ecr-admission", settings).await;
        register_patiently(&plane, Target::Url(webhook.address)).await;
        let namespace = Namespace::create(&plane, "warm").await;
        eventually("ours is asked", async || {
            let name = format!("probe-{}", fastrand::u64(..));
            let pod = namespace.create_pod(&name, &one_container(IMAGE)).await;
            pod.is_ok_and(|pod| pull_secrets(&pod) == [SECRET])
        })
        .await;
        eventually("the Secret is there", async || namespace.is_served().await).await;
        assert_eq!(warned(&webhook).await, 0);

        cable.cut();
        let cut = Instant::now();
        // What it cannot hear of.
        plane.api.delete(&namespace.secret_path()).await.unwrap();
        let (mut pods, mut degraded) = (0, None);
        while warned(&webhook).await == 0 {
            assert!(
                cut.elapsed() < LONGEST,
                "it believes what it heard long ago"
            );
            let spec = one_container(IMAGE);
            let name = format!("pod-{pods}");
            let pod = namespace.create_pod_patiently(&name, &spec).await.unwrap();
            assert_eq!(pull_secrets(&pod), [SECRET]);
            pods += 1;
            if degraded.is_none() && webhook.is_degraded("secret-watch").await {
                degraded = Some(cut.elapsed());
            }
            sleep(BETWEEN_PODS).await;
        }
        let believed = cut.elapsed();
        assert!(believed > BELIEVED_AT_LEAST, "{believed:?}");
        let degraded = degraded.expect("it was degraded before it stopped to believe");

        cable.mend();
        let mended = Instant::now();
        eventually("the Secret is there again", async || {
            namespace.is_served().await
        })
        .await;
        let served = mended.elapsed();
        eventually("it is well again", async || {
            let (_, page) = webhook.admin("/readyz?verbose").await;
            !page.contains("degraded")
        })
        .await;
        assert_eq!(ecr.calls().len(), 1, "no reason to ask ECR");
        report.line(&format!(
            "\nOne replica and a warm namespace. Every connection to the API server falls silent and stays open, and the Secret is \
             deleted. *Degraded* is told {:.0} s after the cut. For {:.0} s, Pods are answered by what was heard before; then the \
             namespace is read, and since that fails, its Pods are admitted with a warning: {pods} Pods in all, each with the \
             Secret's name. The Secret was there again {:.1} s after the connections were mended, without another Pod, with the \
             token that there was.",
            degraded.as_secs_f64(),
            believed.as_secs_f64(),
            served.as_secs_f64(),
        ));
        report.publish();
    });
}

/// How many Pods it has admitted with a warning.
async fn warned(webhook: &Webhook) -> u64 {
    webhook
        .counted(r#"ecr_admission_admissions_total{operation="create",verdict="warned""#)
        .await
}
