//! What other people do to our objects.

use std::time::Duration;

use tokio::time::Instant;

use super::simulation::Simulation;
use super::world::CONFIGURATIONS;

impl Simulation {
    /// One of these things, by a die.
    pub(super) fn vandalism(&mut self, dice: u32) {
        let now = Instant::now();
        let mut world = self.world.lock();
        let which = world.rng.usize(..CONFIGURATIONS);
        let bundles = world.configuration(which).cloned();
        match dice {
            26..46 => {
                let Some(mut bundles) = bundles else { return };
                let entry = world.rng.usize(..bundles.len());
                match dice {
                    26..32 => bundles.fill(Vec::new()),
                    32..36 => bundles[entry].truncate(40),
                    36..40 => bundles[entry] = b"\xff\xfe garbage".to_vec(),
                    40..43 => bundles.push(Vec::new()),
                    _ => bundles[entry].extend(super::foreign_authority().as_bytes()),
                }
                world.set_configuration(which, Some(bundles));
                world.bundle_edit = now;
                if now - self.destroyed < self.setting.repair {
                    world.secret_edit = now;
                }
            }
            46..48 => {
                world.set_configuration(which, None);
                world.bundle_edit = now;
                if now - self.destroyed < self.setting.repair {
                    world.secret_edit = now;
                }
                let pause = Duration::from_secs(world.rng.u64(..300));
                self.recreate_at = Some(now + pause);
            }
            48..51 => {
                world.set_secret(None);
                drop(world);
                self.secret_destroyed();
            }
            51..56 => {
                let Some(mut data) = world.secret().cloned() else {
                    return;
                };
                if data.is_empty() {
                    return;
                }
                let key = world.rng.usize(..data.len());
                let key = data.keys().nth(key).unwrap().clone();
                match dice {
                    51..53 => drop(data.remove(&key)),
                    53..55 => drop(data.insert(key, b"garbage".to_vec().into())),
                    _ => data.clear(),
                }
                world.set_secret(Some(data));
                drop(world);
                self.secret_destroyed();
            }
            _ => {
                // A backup put back, perhaps with everything in it long expired.
                if world.backups.is_empty() {
                    return;
                }
                let backups = world.backups.len();
                let backup = world.rng.usize(..backups);
                let backup = world.backups[backup].clone();
                world.set_secret(Some(backup));
                world.secret_edit = now;
            }
        }
    }

    /// A Secret that is destroyed excuses nothing, as long as what it said can still be read off the configurations.
    fn secret_destroyed(&mut self) {
        let mut world = self.world.lock();
        let edit = world.bundle_edit.max(world.secret_edit);
        let gone = (0..CONFIGURATIONS).any(|which| world.configuration(which).is_none());
        if gone || self.repaired != edit {
            world.secret_edit = Instant::now();
        }
        self.destroyed = Instant::now();
    }
}
