//! How the demo looks.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::scenes::Scene;
use crate::pull_secret::State;
use crate::pull_secret::docker_config::{DockerConfig, USERNAME};
use crate::secret::StoredSecret;

/// Writes for people; in colour on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub(super) struct Screen<W> {
    out: W,
    colour: bool,
}

impl Screen<io::Stdout> {
    pub(super) fn stdout() -> Self {
        let out = io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { out, colour }
    }
}

impl<W: Write> Screen<W> {
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// What happened to one Pod.
    pub(super) fn scene(
        &mut self,
        number: usize,
        scene: &Scene,
        response: &Value,
        took: Duration,
    ) -> anyhow::Result<()> {
        let title = self.paint("1", &format!("{number}. {}", scene.title));
        writeln!(self.out, "\n{title}")?;
        for (container, image) in images(&scene.pod) {
            writeln!(self.out, "   {container:<10} {image}")?;
        }
        self.verdict(response, took)?;
        for warning in response["warnings"].as_array().into_iter().flatten() {
            writeln!(self.out, "   warning    {}", text(warning))?;
        }
        let Some(encoded) = response["patch"].as_str() else {
            return Ok(());
        };
        let patch = String::from_utf8(STANDARD.decode(encoded)?)?;
        let mut pod = scene.pod.clone();
        let operations: Patch = serde_json::from_str(&patch)?;
        json_patch::patch(&mut pod, &operations).context("the patch does not apply")?;
        writeln!(self.out, "   patch      {patch}")?;
        let before = pull_secrets(&scene.pod);
        let after = pull_secrets(&pod);
        writeln!(self.out, "   imagePullSecrets: {before} -> {after}")?;
        Ok(())
    }

    fn verdict(&mut self, response: &Value, took: Duration) -> io::Result<()> {
        if response["allowed"] == true {
            let allowed = self.paint("32", "allowed");
            writeln!(self.out, "   verdict    {allowed} in {took:.1?}")
        } else {
            let refused = self.paint("31", "refused");
            let reason = text(&response["status"]["message"]);
            writeln!(self.out, "   verdict    {refused} in {took:.1?}: {reason}")
        }
    }

    /// The Secret of a namespace, without its tokens.
    pub(super) fn secret(
        &mut self,
        name: &str,
        namespace: &str,
        secret: &StoredSecret,
    ) -> io::Result<()> {
        writeln!(
            self.out,
            "   Secret {namespace}/{name}, type kubernetes.io/dockerconfigjson:"
        )?;
        let state = State::parse(secret.metadata.state.as_deref());
        let document = secret.docker_config.as_ref();
        let config = document.map(|document| DockerConfig::parse(document.expose_secret()));
        for (key, entry) in state.known() {
            let there = config.as_ref().is_some_and(|config| config.contains(key));
            let password = if there { "[redacted]" } else { "missing" };
            let expires = entry
                .expires_at
                .round(jiff::Unit::Second)
                .unwrap_or(entry.expires_at);
            // What stands behind the # tells sessions of one role apart.
            let role = entry.identity.split_once('#');
            let by = role.map_or(String::new(), |(role, _)| format!(" by {role}"));
            writeln!(
                self.out,
                "     {key}: user {USERNAME}, password {password}, expires {expires}{by}"
            )?;
        }
        Ok(())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn images(pod: &Value) -> Vec<(&str, &str)> {
    let lists = ["initContainers", "containers"];
    let containers = lists.iter().filter_map(|list| pod["spec"][list].as_array());
    containers
        .flatten()
        .map(|container| (text(&container["name"]), text(&container["image"])))
        .collect()
}

fn pull_secrets(pod: &Value) -> String {
    let list = pod["spec"]["imagePullSecrets"].as_array();
    let names = list
        .into_iter()
        .flatten()
        .map(|reference| text(&reference["name"]));
    format!("[{}]", names.collect::<Vec<_>>().join(", "))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
