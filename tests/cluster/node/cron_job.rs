//! The CronJob of manifests/cron-job, run by a kubelet with our image and its own rights.

use serde_json::json;

use super::machine::{AWS, Machine};
use super::pods::{create, in_phase, new_image, spec};
use super::registry::OPEN_HOST;
use super::{in_machine, patiently};
use crate::harness::namespace::{Namespace, REGISTRY, SECRET};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/cron-job");

async fn install(machine: &Machine, namespace: &Namespace<'_>) {
    let file = |name: &str| format!("{MANIFESTS}/{name}");
    namespace
        .kubectl_ok(&["create", "-f", &file("secret.yaml")], "")
        .await;
    namespace
        .kubectl_ok(&["apply", "-f", &file("account.yaml")], "")
        .await;
    let cron_job = std::fs::read_to_string(file("cron-job.yaml")).unwrap();
    let ours = format!("image: {OPEN_HOST}/ecr-admission:v1");
    let cron_job = cron_job.replace("image: ecr-admission:0.1.0", &ours);
    assert!(cron_job.contains(&ours));
    namespace.kubectl_ok(&["apply", "-f", "-"], &cron_job).await;
    let endpoint = format!(
        "AWS_ENDPOINT_URL_ECR=http://{AWS}:{}",
        machine.ecr.address.port()
    );
    let literals = [
        endpoint.as_str(),
        "AWS_ACCESS_KEY_ID=AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY=example",
        "AWS_EC2_METADATA_DISABLED=true",
    ]
    .map(|literal| format!("--from-literal={literal}"));
    let secret = ["create", "secret", "generic", "ecr-refresh-aws"];
    let secret: Vec<&str> = secret
        .into_iter()
        .chain(literals.iter().map(String::as_str))
        .collect();
    namespace.kubectl_ok(&secret, "").await;
}

#[test]
fn the_cron_job_makes_the_secret_with_which_a_kubelet_pulls() {
    in_machine(async |machine| {
        let namespace = Namespace::create(&machine.plane, "cron-job").await;
        install(machine, &namespace).await;
        assert!(namespace.passwords().await.is_empty());
        let job = ["create", "job", "--from=cronjob/ecr-refresh", "now"];
        namespace.kubectl_ok(&job, "").await;
        patiently("the Job is complete", async || {
            let path = format!("/apis/batch/v1/namespaces/{}/jobs/now", namespace.name);
            namespace.api().get(&path).await.unwrap()["status"]["succeeded"] == 1
        })
        .await;
        let passwords = namespace.passwords().await;
        assert!(
            passwords.iter().any(|(registry, _)| registry == REGISTRY),
            "{passwords:?}"
        );

        let image = new_image(machine, "cron-job").await;
        let mut pod = spec(&image);
        pod["imagePullSecrets"] = json!([{"name": SECRET}]);
        create(&namespace, "app", &pod).await.unwrap();
        in_phase(&namespace, "app", "Running").await;
    });
}
