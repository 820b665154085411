//! The chart's values that docs/aws.md gives for each platform.

use serde_json::Value;

use super::of_kind;
use crate::harness::helm::Helm;
use crate::harness::in_shared_cluster;

const DOCUMENT: &str = include_str!("../../../docs/aws.md");

/// The blocks of YAML, as text and as what they say.
fn examples() -> Vec<(String, Value)> {
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
fn every_example_of_an_identity_is_rendered_into_pods_that_the_api_server_takes() {
    in_shared_cluster(async |cluster| {
        let examples = examples();
        assert!(examples.len() >= 6, "{}", examples.len());
        for (number, (text, example)) in examples.into_iter().enumerate() {
            let file = cluster.plane.folder.join(format!("identity-{number}.yaml"));
            std::fs::write(&file, &text).unwrap();
            let objects = Helm::Four
                .render(&["--values", file.to_str().unwrap()])
                .await;
            let mut deployment = of_kind(&objects, "Deployment").unwrap().clone();
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
            let account = of_kind(&objects, "ServiceAccount").unwrap();
            let role = &example["serviceAccount"]["annotations"]["eks.amazonaws.com/role-arn"];
            assert_eq!(
                &account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
                role
            );

            deployment["metadata"]["namespace"] = "default".into();
            let path =
                "/apis/apps/v1/namespaces/default/deployments?dryRun=All&fieldValidation=Strict";
            let taken = cluster.plane.api.create(path, &deployment).await;
            assert!(taken.is_ok(), "{text}\n{taken:?}");
        }
    });
}
