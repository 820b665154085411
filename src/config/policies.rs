//! The settings about where policies come from, checked.

use std::path::PathBuf;

use super::ConfigError;
use super::settings::{PolicySource, ServeSettings};

/// Where EcrPolicies come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PolicyConfig {
    /// There are none.
    #[default]
    None,
    /// From these files and directories.
    Files(Vec<PathBuf>),
    /// From the cluster.
    Cluster,
}

impl PolicyConfig {
    pub(super) fn new(settings: &mut ServeSettings) -> Result<Self, ConfigError> {
        let files = settings.policy_files.take().unwrap_or_default();
        match (settings.policy_source.take(), files.is_empty()) {
            (None | Some(PolicySource::None), true) => Ok(Self::None),
            (None | Some(PolicySource::Files), false) => Ok(Self::Files(files)),
            (Some(PolicySource::Cluster), true) => Ok(Self::Cluster),
            (Some(PolicySource::Files), true) => Err(ConfigError(
                "policy-source is Files, but policy-files names none".to_owned(),
            )),
            (Some(source @ (PolicySource::None | PolicySource::Cluster)), false) => {
                Err(ConfigError(format!(
                    "policy-files are given, but policy-source is {source:?}: leave the files out, or set it to Files"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PolicyConfig, ConfigError> {
        PolicyConfig::new(&mut serde_saphyr::from_str(text).unwrap())
    }

    #[test]
    fn there_are_no_policies_unless_a_source_or_files_are_given() {
        assert_eq!(read("listen: 127.0.0.1:1"), Ok(PolicyConfig::None));
        assert_eq!(read("policySource: None"), Ok(PolicyConfig::None));
        assert_eq!(read("policySource: Cluster"), Ok(PolicyConfig::Cluster));
        let files = Ok(PolicyConfig::Files(vec!["a".into(), "b".into()]));
        assert_eq!(read("policyFiles: [a, b]"), files);
        assert_eq!(read("policySource: Files\npolicyFiles: [a, b]"), files);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refusal = |text| read(text).unwrap_err().to_string();
        insta::assert_snapshot!(refusal("policySource: Files"), @"policy-source is Files, but policy-files names none");
        insta::assert_snapshot!(refusal("policySource: Cluster\npolicyFiles: [a]"), @"policy-files are given, but policy-source is Cluster: leave the files out, or set it to Files");
        insta::assert_snapshot!(refusal("policySource: None\npolicyFiles: [a]"), @"policy-files are given, but policy-source is None: leave the files out, or set it to Files");
    }
}
