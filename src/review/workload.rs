//! The Pod template of a workload (Deployment, CronJob, …) in a review, found by the path that its kind has.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::pod::{Pod, PodSpec};
use super::view::{all, each};

/// Reads the images of a workload's Pod template as if they were a Pod's. `pointer` is the way from the object to its
/// PodSpec, such as `["spec", "template", "spec"]`. A second pass over the body: workloads are few, and which path to
/// take is known only once the whole envelope has been read.
///
/// # Errors
/// The JSON error where the body or the template cannot be read.
pub fn parse_workload<'a>(
    body: &'a [u8],
    pointer: &[&str],
) -> Result<Option<Pod<'a>>, serde_json::Error> {
    let mut found = None;
    let mut path = vec!["request", "object"];
    path.extend_from_slice(pointer);
    let seed = At {
        path: &path,
        found: &mut found,
    };
    all(body, seed)?;
    Ok(found.map(Pod::of_spec))
}

/// Descends to `path` and reads a PodSpec there; other values are skipped.
struct At<'p, 'f, 'de> {
    path: &'p [&'p str],
    found: &'f mut Option<PodSpec<'de>>,
}

impl<'de> DeserializeSeed<'de> for At<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            *self.found = serde::Deserialize::deserialize(deserializer)?;
            return Ok(());
        }
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for At<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            return Ok(());
        };
        let found = self.found;
        each(&mut map, &[*step], &mut |_, map| {
            let found = &mut *found;
            map.next_value_seed(At { path: rest, found })
        })
    }
}
