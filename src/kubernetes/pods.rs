//! Pods, read in pages as views and kept nowhere: which images they name, and which of those they cannot pull.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;

use super::errors::Action;
use super::list::page;
use super::wire::ObjectMeta;
use crate::manifest::Slot;
use crate::namespace::{INJECT_ANNOTATION, is_valid_name};
use crate::secret::{PodImages, PodPage, PodSight, StoreError};

/// Pods a page: a Pod is some 10 KB, and up to a thousand times that.
const PAGE: u32 = 200;
/// For all pages of a namespace together, which are asked for within an admission; and for one page of all Pods.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Ended Pods pull nothing any more.
pub(super) const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// What the kubelet writes as the reason why a container waits when it could not pull its image
/// (pkg/kubelet/images/types.go).
const NOT_PULLED: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];
/// The annotation by which the kubelet marks the mirror of a static Pod.
pub(super) const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

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

    async fn one_page(&self, namespace: Option<&str>, next: Option<&str>) -> kube::Result<PodPage> {
        let path = match namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
            None => "/api/v1/pods".to_owned(),
        };
        let mut params = ListParams::default().fields(NOT_ENDED).limit(PAGE);
        params.continue_token = next.map(str::to_owned);
        let list = Request::new(path)
            .list(&params)
            .map_err(kube::Error::BuildRequest)?;
        let fold = |pods: &mut Vec<PodSight>, pod: Pod| pods.push(pod.into());
        let (pods, meta) = page(&self.client, list, CALL_TIMEOUT, Vec::new(), fold).await?;
        Ok(PodPage {
            pods,
            next: meta.next_page().map(str::to_owned),
        })
    }

    async fn all_images(&self, namespace: &str) -> kube::Result<Vec<String>> {
        let mut images = Vec::new();
        let mut next = None;
        loop {
            let page = self.one_page(Some(namespace), next.as_deref()).await?;
            images.extend(page.pods.into_iter().flat_map(|pod| pod.images));
            next = page.next;
            if next.is_none() {
                return Ok(images);
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
            let list = self.all_images(namespace);
            action(namespace).within(CALL_TIMEOUT, list).await
        })
    }

    fn page<'a>(
        &'a self,
        namespace: Option<&'a str>,
        next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<PodPage, StoreError>> {
        Box::pin(async move {
            if namespace.is_some_and(|namespace| !is_valid_name(namespace)) {
                return Ok(PodPage::default());
            }
            let page = self.one_page(namespace, next);
            let action = action(namespace.unwrap_or_default());
            action.within(CALL_TIMEOUT, page).await
        })
    }
}

fn action(namespace: &str) -> Action<'_> {
    Action {
        verb: "list",
        object: "Pods",
        namespace,
    }
}

#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    volumes: Vec<Volume>,
    image_pull_secrets: Vec<Reference>,
    pub(super) service_account_name: Option<String>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: Option<String>,
}

#[derive(Deserialize)]
struct Volume {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: Option<ImageVolume>,
}

#[derive(Deserialize)]
struct ImageVolume {
    #[serde(default)]
    reference: Option<String>,
}

impl PodSpec {
    /// The images that it names, and whose each is.
    pub(super) fn into_slots(self) -> Vec<(Slot, String)> {
        type Named = fn(String) -> Slot;
        let containers = [
            (self.containers, Slot::Container as Named),
            (self.init_containers, Slot::InitContainer),
            (self.ephemeral_containers, Slot::EphemeralContainer),
        ];
        let containers = containers.into_iter().flat_map(|(containers, slot)| {
            containers
                .into_iter()
                .filter_map(move |container| Some((slot(container.name), container.image?)))
        });
        let volumes = self
            .volumes
            .into_iter()
            .filter_map(|volume| Some((Slot::Volume(volume.name), volume.image?.reference?)));
        let images = containers.chain(volumes);
        // A template may leave an image out, for somebody else to fill in.
        images.filter(|(_, image)| !image.is_empty()).collect()
    }

    /// The images that it names, of containers and of volumes.
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

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "containerStatuses")]
    containers: Vec<ContainerStatus>,
    #[serde(rename = "initContainerStatuses")]
    init: Vec<ContainerStatus>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    #[serde(default)]
    name: String,
    #[serde(default)]
    state: ContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
}

#[derive(Deserialize)]
struct Waiting {
    #[serde(default)]
    reason: String,
}

impl From<Pod> for PodSight {
    fn from(pod: Pod) -> Self {
        let Pod {
            metadata,
            spec,
            status,
        } = pod;
        let statuses = [status.containers, status.init, status.ephemeral];
        let waiting: HashMap<String, String> = statuses
            .into_iter()
            .flatten()
            .filter_map(|status| Some((status.name, status.state.waiting?.reason)))
            .filter(|(_, reason)| NOT_PULLED.contains(&reason.as_str()))
            .collect();
        let volumes = spec.volumes.into_iter().filter_map(|volume| volume.image);
        let volumes: Vec<String> = volumes.filter_map(|image| image.reference).collect();
        let containers = [
            spec.containers,
            spec.init_containers,
            spec.ephemeral_containers,
        ];
        // A container also waits so for the images of the Pod's volumes.
        let mut failing = if waiting.is_empty() {
            Vec::new()
        } else {
            volumes.clone()
        };
        let mut images = volumes;
        for container in containers.into_iter().flatten() {
            let Some(image) = container.image else {
                continue;
            };
            if waiting.contains_key(&container.name) {
                failing.push(image.clone());
            }
            images.push(image);
        }
        let pull_secrets = spec.image_pull_secrets.into_iter();
        Self {
            opts_out: metadata.annotation(INJECT_ANNOTATION) == Some("false"),
            beyond_help: metadata.deletion_timestamp.is_some()
                || metadata.annotation(MIRROR_ANNOTATION).is_some(),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            images,
            failing,
            pending: status.phase == "Pending",
            pull_secrets: pull_secrets.map(|reference| reference.name).collect(),
        }
    }
}
