//! The view of a Pod: the few fields that a verdict needs, borrowed from the body in one pass.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::text::Text;
use super::view::view;

view! {
    "a Pod":
    /// A Pod as far as admission looks at it.
    pub struct Pod<'a> {
        metadata = "metadata": Metadata<'a>,
        spec = "spec": PodSpec<'a>,
    }
}

view! {
    "metadata":
    struct Metadata<'a> {
        deletion_timestamp = "deletionTimestamp": IgnoredAny,
        annotations = "annotations": Annotations<'a>,
    }
}

view! {
    "annotations":
    struct Annotations<'a> {
        mirror = "kubernetes.io/config.mirror": IgnoredAny,
        inject = "ecr-admission.dev/inject": Text<'a>,
    }
}

view! {
    "a PodSpec":
    /// The part of a PodSpec that names images, shared by Pods and Pod templates.
    pub(super) struct PodSpec<'a> {
        containers = "containers": Vec<Container<'a>>,
        init_containers = "initContainers": Vec<Container<'a>>,
        ephemeral_containers = "ephemeralContainers": Vec<Container<'a>>,
        volumes = "volumes": ImageVolumes<'a>,
        image_pull_secrets = "imagePullSecrets": Vec<LocalObjectReference<'a>>,
        service_account_name = "serviceAccountName": Text<'a>,
    }
}

view! {
    "a container":
    struct Container<'a> {
        name = "name": Text<'a>,
        image = "image": Text<'a>,
    }
}

view! {
    "a volume":
    struct Volume<'a> {
        name = "name": Text<'a>,
        image = "image": ImageVolumeSource<'a>,
    }
}

/// The volumes that are images. Few are, and the others take no room.
#[derive(Debug)]
struct ImageVolumes<'a>(Vec<Volume<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for ImageVolumes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ImageVolumesVisitor)
    }
}

struct ImageVolumesVisitor;

impl<'de> Visitor<'de> for ImageVolumesVisitor {
    type Value = ImageVolumes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut volumes: A) -> Result<Self::Value, A::Error> {
        let mut images = Vec::new();
        while let Some(volume) = volumes.next_element::<Volume<'_>>()? {
            if volume.image.is_some() {
                images.push(volume);
            }
        }
        Ok(ImageVolumes(images))
    }
}

view! {
    "the source of an image volume":
    struct ImageVolumeSource<'a> {
        reference = "reference": Text<'a>,
    }
}

view! {
    "an imagePullSecret":
    struct LocalObjectReference<'a> {
        name = "name": Text<'a>,
    }
}

/// The four places of a PodSpec that name images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageList {
    /// `spec.containers[].image`
    Containers,
    /// `spec.initContainers[].image`
    InitContainers,
    /// `spec.ephemeralContainers[].image`
    EphemeralContainers,
    /// `spec.volumes[].image.reference` (KEP-4639)
    Volumes,
}

impl ImageList {
    /// What a person calls one item of the list.
    pub const fn item(self) -> &'static str {
        match self {
            Self::Containers => "container",
            Self::InitContainers => "init container",
            Self::EphemeralContainers => "ephemeral container",
            Self::Volumes => "image volume",
        }
    }
}

/// One image string of a Pod and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageField<'a> {
    /// Which list it stands in.
    pub list: ImageList,
    /// The name of the container or volume; empty when it has none.
    pub name: &'a str,
    /// The image string as written.
    pub image: &'a str,
}

impl Pod<'_> {
    /// Whether it has a deletionTimestamp.
    pub fn is_being_deleted(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some())
    }

    /// Whether it mirrors a static Pod: the API server forbids such a Pod any reference to a Secret
    /// (plugin/pkg/admission/serviceaccount).
    pub fn is_mirror(&self) -> bool {
        let annotations = self.annotations();
        annotations.is_some_and(|annotations| annotations.mirror.is_some())
    }

    /// Whether its annotation `ecr-admission.dev/inject` says `false`.
    pub fn opts_out(&self) -> bool {
        let inject = self.annotations();
        let inject = inject.and_then(|annotations| annotations.inject.as_deref());
        inject == Some("false")
    }

    /// The ServiceAccount that it runs under. The API server has filled it in when it asks about a Pod; a template may
    /// leave it to the API server.
    pub fn service_account(&self) -> &str {
        let spec = self.spec.as_ref();
        let name = spec.and_then(|spec| spec.service_account_name.as_deref());
        name.filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// Every image string, in the order containers, init containers, ephemeral containers, image volumes.
    pub fn images(&self) -> impl Iterator<Item = ImageField<'_>> {
        self.spec.iter().flat_map(PodSpec::images)
    }

    /// Whether `imagePullSecrets` is there at all (a patch that appends fails on an absent list).
    pub fn has_image_pull_secrets(&self) -> bool {
        let spec = self.spec.as_ref();
        spec.is_some_and(|spec| spec.image_pull_secrets.is_some())
    }

    /// Whether `imagePullSecrets` names `secret`.
    pub fn refers_to(&self, secret: &str) -> bool {
        let references = self.spec.iter().flat_map(|spec| &spec.image_pull_secrets);
        references
            .flatten()
            .any(|reference| reference.name.as_deref() == Some(secret))
    }

    /// A Pod that consists of a template's spec only.
    pub(super) fn of_spec(spec: PodSpec<'_>) -> Pod<'_> {
        Pod {
            metadata: None,
            spec: Some(spec),
        }
    }

    fn annotations(&self) -> Option<&Annotations<'_>> {
        self.metadata.as_ref()?.annotations.as_ref()
    }
}

impl PodSpec<'_> {
    fn images(&self) -> impl Iterator<Item = ImageField<'_>> {
        let lists = [
            (ImageList::Containers, &self.containers),
            (ImageList::InitContainers, &self.init_containers),
            (ImageList::EphemeralContainers, &self.ephemeral_containers),
        ];
        let containers = lists.into_iter().flat_map(|(list, containers)| {
            let containers = containers.iter().flatten();
            containers.filter_map(move |container| {
                field(list, container.name.as_ref(), container.image.as_ref())
            })
        });
        let volumes = self.volumes.iter().flat_map(|volumes| &volumes.0);
        let volumes = volumes.filter_map(|volume| {
            let source = volume.image.as_ref()?;
            field(
                ImageList::Volumes,
                volume.name.as_ref(),
                source.reference.as_ref(),
            )
        });
        containers.chain(volumes)
    }
}

fn field<'a>(
    list: ImageList,
    name: Option<&'a Text<'_>>,
    image: Option<&'a Text<'_>>,
) -> Option<ImageField<'a>> {
    Some(ImageField {
        list,
        name: name.map_or("", |name| name),
        image: image?,
    })
}
