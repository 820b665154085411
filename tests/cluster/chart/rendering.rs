//! What the chart is rendered to, without an API server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ecr_admission::config::{Config, read_file};
use serde_json::{Value, json};

use super::{FIXTURES, INJECT_ALWAYS, OFFERED, identity, of_kind};
use crate::harness::control_plane::{kubernetes, said};
use crate::harness::helm::{Helm, notes, render_manifests, values};
use crate::harness::install::{documents, manifest};
use crate::harness::run;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");

/// The text of each manifest in a folder.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let manifests = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    manifests.map(|path| (name(&path), text(&path))).collect()
}

fn by_identity(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let objects = objects.into_iter();
    objects.map(|object| (identity(&object), object)).collect()
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        render_manifests(folder.path()).await;
        let mut committed = texts(Path::new(MANIFESTS));
        for by_hand in ["kustomization.yaml", "namespace.yaml"] {
            assert!(committed.remove(by_hand).is_some());
        }
        let rendered = texts(folder.path());
        let names = |texts: &BTreeMap<String, String>| texts.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&committed), names(&rendered), "run manifests/render");
        for (name, text) in rendered {
            assert!(
                committed[&name] == text,
                "{name} is old: run manifests/render"
            );
        }
    });
}

#[test]
fn kustomize_builds_the_objects_of_the_chart_and_their_namespace() {
    run(async {
        let (kubectl, home) = (kubernetes("kubectl"), std::env::temp_dir());
        let built = said(&kubectl, &["kustomize", MANIFESTS], [("HOME", &home)], "").await;
        assert!(built.ok, "{}", built.err);
        let mut expected = Helm::Four.render(&[]).await;
        expected.extend(manifest("namespace.yaml"));
        assert_eq!(by_identity(documents(&built.out)), by_identity(expected));
    });
}

#[test]
fn helm_3_and_4_render_the_same() {
    run(async {
        for name in FIXTURES.into_iter().chain([INJECT_ALWAYS]) {
            let file = values(name);
            let [three, four] = Helm::ALL.map(|helm| {
                let file = &file;
                async move { by_identity(helm.render(&["--values", file]).await) }
            });
            assert_eq!(three.await, four.await, "{name}");
        }
    });
}

#[test]
fn the_program_takes_every_configuration_that_is_rendered() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        for name in FIXTURES {
            let objects = Helm::Four.render(&["--values", &values(name)]).await;
            let map = of_kind(&objects, "ConfigMap").unwrap();
            let text = map["data"]["config.yaml"].as_str().unwrap();
            std::fs::write(&path, text).unwrap();
            let config = Config::new(read_file(&path).unwrap());
            assert!(config.is_ok(), "{name}: {config:?}");
            if name == "everything" {
                insta::assert_snapshot!(text.trim_end());
            }
        }
    });
}

#[test]
fn only_a_bundle_that_was_given_is_rendered() {
    run(async {
        for name in FIXTURES.into_iter().chain([INJECT_ALWAYS]) {
            let objects = Helm::Four.render(&["--values", &values(name)]).await;
            let bundles = json!(objects).to_string().matches("caBundle\":").count();
            // That of each webhook.
            assert_eq!(bundles, if name == "files" { 3 } else { 0 }, "{name}");
        }
    });
}

#[test]
fn only_where_certificates_are_self_managed_is_there_a_right_to_keep_them() {
    run(async {
        let certificates: BTreeSet<String> = ["certificates.yaml", "ca-bundle-policy.yaml"]
            .into_iter()
            .flat_map(manifest)
            .map(|object| identity(&object))
            .collect();
        for name in ["cert-manager", "issuer", "files"] {
            let objects = Helm::Four.render(&["--values", &values(name)]).await;
            let made: BTreeSet<String> = objects.iter().map(identity).collect();
            assert!(made.is_disjoint(&certificates), "{name}");
            let policy = of_kind(&objects, "ValidatingAdmissionPolicy").unwrap();
            assert!(!policy.to_string().contains("kubernetes.io/tls"), "{name}");
        }
    });
}

#[test]
fn the_policy_that_injects_is_there_where_the_api_server_has_its_kind() {
    run(async {
        for (arguments, expected) in [
            (&[][..], false),
            (&OFFERED[..], true),
            (&["--set", "injectPolicy.mode=Always"], true),
            (
                &[&OFFERED[..], &["--set", "injectPolicy.mode=Never"]].concat(),
                false,
            ),
        ] {
            for helm in Helm::ALL {
                let objects = helm.render(arguments).await;
                for kind in ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"] {
                    let found = of_kind(&objects, kind).is_some();
                    assert_eq!(found, expected, "{helm:?} {arguments:?}");
                }
            }
        }
    });
}

#[test]
fn the_notes_say_what_to_do_next() {
    run(async {
        insta::assert_snapshot!("notes", notes(&[]).await);
        let file = values("everything");
        insta::assert_snapshot!("notes-everything", notes(&["--values", &file]).await);
        let file = values("files");
        insta::assert_snapshot!("notes-files", notes(&["--values", &file]).await);
    });
}
