//! The settings about ServiceAccounts, checked.

use super::ConfigError;
use super::settings::{ServeSettings, ServiceAccountMode, set};
use crate::namespace::is_subdomain;
use crate::service_account::{Names, Task};

/// Stands for all ServiceAccounts of a namespace.
const ALL: &str = "*";
/// The one that Pods have which name none.
const DEFAULT: &str = "default";

/// What is done with ServiceAccounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountConfig {
    /// What is done.
    pub task: Task,
    /// With which ones.
    pub names: Names,
}

impl ServiceAccountConfig {
    pub(super) fn new(settings: &mut ServeSettings) -> Result<Option<Self>, ConfigError> {
        let names = match set(settings.service_accounts.take()) {
            None => Names::Only([DEFAULT.to_owned()].into()),
            Some(names) if names.contains(ALL) => Names::All,
            Some(names) => Names::Only(names),
        };
        if let Names::Only(names) = &names
            && let Some(odd) = names.iter().find(|name| !is_subdomain(name))
        {
            return Err(ConfigError(format!(
                "service-accounts holds {odd:?}, which cannot name a ServiceAccount: use lower-case letters, digits, - and \
                 . only, or * for all"
            )));
        }
        Ok(
            match settings.service_account_mode.take().unwrap_or_default() {
                ServiceAccountMode::Never => None,
                ServiceAccountMode::Add => Some(Self {
                    task: Task::Add,
                    names,
                }),
                // Whatever was chosen before is to go.
                ServiceAccountMode::Remove => Some(Self {
                    task: Task::Remove,
                    names: Names::All,
                }),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<ServiceAccountConfig>, ConfigError> {
        let mut settings = serde_saphyr::from_str(text).unwrap();
        ServiceAccountConfig::new(&mut settings)
    }

    #[test]
    fn it_is_off_until_a_mode_is_chosen_and_then_about_the_default_service_account() {
        assert_eq!(read("serviceAccounts: [builder]").unwrap(), None);
        let names = |text| read(text).unwrap().unwrap().names;
        let only = |name: &str| Names::Only([name.to_owned()].into());
        assert_eq!(names("serviceAccountMode: Add"), only("default"));
        let builder = "serviceAccountMode: Add\nserviceAccounts: [builder]";
        assert_eq!(names(builder), only("builder"));
        let all = "serviceAccountMode: Add\nserviceAccounts: [a, '*']";
        assert_eq!(names(all), Names::All);
        let remove = "serviceAccountMode: Remove\nserviceAccounts: [builder]";
        assert_eq!(names(remove), Names::All);
        assert_eq!(read(remove).unwrap().unwrap().task, Task::Remove);
    }

    #[test]
    fn a_name_that_cannot_be_is_refused() {
        let refusal = read("serviceAccounts: [Builder]").unwrap_err();
        insta::assert_snapshot!(refusal, @r#"service-accounts holds "Builder", which cannot name a ServiceAccount: use lower-case letters, digits, - and . only, or * for all"#);
    }
}
