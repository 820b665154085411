//! `ecr-admission check`: what is printed and how it ends, over the library's entry.

use std::fs;
use std::path::{Path, PathBuf};

use ecr_admission::commands::check::{CheckArgs, Format, Outcome, Policies, run};
use ecr_admission::policy::{Action, Policy};

struct Output {
    outcome: Outcome,
    stdout: String,
    stderr: String,
}

impl Output {
    /// All that a terminal shows, and the exit code.
    fn all(&self) -> String {
        let code = self.outcome.exit_code();
        format!("{}-- stderr\n{}-- exit {code}\n", self.stdout, self.stderr)
    }
}

fn check_with(policy: &Policy, format: Format, paths: &[&Path], stdin: &str) -> Output {
    let args = CheckArgs {
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        format,
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let outcome = run(
        &args,
        &Policies::from(policy.clone()),
        &mut stdin.as_bytes(),
        &mut stdout,
        &mut stderr,
    )
    .unwrap();
    Output {
        outcome,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn check(format: Format, path: &str) -> Output {
    check_with(&Policy::default(), format, &[&fixture(path)], "")
}

fn check_stdin(manifest: &str) -> Output {
    check_with(
        &Policy::default(),
        Format::Text,
        &[Path::new("-")],
        manifest,
    )
}

fn fixture(name: &str) -> PathBuf {
    Path::new("./tests/blackbox/fixtures/check").join(name)
}

fn pod(image: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: app\n    image: {image}\n")
}

const GOOD: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1";
const BAD: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app";

#[test]
fn every_kind_of_image_in_every_kind_of_object_gets_its_verdict_with_its_line() {
    insta::assert_snapshot!(check(Format::Text, "workloads.yaml").all(), @r#"
    ./tests/blackbox/fixtures/check/workloads.yaml:12: error: Deployment prod/web, init container wait: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/init" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/init:tag" with the tag you mean [full-reference]
    ./tests/blackbox/fixtures/check/workloads.yaml:17: error: Deployment prod/web, container sidecar: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/sidecar" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/sidecar:tag" with the tag you mean [full-reference]
    ./tests/blackbox/fixtures/check/workloads.yaml:23: error: Deployment prod/web, volume model: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/model" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/model:tag" with the tag you mean [full-reference]
    ./tests/blackbox/fixtures/check/workloads.yaml:44: warning: CronJob nightly-*, container job: image "123456789012.dkr.ecr.xx-new-9.amazonaws.com/job:1" names AWS region xx-new-9, which this version does not know: it is new or misspelt [unknown-region]
    ./tests/blackbox/fixtures/check/workloads.yaml:46: warning: CronJob nightly-*, container again: image "123456789012.dkr.ecr.xx-new-9.amazonaws.com/job:1" names AWS region xx-new-9, which this version does not know: it is new or misspelt [unknown-region]
    ./tests/blackbox/fixtures/check/workloads.yaml:54: error: PodTemplate template, container a: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example/a:1" looks like ECR but is not: registries in "eu-west-1" end in "amazonaws.com", not in "amazonaws.com.evil.example"; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:1" [lookalike-host]
    ./tests/blackbox/fixtures/check/workloads.yaml:56: error: PodTemplate template, ephemeral container debug: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag" [missing-repository]
    -- stderr
    checked 1 file, 4 documents, 3 Pod specs, 8 images: 5 violations, 2 warnings, 0 unreadable
    not checked, no Pods known in these kinds: 1 ConfigMap
    -- exit 1
    "#);
}

#[test]
fn json_names_the_object_and_counts() {
    insta::assert_snapshot!(check(Format::Json, "helm.yaml").stdout, @r#"
    {
      "findings": [
        {
          "file": "./tests/blackbox/fixtures/check/helm.yaml",
          "line": 10,
          "column": 14,
          "level": "error",
          "rule": "full-reference",
          "message": "Pod web, container app: image \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop\" has neither a tag nor a digest; write \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:tag\" with the tag you mean (from shop/templates/web.yaml)",
          "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop",
          "apiVersion": "v1",
          "kind": "Pod",
          "namespace": null,
          "name": "web",
          "slot": "container",
          "slotName": "app",
          "source": "shop/templates/web.yaml"
        }
      ],
      "summary": {
        "files": 1,
        "documents": 2,
        "podSpecs": 1,
        "images": 1,
        "violations": 1,
        "warnings": 0,
        "notes": 0,
        "unreadable": 0,
        "unknownKinds": {
          "Service": 1
        },
        "notObjects": 0,
        "exitCode": 1
      }
    }
    "#);
}

#[test]
fn github_shows_annotations() {
    insta::assert_snapshot!(check(Format::Github, "workloads.yaml").stdout, @r#"
    ::error file=tests/blackbox/fixtures/check/workloads.yaml,line=12,col=18,title=full-reference::Deployment prod/web, init container wait: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/init" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/init:tag" with the tag you mean
    ::error file=tests/blackbox/fixtures/check/workloads.yaml,line=17,col=18,title=full-reference::Deployment prod/web, container sidecar: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/sidecar" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/sidecar:tag" with the tag you mean
    ::error file=tests/blackbox/fixtures/check/workloads.yaml,line=23,col=24,title=full-reference::Deployment prod/web, volume model: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/model" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/bad/model:tag" with the tag you mean
    ::warning file=tests/blackbox/fixtures/check/workloads.yaml,line=44,col=29,title=unknown-region::CronJob nightly-*, container job: image "123456789012.dkr.ecr.xx-new-9.amazonaws.com/job:1" names AWS region xx-new-9, which this version does not know: it is new or misspelt
    ::warning file=tests/blackbox/fixtures/check/workloads.yaml,line=46,col=22,title=unknown-region::CronJob nightly-*, container again: image "123456789012.dkr.ecr.xx-new-9.amazonaws.com/job:1" names AWS region xx-new-9, which this version does not know: it is new or misspelt
    ::error file=tests/blackbox/fixtures/check/workloads.yaml,line=54,col=27,title=lookalike-host::PodTemplate template, container a: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example/a:1" looks like ECR but is not: registries in "eu-west-1" end in "amazonaws.com", not in "amazonaws.com.evil.example"; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:1"
    ::error file=tests/blackbox/fixtures/check/workloads.yaml,line=56,col=31,title=missing-repository::PodTemplate template, ephemeral container debug: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag"
    "#);
    let stdin = check_with(
        &Policy::default(),
        Format::Github,
        &[Path::new("-")],
        &pod(BAD),
    );
    insta::assert_snapshot!(stdin.stdout, @r#"::error title=full-reference::<stdin>:6: Pod (no name), container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean"#);
}

#[test]
fn sarif_has_stable_rules_and_relative_places() {
    let output = check(Format::Sarif, "broken.yaml");
    let mut log: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    log["runs"][0]["tool"]["driver"]["version"] = "0".into();
    let ids: Vec<String> = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["id"].as_str().unwrap().to_owned())
        .collect();
    for result in log["runs"][0]["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(result["ruleId"], ids[index]);
    }
    insta::assert_snapshot!(ids.join(" "), @"full-reference host-form lookalike-host malformed-reference foreign-region unknown-region account-not-allowed region-not-allowed missing-repository granted tag-required mutable-tag digest-required image-not-allowed only-ecr unreadable unrendered-template");
    log["runs"][0]["tool"]["driver"]["rules"].take();
    log["runs"][0]["results"]
        .as_array_mut()
        .unwrap()
        .truncate(1);
    insta::assert_snapshot!(serde_json::to_string_pretty(&log).unwrap(), @r#"
    {
      "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
      "runs": [
        {
          "columnKind": "unicodeCodePoints",
          "invocations": [
            {
              "executionSuccessful": false,
              "exitCode": 2
            }
          ],
          "results": [
            {
              "level": "error",
              "locations": [
                {
                  "physicalLocation": {
                    "artifactLocation": {
                      "uri": "tests/blackbox/fixtures/check/broken.yaml"
                    },
                    "region": {
                      "startColumn": 6,
                      "startLine": 8
                    }
                  }
                }
              ],
              "message": {
                "text": "cannot read this document: while parsing a block collection, did not find expected '-' indicator"
              },
              "ruleId": "unreadable",
              "ruleIndex": 15
            }
          ],
          "tool": {
            "driver": {
              "name": "ecr-admission",
              "rules": null,
              "version": "0"
            }
          }
        }
      ],
      "version": "2.1.0"
    }
    "#);
}

#[test]
fn a_broken_document_is_named_and_hides_no_other() {
    insta::assert_snapshot!(check(Format::Text, "broken.yaml").all(), @r#"
    ./tests/blackbox/fixtures/check/broken.yaml:8: error: cannot read this document: while parsing a block collection, did not find expected '-' indicator [unreadable]
    ./tests/blackbox/fixtures/check/broken.yaml:14: error: cannot read this document: the key `name` stands here twice [unreadable]
    ./tests/blackbox/fixtures/check/broken.yaml:20: error: cannot read this document: expected string scalar; it looks like a template: render it first, e.g. `helm template … | ecr-admission check -` [unrendered-template]
    ./tests/blackbox/fixtures/check/broken.yaml:30: error: Pod fourth, container quoted: cannot judge the image `{{ .Values.registry }}/app:{{ .Values.tag }}`: it looks like a template: render it first, e.g. `helm template … | ecr-admission check -` [unrendered-template]
    ./tests/blackbox/fixtures/check/broken.yaml:32: error: Pod fourth, container number: the image 1.10 is a number, not a string: write "1.10" [unreadable]
    ./tests/blackbox/fixtures/check/broken.yaml:33: error: Pod fourth: an item of `containers` is a string, where Kubernetes wants a mapping [unreadable]
    ./tests/blackbox/fixtures/check/broken.yaml:35: error: Pod fourth, container last: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/last" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/last:tag" with the tag you mean [full-reference]
    -- stderr
    checked 1 file, 4 documents, 1 Pod spec, 1 image: 1 violation, 0 warnings, 6 unreadable
    -- exit 2
    "#);
}

#[test]
fn lists_in_lists_are_read_in_json_indented_by_tabs() {
    insta::assert_snapshot!(check(Format::Text, "list.json").all(), @r#"
    ./tests/blackbox/fixtures/check/list.json:11: error: Pod a, container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean [full-reference]
    -- stderr
    checked 1 file, 1 document, 1 Pod spec, 1 image: 1 violation, 0 warnings, 0 unreadable
    -- exit 1
    "#);
}

#[test]
fn what_helm_says_about_a_document_is_in_the_message() {
    let manifest = fs::read_to_string(fixture("helm.yaml")).unwrap();
    insta::assert_snapshot!(check_stdin(&manifest).all(), @r#"
    <stdin>:10: error: Pod web, container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:tag" with the tag you mean (from shop/templates/web.yaml) [full-reference]
    -- stderr
    checked 1 file, 2 documents, 1 Pod spec, 1 image: 1 violation, 0 warnings, 0 unreadable
    not checked, no Pods known in these kinds: 1 Service
    -- exit 1
    "#);
}

#[test]
fn a_directory_is_walked_in_order_without_hidden_files_links_and_other_extensions() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("b.yaml", &pod(BAD));
    write("a/z.yml", &pod(BAD));
    write(
        "a/y.JSON",
        &format!(r#"{{"kind":"Pod","spec":{{"containers":[{{"image":"{BAD}"}}]}}}}"#),
    );
    write("a.txt", &pod(BAD));
    write(".hidden.yaml", &pod(BAD));
    write(".git/x.yaml", &pod(BAD));
    write("values.yaml", "image: x\nreplicas: 2\n");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
        std::os::unix::fs::symlink(root.path().join("b.yaml"), root.path().join("link.yaml"))
            .unwrap();
    }
    let output = check_with(&Policy::default(), Format::Text, &[root.path()], "");
    let shown = output.all().replace(root.path().to_str().unwrap(), "ROOT");
    insta::assert_snapshot!(shown, @r#"
    ROOT/a/y.JSON:1: error: Pod (no name), container ?: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean [full-reference]
    ROOT/a/z.yml:6: error: Pod (no name), container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean [full-reference]
    ROOT/b.yaml:6: error: Pod (no name), container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean [full-reference]
    -- stderr
    checked 4 files, 4 documents, 3 Pod specs, 3 images: 3 violations, 0 warnings, 0 unreadable
    not checked, no Kubernetes objects: 1 document
    -- exit 1
    "#);
}

#[test]
fn a_file_that_is_named_is_read_whatever_its_name_and_one_that_is_not_there_stops_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (named, missing) = (root.path().join(".manifest"), root.path().join("none.yaml"));
    fs::write(&named, pod(BAD)).unwrap();
    let output = check_with(&Policy::default(), Format::Text, &[&missing, &named], "");
    let shown = output.all().replace(root.path().to_str().unwrap(), "ROOT");
    insta::assert_snapshot!(shown, @r#"
    ROOT/none.yaml: error: cannot read this: No such file or directory (os error 2) [unreadable]
    ROOT/.manifest:6: error: Pod (no name), container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean [full-reference]
    -- stderr
    checked 2 files, 1 document, 1 Pod spec, 1 image: 1 violation, 0 warnings, 1 unreadable
    -- exit 2
    "#);
}

#[test]
fn a_directory_without_manifests_is_said_and_is_clean() {
    let root = tempfile::tempdir().unwrap();
    let output = check_with(&Policy::default(), Format::Text, &[root.path()], "");
    let shown = output.all().replace(root.path().to_str().unwrap(), "ROOT");
    insta::assert_snapshot!(shown, @r"
    -- stderr
    ROOT: no .yaml, .yml or .json file in this directory
    checked 0 files, 0 documents, 0 Pod specs, 0 images: 0 violations, 0 warnings, 0 unreadable
    -- exit 0
    ");
}

#[test]
fn the_exit_code_says_the_worst_and_warnings_are_no_violations() {
    assert_eq!(check_stdin(&pod(GOOD)).outcome.exit_code(), 0);
    assert_eq!(check_stdin(&pod(BAD)).outcome.exit_code(), 1);
    assert_eq!(
        check_stdin(&format!("{}---\na: [\n", pod(BAD)))
            .outcome
            .exit_code(),
        2
    );
    assert_eq!(check_stdin("").outcome.exit_code(), 0);
    for (action, word) in [(Action::Warn, "warning:"), (Action::Audit, "note:")] {
        let policy = Policy {
            action,
            ..Policy::default()
        };
        let output = check_with(&policy, Format::Text, &[Path::new("-")], &pod(BAD));
        assert_eq!(output.outcome, Outcome::Clean);
        assert!(output.stdout.contains(word), "{}", output.stdout);
    }
}

#[test]
fn a_file_over_the_limit_is_refused_with_a_sentence() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len((64 << 20) + 1).unwrap();
    let output = check_with(&Policy::default(), Format::Text, &[file.path()], "");
    assert_eq!(output.outcome, Outcome::Unreadable);
    assert!(
        output.stdout.contains("larger than 64 MiB: split it"),
        "{}",
        output.stdout
    );
}

#[test]
fn text_of_others_cannot_forge_a_line() {
    let name = r#""a\n<stdin>:1: error: forged\u001b[2J""#;
    let manifest = format!(
        "kind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: {name}\n    image: {BAD}\n"
    );
    for format in [Format::Text, Format::Github] {
        let output = check_with(&Policy::default(), format, &[Path::new("-")], &manifest);
        assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
        assert!(!output.stdout.contains('\u{1b}'));
    }
}
