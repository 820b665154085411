//! The images that a namespace's Pods name, read in pages and kept nowhere.

use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;

use super::errors::Action;
use super::list::page;
use crate::namespace::is_valid_name;
use crate::secret::{PodImages, StoreError};

/// Pods a page: a Pod is some 10 KB, and up to a thousand times that.
const PAGE: u32 = 200;
/// For all pages together: it is asked within an admission.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Ended Pods pull nothing any more.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Lists Pods through the API. Wants `list` on pods.
#[derive(Clone)]
pub struct KubePodImages {
    client: Client,
}

impl KubePodImages {
    /// Lists with this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn list(&self, namespace: &str) -> kube::Result<Vec<String>> {
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
        let mut params = ListParams::default().fields(NOT_ENDED).limit(PAGE);
        let mut images = Vec::new();
        loop {
            let list = request.list(&params).map_err(kube::Error::BuildRequest)?;
            let fold = |images: &mut Vec<String>, pod: Pod| pod.spec.add_images_to(images);
            let (all, meta) = page(&self.client, list, CALL_TIMEOUT, images, fold).await?;
            images = all;
            match meta.next_page() {
                Some(token) => params.continue_token = Some(token.to_owned()),
                None => return Ok(images),
            }
        }
    }
}

impl PodImages for KubePodImages {
    fn images<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            if !is_valid_name(namespace) {
                return Ok(Vec::new());
            }
            let action = Action {
                verb: "list",
                object: "Pods",
                namespace,
            };
            action.within(CALL_TIMEOUT, self.list(namespace)).await
        })
    }
}

#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    image: Option<String>,
}

#[derive(Deserialize)]
struct Volume {
    #[serde(default)]
    image: Option<ImageVolume>,
}

#[derive(Deserialize)]
struct ImageVolume {
    #[serde(default)]
    reference: Option<String>,
}

impl PodSpec {
    pub(super) fn add_images_to(self, images: &mut Vec<String>) {
        let containers = [
            self.containers,
            self.init_containers,
            self.ephemeral_containers,
        ];
        images.extend(containers.into_iter().flatten().filter_map(|c| c.image));
        let volumes = self.volumes.into_iter().filter_map(|volume| volume.image);
        images.extend(volumes.filter_map(|image| image.reference));
    }
}
