//! Texts that many Secrets have in common, kept once: hosts of registries, fingerprints of identities. A cluster of 10,000
//! namespaces has a handful of each.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// How many are kept before those are looked for that nobody has any more. Anybody who may edit a Secret of ours can
/// invent some.
const SWEPT_FROM: usize = 256;

/// Texts in use, each once.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Pool>);

#[derive(Debug, Default)]
struct Pool {
    names: HashSet<Arc<str>>,
    /// How many were in use at the last sweep.
    swept: usize,
}

impl Names {
    /// The one text that is equal to this one.
    pub(super) fn share(&self, name: &str) -> Arc<str> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = pool.names.get(name) {
            return Arc::clone(shared);
        }
        if pool.names.len() >= SWEPT_FROM.max(2 * pool.swept) {
            pool.names.retain(|name| Arc::strong_count(name) > 1);
            pool.swept = pool.names.len();
        }
        let shared: Arc<str> = name.into();
        pool.names.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    fn count(names: &Names) -> usize {
        names.0.lock().unwrap().names.len()
    }

    #[test]
    fn equal_names_are_one_and_those_that_nobody_has_are_forgotten() {
        let names = Names::default();
        let host = names.share(HOST);
        let is_kept = || Arc::ptr_eq(&host, &names.share(HOST));
        assert!(is_kept());

        let invented = |number: usize| names.share(&format!("invented-{number}"));
        let held: Vec<_> = (0..10_000).map(invented).collect();
        assert!(is_kept() && count(&names) == 10_001);
        drop(held);
        for number in 10_000..20_000 {
            invented(number);
        }
        assert!(is_kept() && count(&names) <= SWEPT_FROM);
    }
}
