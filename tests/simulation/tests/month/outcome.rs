//! What a simulation came to.

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Of everything that was seen: the same seed gives the same.
    pub(crate) digest: u64,
    pub(super) pods: u64,
    pub(super) warned: u64,
    pub(super) refused: u64,
    pub(super) unasked: u64,
    pub(super) judged: u64,
    pub(super) excused: u64,
    pub(super) healed: u64,
    pub(super) writes: u64,
    pub(super) conflicts: u64,
    pub(super) deletions: u64,
    pub(super) minted: u32,
    pub(super) mints_failed: u32,
    pub(super) crashes: u64,
    /// New namespaces, and Secrets that somebody edited or deleted.
    pub(super) founded: u64,
    pub(super) meddled: u64,
    /// Each entry of a Secret, and for how long it was there.
    pub(super) held_minutes: u64,
    /// What the whole process had in memory at the end of each day, in MiB: replicas, cluster and judge.
    pub(super) memory: Vec<u64>,
}

impl Outcome {
    /// A month needs no more memory than ten days did.
    pub(crate) fn assert_flat(&self) {
        let [tenth, last] = [self.memory[9], *self.memory.last().unwrap()];
        assert!(
            last < tenth + tenth / 4,
            "MiB, day by day: {:?}",
            self.memory
        );
    }

    /// It proves something only if much happened, and most of it was not excused.
    pub(crate) fn assert_eventful(&self) {
        assert!(self.pods > 1_000 && self.warned > 0 && self.refused > 0);
        assert!(self.crashes > 10 && self.mints_failed > 50 && self.conflicts > 10);
        assert!(self.healed > 0, "nothing was ever broken");
        assert!(self.judged > 100_000 && self.excused * 10 < self.judged);
        // Each entry at half of its life, once, and a quarter more for answers that are lost; and what is made anew.
        let due = self.held_minutes / (6 * 60) * 5 / 4 + 2 * (self.founded + self.meddled);
        assert!(self.writes < due, "{} writes, {due} were due", self.writes);
    }
}
