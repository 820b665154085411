//! Which file a client keeps its credentials in.
//!
//! Helm (by oras) and podman, buildah and skopeo (by containers/image) fall back to docker's file for a registry that
//! their own does not name, so docker's is the one that serves all. Sources: helm v4.3.1 `pkg/registry/client.go`
//! (`NewStoreWithFallbacks`) and `pkg/cli/environment.go`; containers/image v5 `pkg/docker/config/config.go`
//! (`getAuthFilePaths`); docker/cli v29 `cli/config/config.go`.

use std::path::PathBuf;

use clap::ValueEnum;

/// A registry client, by whose file it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// docker's file, which helm, podman, buildah, skopeo, crane, oras and nerdctl read too.
    #[default]
    Docker,
    /// helm's own file, which it reads before docker's.
    Helm,
    /// The file of podman, buildah and skopeo, which they read before docker's.
    Podman,
}

/// What says where files are: the environment, and who we are.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Looks up a variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Our user id, where it is known.
    pub user: Option<u32>,
}

/// The environment does not say where a client's file is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not known where {client} keeps its credentials: set {variables}, or give --config-file"
)]
pub struct UnknownLocation {
    client: &'static str,
    variables: &'static str,
}

impl Client {
    /// Every client.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Helm, Self::Podman];

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Helm => "helm",
            Self::Podman => "podman",
        }
    }

    /// Whether `credsStore` in the file means something to this client. podman knows `credHelpers` alone.
    pub(super) const fn knows_creds_store(self) -> bool {
        !matches!(self, Self::Podman)
    }

    /// The file that this client writes its own logins to. It need not exist.
    ///
    /// # Errors
    /// When no variable says where.
    pub fn config_file(self, environment: Environment<'_>) -> Result<PathBuf, UnknownLocation> {
        let (file, variables) = match self {
            Self::Docker => (docker(environment), "HOME or DOCKER_CONFIG"),
            Self::Helm => (helm(environment), "HOME or HELM_REGISTRY_CONFIG"),
            Self::Podman => (podman(environment), "REGISTRY_AUTH_FILE"),
        };
        file.ok_or(UnknownLocation {
            client: self.name(),
            variables,
        })
    }
}

impl Environment<'_> {
    /// A variable as a path; an empty one counts as none.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = (self.variable)(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    }

    fn home(&self, below: &str) -> Option<PathBuf> {
        Some(self.path("HOME")?.join(below))
    }
}

fn docker(environment: Environment<'_>) -> Option<PathBuf> {
    let folder = environment.path("DOCKER_CONFIG");
    let folder = folder.or_else(|| environment.home(".docker"))?;
    Some(folder.join("config.json"))
}

fn helm(environment: Environment<'_>) -> Option<PathBuf> {
    let preferences = if cfg!(target_os = "macos") {
        "Library/Preferences"
    } else {
        ".config"
    };
    let folder = || {
        let own = environment.path("HELM_CONFIG_HOME");
        let shared = || environment.path("XDG_CONFIG_HOME");
        own.or_else(|| {
            let folder = shared().or_else(|| environment.home(preferences))?;
            Some(folder.join("helm"))
        })
    };
    let file = environment.path("HELM_REGISTRY_CONFIG");
    file.or_else(|| Some(folder()?.join("registry/config.json")))
}

fn podman(environment: Environment<'_>) -> Option<PathBuf> {
    let file = environment.path("REGISTRY_AUTH_FILE");
    if cfg!(target_os = "macos") {
        return file.or_else(|| environment.home(".config/containers/auth.json"));
    }
    let runtime = || {
        let folder = environment.path("XDG_RUNTIME_DIR");
        let folder = folder.map(|folder| folder.join("containers"));
        folder.or_else(|| Some(format!("/run/containers/{}", environment.user?).into()))
    };
    file.or_else(|| Some(runtime()?.join("auth.json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(client: Client, variables: &[(&str, &str)], user: Option<u32>) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let environment = Environment {
            variable: &variable,
            user,
        };
        let file = client.config_file(environment).ok()?;
        Some(file.to_str().unwrap().to_owned())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn each_client_is_found_as_it_finds_itself() {
        use Client::{Docker, Helm, Podman};
        let home = ("HOME", "/home/u");
        for (client, variables, expected) in [
            (Docker, &[home][..], "/home/u/.docker/config.json"),
            (Docker, &[home, ("DOCKER_CONFIG", "/d")], "/d/config.json"),
            (
                Docker,
                &[home, ("DOCKER_CONFIG", "")],
                "/home/u/.docker/config.json",
            ),
            (Helm, &[home], "/home/u/.config/helm/registry/config.json"),
            (
                Helm,
                &[home, ("XDG_CONFIG_HOME", "/x")],
                "/x/helm/registry/config.json",
            ),
            (
                Helm,
                &[("HELM_CONFIG_HOME", "/h")],
                "/h/registry/config.json",
            ),
            (Helm, &[("HELM_REGISTRY_CONFIG", "/r.json")], "/r.json"),
            (Podman, &[home], "/run/containers/7/auth.json"),
            (
                Podman,
                &[("XDG_RUNTIME_DIR", "/run/user/7")],
                "/run/user/7/containers/auth.json",
            ),
            (Podman, &[("REGISTRY_AUTH_FILE", "/a.json")], "/a.json"),
        ] {
            assert_eq!(file(client, variables, Some(7)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn without_a_home_it_says_what_to_set() {
        assert_eq!(file(Client::Docker, &[], None), None);
        let environment = Environment {
            variable: &|_| None,
            user: None,
        };
        let error = Client::Helm.config_file(environment).unwrap_err();
        insta::assert_snapshot!(error, @"it is not known where helm keeps its credentials: set HOME or HELM_REGISTRY_CONFIG, or give --config-file");
    }
}
