//! Pods, and what makes Pods, page by page.

use futures_util::future::BoxFuture;

use crate::manifest::{Slot, group};
use crate::secret::StoreError;

/// A kind of object that is a Pod or makes Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `apps`
    Deployment,
    /// `apps`
    StatefulSet,
    /// `apps`
    DaemonSet,
    /// `batch`
    CronJob,
    /// core
    ReplicationController,
    /// `apps`
    ReplicaSet,
    /// `batch`
    Job,
    /// core
    Pod,
}

impl Kind {
    /// All, what makes others before what it makes.
    pub const ALL: [Self; 8] = [
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::CronJob,
        Self::ReplicationController,
        Self::ReplicaSet,
        Self::Job,
        Self::Pod,
    ];

    /// As `kind` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::CronJob => "CronJob",
            Self::ReplicationController => "ReplicationController",
            Self::ReplicaSet => "ReplicaSet",
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }

    /// Its API group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps",
            Self::CronJob | Self::Job => "batch",
            Self::ReplicationController | Self::Pod => "",
        }
    }

    /// The kind that an owner reference names; `None` for one that is not read here.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|known| known.name() == kind && known.group() == group(api_version))
    }
}

/// A Pod, or an object that makes Pods, as far as policies judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The controller that made it, where it is of a kind that is read here.
    pub owner: Option<(Kind, String)>,
    /// The ServiceAccount that its Pods run under, where it names one.
    pub service_account: Option<String>,
    /// Whose image it is, and the image.
    pub images: Vec<(Slot, String)>,
    /// Whether it wants no Pods at present.
    pub idle: bool,
}

/// A page of a kind.
#[derive(Clone, Debug, Default)]
pub struct SightPage {
    /// What is on it.
    pub objects: Vec<Sight>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// Tells of Pods and of what makes Pods. Each call is bounded in time by the implementation.
pub trait Census: Send + Sync + 'static {
    /// A page of one kind, in one namespace or in all: without what is being deleted, what has ended, and the mirrors of
    /// static Pods, of all of which no Pod will be admitted again.
    fn page<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
        next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<SightPage, StoreError>>;
}
