//! Policies from files: what `kubectl apply` takes, and what `kubectl get ecrpolicies -o yaml` gives.
//!
//! One file that cannot be read, or one policy that is not valid, and there are no policies at all: somebody must look,
//! and nothing that a lost policy withheld is given meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use crate::policy::spec::EcrPolicySpec;
use crate::policy::{Compiled, compile};
use crate::policy_book::PolicySource;

/// The largest file that is read: policies of a thousand tenants have about 1 MiB.
const FILE_BYTES_MAX: u64 = 16 << 20;
const API_VERSION: &str = "ecr-admission.dev/v1alpha1";
const KIND: &str = "EcrPolicy";

/// Why there are no policies: everything that is wrong, a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct PolicyFilesError(Vec<String>);

/// An object as it stands in a file. What the API server adds is passed over, what is nobody's is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    metadata: Metadata,
    spec: EcrPolicySpec,
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "status", default)]
    _status: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    policies: BTreeMap<String, (Compiled, PathBuf)>,
    faults: Vec<String>,
}

/// Reads all policies of files and directories; of a directory, the files in it that end in .yaml, .yml or .json, but
/// no hidden ones and none of directories below.
///
/// # Errors
/// When anything cannot be read or is no valid policy, when two have one name, and when there is none: a directory that
/// was emptied must not mean that everything is allowed.
pub fn read_policies(paths: &[PathBuf]) -> Result<Vec<Compiled>, PolicyFilesError> {
    let mut found = Found::default();
    for path in paths {
        let before = (found.policies.len(), found.faults.len());
        match files(path) {
            Ok(files) => files.iter().for_each(|file| found.file(file)),
            Err(error) => found.fault(path, &format!("cannot be read: {error}")),
        }
        if before == (found.policies.len(), found.faults.len()) {
            found.fault(path, "holds no EcrPolicy");
        }
    }
    found.finish()
}

/// Reads the policies of a text, which is called `name` where something is wrong with it.
///
/// # Errors
/// As of [`read_policies`].
pub fn parse_policies(name: &str, text: &str) -> Result<Vec<Compiled>, PolicyFilesError> {
    let mut found = Found::default();
    found.text(Path::new(name), text);
    found.finish()
}

/// Policies in files and directories, to be read again and again.
#[derive(Clone, Debug)]
pub struct PolicyFiles(Vec<PathBuf>);

impl PolicyFiles {
    /// Those that [`read_policies`] reads.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }
}

impl PolicySource for PolicyFiles {
    fn read(&self) -> BoxFuture<'_, Result<Vec<Compiled>, String>> {
        let paths = self.0.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || read_policies(&paths)).await;
            match read {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// The file itself, or those in a directory, in the order of their names. Links are followed: a mounted ConfigMap is
/// made of them.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let is_manifest = path.extension().is_some_and(|end| {
            let ends = ["yaml", "yml", "json"];
            ends.iter().any(|known| end.eq_ignore_ascii_case(known))
        });
        if !is_hidden && is_manifest && fs::metadata(&path)?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let limit = format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    Ok(text)
}

impl Found {
    fn finish(self) -> Result<Vec<Compiled>, PolicyFilesError> {
        if !self.faults.is_empty() {
            return Err(PolicyFilesError(self.faults));
        }
        let policies = self.policies.into_values();
        Ok(policies.map(|(policy, _)| policy).collect())
    }

    fn fault(&mut self, path: &Path, message: &str) {
        self.faults.push(format!("{}: {message}", path.display()));
    }

    fn file(&mut self, path: &Path) {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => return self.fault(path, &format!("cannot be read: {error}")),
        };
        self.text(path, &text);
    }

    fn text(&mut self, path: &Path, text: &str) {
        // As in a settings file: a long comment is no error.
        let options = serde_saphyr::options! { emit_comments: false, with_snippet: false };
        match serde_saphyr::from_multiple_with_options::<Value>(text, options) {
            Ok(documents) => documents
                .into_iter()
                .filter(|document| !document.is_null())
                .for_each(|document| self.object(path, document)),
            Err(error) => self.fault(path, &error.to_string()),
        }
    }

    fn object(&mut self, path: &Path, mut object: Value) {
        if matches!(text(&object, "/kind"), Some("List" | "EcrPolicyList"))
            && let Some(Value::Array(items)) = object.get_mut("items").map(Value::take)
        {
            return items.into_iter().for_each(|item| self.object(path, item));
        }
        let (version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
        if (version, kind) != (Some(API_VERSION), Some(KIND)) {
            let what = format!("{} {}", version.unwrap_or("?"), kind.unwrap_or("?"));
            let message = format!("holds {what:?} where an {KIND} of {API_VERSION} belongs");
            return self.fault(path, &message);
        }
        let name = text(&object, "/metadata/name")
            .unwrap_or("(no name)")
            .to_owned();
        match serde_json::from_value::<Document>(object) {
            Ok(document) => self.policy(path, &document),
            Err(error) => self.fault(path, &format!("{KIND} {name:?}: {error}")),
        }
    }

    fn policy(&mut self, path: &Path, document: &Document) {
        let name = &document.metadata.name;
        if let Some((_, other)) = self.policies.get(name) {
            let message = format!("{KIND} {name:?} is in {} already", other.display());
            return self.fault(path, &message);
        }
        match compile(name, &document.spec) {
            Ok(policy) => {
                self.policies
                    .insert(name.clone(), (policy, path.to_owned()));
            }
            Err(faults) => {
                for fault in faults {
                    self.fault(path, &format!("{KIND} {name:?}: {fault}"));
                }
            }
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: ecr-admission.dev/v1alpha1\nkind: EcrPolicy\nmetadata: {name: NAME}\nspec: {onFailure: Deny}\n";

    fn policy(name: &str) -> String {
        GOOD.replace("NAME", name)
    }

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let policies = read_policies(paths).unwrap();
        policies
            .iter()
            .map(|policy| policy.name().to_owned())
            .collect()
    }

    fn refusal(file: &str, text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        fs::write(&path, text).unwrap();
        let refusal = read_policies(&[path]).unwrap_err().to_string();
        refusal.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_directory_is_read_as_a_config_map_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("..data");
        fs::create_dir(&real).unwrap();
        let items = format!("---\n{}---\n# nothing\n---\n{}", policy("b"), policy("a"));
        fs::write(real.join("two.yaml"), items).unwrap();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [{
            "apiVersion": API_VERSION, "kind": KIND,
            "metadata": {"name": "c", "uid": "1", "creationTimestamp": "2026-11-21T00:00:00Z"},
            "spec": {"onFailure": "Admit"},
            "status": {"conditions": []},
        }]});
        fs::write(real.join("list.json"), list.to_string()).unwrap();
        fs::write(real.join("notes.txt"), "no policy").unwrap();
        for name in ["two.yaml", "list.json", "notes.txt"] {
            std::os::unix::fs::symlink(real.join(name), folder.path().join(name)).unwrap();
        }
        assert_eq!(names(&[folder.path().to_owned()]), ["a", "b", "c"]);
    }

    #[test]
    fn whatever_is_not_whole_is_refused_with_its_place() {
        insta::assert_snapshot!(refusal("a.yaml", ""), @"a.yaml: holds no EcrPolicy");
        insta::assert_snapshot!(refusal("a.yaml", "apiVersion: v1\nkind: Pod\n"), @r#"a.yaml: holds "v1 Pod" where an EcrPolicy of ecr-admission.dev/v1alpha1 belongs"#);
        insta::assert_snapshot!(refusal("a.yaml", &(policy("a") + "---\n" + &policy("a"))), @r#"a.yaml: EcrPolicy "a" is in a.yaml already"#);
        insta::assert_snapshot!(refusal("a.yaml", &policy("a").replace("Deny", "Never")), @r#"a.yaml: EcrPolicy "a": "Never" is not one of Admit, Deny"#);
        insta::assert_snapshot!(refusal("a.yaml", &policy("A_")), @r#"a.yaml: EcrPolicy "A_": metadata.name: "A_" is no name for a policy: use at most 63 lower-case letters, digits, - and ."#);
        let broken = refusal("a.yaml", &(policy("a") + "---\n{"));
        assert!(broken.starts_with("a.yaml: "), "{broken}");
        let missing = read_policies(&["nowhere".into()]).unwrap_err();
        insta::assert_snapshot!(missing, @"nowhere: cannot be read: No such file or directory (os error 2)");
    }

    #[test]
    fn an_emptied_directory_is_not_no_policy() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_policies(&[folder.path().to_owned()]).unwrap_err();
        assert!(error.to_string().ends_with("holds no EcrPolicy"), "{error}");
    }
}
