//! What earlier weeks have left when the simulation begins: Pods that run, and Secrets whose use was noted days ago.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::policy::Identity;
use ecr_admission::pull_secret::State;
use ecr_admission::pull_secret::state::{Entry, StateEntry};
use ecr_admission::secret::{DataWriter, SecretMetadata, StoredSecret};
use jiff::SignedDuration;
use serde_json::{Map, json};

use super::ecr::{REGIONS, token};
use super::population::{Kind, Registry};
use super::tenancy::Tenant;
use super::world::{Inner, World};

/// How long ago the use of an entry was noted at the most: an unused one is kept for a week.
const NOTED: Duration = Duration::from_hours(7 * 24);

/// Lets a Pod of the namespace run, and its Secret be there.
pub(super) fn inherit(world: &World, name: &str) {
    let (registries, noted) = {
        let mut inner = world.lock();
        let Inner {
            population, rng, ..
        } = &mut *inner;
        let namespace = population.namespaces.get_mut(name);
        let namespace = namespace.expect("it has just begun");
        let is_special = matches!(namespace.kind, Kind::Foreign | Kind::Newer);
        if is_special || namespace.tenant != Tenant::NONE {
            return;
        }
        let registries = namespace.registries().to_vec();
        namespace.run(registries.clone(), rng);
        (registries, NOTED.mul_f64(rng.f64()))
    };
    world
        .cluster
        .change(name, |_| Some(secret(world, &registries, noted)));
}

fn secret(world: &World, registries: &[Registry], noted: Duration) -> StoredSecret {
    let noted = world.truth.now() - SignedDuration::try_from(noted).unwrap();
    let identity = Identity::Controller;
    let mut state = State::default();
    let mut auths = Map::new();
    for registry in registries {
        let token = token(REGIONS[registry.region()], Tenant::NONE, &world.truth);
        let entry = Entry::new(
            token.issued_at,
            token.expires_at,
            identity.fingerprint(),
            0,
            noted,
        );
        let host = registry.host().to_owned();
        state.entries.insert(host.clone(), StateEntry::Known(entry));
        let auth = BASE64_STANDARD.encode(format!("AWS:{}", token.password()));
        auths.insert(host, json!({"auth": auth}));
    }
    let document = json!({"auths": auths}).to_string();
    StoredSecret {
        metadata: SecretMetadata {
            uid: String::new(),
            resource_version: String::new(),
            owned: true,
            state: Some(state.render()),
            data_writer: DataWriter::Us {
                at: Some(world.truth.now()),
            },
        },
        writable: true,
        docker_config: Some(document.into_bytes().into()),
    }
}
