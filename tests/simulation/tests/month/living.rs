//! What people do: namespaces come and go, and somebody meddles with Secrets.

use ecr_admission::secret::memory::NamespacePhase;
use ecr_admission::secret::{DataWriter, SecretMetadata, StoredSecret};
use tokio::time::Instant;

use super::audit::NEWER;
use super::heritage::inherit;
use super::population::{Kind, Turn};
use super::simulation::{LIVED_EVERY, Simulation};
use super::world::Inner;

/// After how many days on average a namespace gets another tenant.
const SOLD_AFTER: u32 = 4;

impl Simulation {
    /// Lets namespaces come and go, and somebody meddle with Secrets.
    pub(super) fn live(&mut self) {
        let now = Instant::now();
        let (turns, victims, sold) = {
            let mut world = self.world.lock();
            let Inner {
                population, rng, ..
            } = &mut *world;
            let turns = population.step(self.setting.namespaces, now, rng);
            let all = population.namespaces.iter();
            let victims = all.filter(|(_, namespace)| {
                namespace.kind == Kind::Vandalised && rng.u32(..24 * 60 / LIVED_EVERY) == 0
            });
            let victims: Vec<String> = victims.map(|(name, _)| name.clone()).collect();
            for name in &victims {
                let victim = population.namespaces.get_mut(name);
                victim.expect("it was just there").disturbed = Some(now);
            }
            let all = population.namespaces.iter_mut();
            let sold = all.filter(|(_, namespace)| {
                namespace.kind == Kind::Ordinary
                    && namespace.phase == NamespacePhase::Active
                    && rng.u32(..SOLD_AFTER * 24 * 60 / LIVED_EVERY) == 0
            });
            let sold: Vec<String> = sold
                .map(|(name, namespace)| {
                    namespace.hand_over(now);
                    name.clone()
                })
                .collect();
            (turns, victims, sold)
        };
        for (name, replica) in sold
            .iter()
            .flat_map(|name| self.replicas.iter().map(move |one| (name, one)))
        {
            replica.namespace(name);
        }
        self.outcome.meddled += victims.len() as u64;
        let is_beginning = self.outcome.founded == 0;
        for (name, turn) in turns {
            let phase = match turn {
                Turn::Begins => NamespacePhase::Active,
                Turn::Ends => NamespacePhase::Terminating,
                Turn::IsGone => NamespacePhase::Missing,
            };
            self.world.cluster.set_namespace(&name, phase);
            for replica in &self.replicas {
                replica.namespace(&name);
            }
            match turn {
                Turn::Begins => {
                    self.outcome.founded += 1;
                    self.furnish(&name);
                    if is_beginning {
                        inherit(&self.world, &name);
                    }
                }
                Turn::Ends => {}
                Turn::IsGone => self.world.lock().audit.forget(&name),
            }
        }
        for name in victims {
            let deletes = self.world.lock().rng.bool();
            self.world.cluster.change(&name, |secret| {
                let mut secret = secret.filter(|_| !deletes)?;
                secret.docker_config = Some(br#"{"auths":{}}"#.to_vec().into());
                secret.metadata.data_writer = DataWriter::SomebodyElse;
                Some(secret)
            });
        }
    }

    /// Puts what others left into a new namespace.
    fn furnish(&self, name: &str) {
        let kind = self.world.lock().population.namespaces[name].kind;
        let state = format!(r#"{{"entries":{{"{NEWER}":{{"v":9,"lease":"x"}}}}}}"#);
        let (owned, state, data) = match kind {
            Kind::Foreign => (false, None, r#"{"auths":{}}"#.to_owned()),
            Kind::Newer => (
                true,
                Some(state),
                format!(r#"{{"auths":{{"{NEWER}":{{"auth":"eDp5"}}}}}}"#),
            ),
            Kind::Ordinary | Kind::Asleep | Kind::Vandalised => return,
        };
        self.world.cluster.change(name, |_| {
            Some(StoredSecret {
                metadata: SecretMetadata {
                    uid: String::new(),
                    resource_version: String::new(),
                    owned,
                    state,
                    data_writer: DataWriter::Us { at: None },
                },
                writable: true,
                docker_config: Some(data.into_bytes().into()),
            })
        });
    }
}
