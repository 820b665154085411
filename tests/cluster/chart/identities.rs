//! The chart's values that docs/aws.md gives for each platform.

use serde_json::Value;

use super::of_kind;
use crate::harness::control_plane::ControlPlane;
use crate::harness::helm::Helm;
use crate::harness::in_shared_cluster;

const DOCUMENT: &str = include_str!("../../../docs/aws.md");

/// The blocks of YAML, as text and as what they say.
pub(crate) fn examples() -> Vec<(String, Value)> {
    let blocks = DOCUMENT.split("```yaml\n").skip(1);
    let texts = blocks.map(|block| block.split("```").next().unwrap().to_owned());
    let examples = texts.map(|text| (text.clone(), serde_saphyr::from_str(&text).unwrap()));
    examples.collect()
}

/// Whether every item that a value gives is in a list of what was rendered.
fn holds(example: &Value, key: &str, rendered: &Value) -> bool {
    let given = example[key].as_array();
    let mut given = given.into_iter().flatten();
    given.all(|item| rendered.as_array().is_some_and(|list| list.contains(item)))
}

#[test]
fn every_example_is_rendered_into_what_the_api_server_takes() {
    in_shared_cluster(async |cluster| {
        let examples = examples();
        assert!(examples.len() >= 6, "{}", examples.len());
        for (number, (text, example)) in examples.into_iter().enumerate() {
            let file = cluster.plane.folder.join(format!("identity-{number}.yaml"));
            std::fs::write(&file, &text).unwrap();
            let objects = Helm::Four
                .render(&["--values", file.to_str().unwrap()])
                .await;
            let deployment = of_kind(&objects, "Deployment").unwrap();
            let pod = &deployment["spec"]["template"]["spec"];
            let container = &pod["containers"][0];
            for (key, rendered) in [
                ("extraEnv", &container["env"]),
                ("extraEnvFrom", &container["envFrom"]),
                ("extraVolumeMounts", &container["volumeMounts"]),
                ("extraVolumes", &pod["volumes"]),
                ("extraInitContainers", &pod["initContainers"]),
            ] {
                assert!(
                    holds(&example, key, rendered),
                    "{key} of\n{text}\nis not in {rendered}"
                );
            }
            assert_eq!(
                pod["hostNetwork"] == true,
                example["hostNetwork"] == true,
                "{text}"
            );
            let egress = &example["networkPolicy"]["egress"];
            if !egress.is_null() {
                let policy = of_kind(&objects, "NetworkPolicy").unwrap();
                assert_eq!(&policy["spec"]["egress"], egress);
                takes(
                    &cluster.plane,
                    "networking.k8s.io/v1",
                    "networkpolicies",
                    policy,
                )
                .await;
            }
            let account = of_kind(&objects, "ServiceAccount").unwrap();
            let role = &example["serviceAccount"]["annotations"]["eks.amazonaws.com/role-arn"];
            assert_eq!(
                &account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
                role
            );

            takes(&cluster.plane, "apps/v1", "deployments", deployment).await;
        }
    });
}

/// Asserts that the API server would store this object, and knows each of its fields.
async fn takes(plane: &ControlPlane, group: &str, resource: &str, object: &Value) {
    let mut object = object.clone();
    object["metadata"]["namespace"] = "default".into();
    let path =
        format!("/apis/{group}/namespaces/default/{resource}?dryRun=All&fieldValidation=Strict");
    let taken = plane.api.create(&path, &object).await;
    assert!(taken.is_ok(), "{object}\n{taken:?}");
}
