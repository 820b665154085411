//! The mirror of the cluster's namespaces.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use super::Namespace;
use crate::attention::Attention;
use crate::policy::Labels;
use crate::watch::Mirror;

/// One that says nothing.
static ORDINARY: LazyLock<Arc<Namespace>> = LazyLock::new(Arc::default);

/// A mirror of the cluster's namespaces. Without policies that select by labels it keeps only those that differ from the
/// [`Namespace::default`], and no labels.
#[derive(Debug, Default)]
pub struct NamespaceIndex {
    kept: RwLock<Kept>,
    with_labels: bool,
    attention: Attention,
    revision: AtomicU64,
}

type Kept = HashMap<Box<str>, Arc<Namespace>>;

impl NamespaceIndex {
    /// One that keeps every namespace, with its labels.
    pub fn with_labels() -> Self {
        Self {
            with_labels: true,
            ..Self::default()
        }
    }

    /// What is known of a namespace; one never heard of is an ordinary one.
    pub fn get(&self, name: &str) -> Arc<Namespace> {
        self.known(name).unwrap_or_else(|| Arc::clone(&ORDINARY))
    }

    /// What is known of a namespace, with its labels; `None` for one never heard of, or where no labels are kept and it
    /// is an ordinary one.
    pub fn known(&self, name: &str) -> Option<Arc<Namespace>> {
        self.read(|kept| kept.get(name).map(Arc::clone))
    }

    /// Shows every namespace that is kept, with its labels.
    pub fn each(&self, look: &mut dyn FnMut(&str, &Labels)) {
        self.read(|kept| {
            for (name, namespace) in kept {
                look(name, &namespace.labels);
            }
        });
    }

    /// Counts up when a namespace comes or goes, or gets other labels, where they are kept.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.read(HashMap::len)
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The namespaces that pin registries.
    pub fn pinning(&self) -> Vec<Box<str>> {
        self.read(|kept| {
            let kept = kept.iter();
            let pinning = kept.filter(|(_, namespace)| !namespace.pins.is_empty());
            pinning.map(|(name, _)| name.clone()).collect()
        })
    }

    /// A namespace has these labels `now`, somebody has read. It stays as it is where the mirror has heard of others than
    /// those `before` since: then nobody knows which are newer.
    pub fn relabel(&self, name: &str, before: &Arc<Labels>, now: &Arc<Labels>) {
        if !self.with_labels || before == now {
            return;
        }
        let relabelled = self.change(|kept| {
            let known = kept.get_mut(name)?;
            // The same labels are the same object as long as no others came between.
            Arc::ptr_eq(&known.labels, before)
                .then(|| Arc::make_mut(known).labels = Arc::clone(now))
        });
        if relabelled.is_some() {
            self.revision.fetch_add(1, Ordering::AcqRel);
            self.attention.draw(name);
        }
    }

    /// What this draws attention to: namespaces whose pins have changed, or whose labels, where they are kept.
    pub fn attention(&self) -> &Attention {
        &self.attention
    }

    fn read<T>(&self, read: impl FnOnce(&Kept) -> T) -> T {
        read(&self.kept.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.kept.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Mirror<Namespace> for NamespaceIndex {
    fn apply(&self, key: &str, mut object: Namespace) {
        if !self.with_labels {
            object.labels = Arc::default();
        }
        let draws = self.change(|kept| {
            let known = kept.get(key);
            let before = known.unwrap_or(&ORDINARY);
            let relabelled = object.labels != before.labels;
            if relabelled || known.is_none() {
                self.revision.fetch_add(1, Ordering::AcqRel);
            }
            let repinned = !object.pins.is_empty() && object.pins != before.pins;
            if !relabelled {
                // What was compiled for these very labels stays good.
                object.labels = Arc::clone(&before.labels);
            }
            if object == **ORDINARY && !self.with_labels {
                kept.remove(key);
            } else {
                kept.insert(key.into(), Arc::new(object));
            }
            relabelled || repinned
        });
        if draws {
            self.attention.draw(key);
        }
    }

    fn delete(&self, key: &str, _resource_version: &str) {
        self.change(|kept| kept.remove(key));
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    fn listed(&self, keys: &HashSet<String>, _resource_version: &str) {
        self.change(|kept| kept.retain(|name, _| keys.contains(&**name)));
        self.revision.fetch_add(1, Ordering::AcqRel);
        self.attention.listed();
    }

    fn heard(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Pins;

    #[test]
    fn an_opted_out_namespace_is_forgotten_when_it_opts_in_or_goes() {
        let index = NamespaceIndex::default();
        let out = Namespace {
            inject: false,
            ..Namespace::default()
        };
        for name in ["a", "b", "c"] {
            index.apply(name, out.clone());
        }
        index.apply("a", Namespace::default());
        index.delete("b", "9");
        assert_eq!(*index.get("a"), Namespace::default());
        assert_eq!(*index.get("b"), Namespace::default());
        assert_eq!(*index.get("c"), out);
        index.listed(&HashSet::from(["d".to_owned()]), "10");
        assert_eq!(*index.get("c"), Namespace::default());
        assert!(index.is_empty());
    }

    #[test]
    fn labels_are_kept_where_policies_select_by_them_and_draw_attention_when_they_change() {
        let labelled = |team: &str| Namespace {
            labels: Arc::new(Labels::from([("team".to_owned(), team.to_owned())])),
            ..Namespace::default()
        };
        let without = NamespaceIndex::default();
        without.apply("a", labelled("a"));
        assert!(without.is_empty() && without.attention().take().namespaces.is_empty());

        let index = NamespaceIndex::with_labels();
        index.apply("ordinary", Namespace::default());
        assert!(index.known("ordinary").is_some() && index.known("unknown").is_none());
        index.apply("a", labelled("a"));
        assert_eq!(index.attention().take().namespaces.len(), 1);
        let first = index.get("a");
        let revision = index.revision();
        index.apply("a", labelled("a"));
        assert_eq!(index.revision(), revision);
        assert!(Arc::ptr_eq(&first.labels, &index.get("a").labels));
        assert!(index.attention().take().namespaces.is_empty());
        index.apply("a", labelled("b"));
        assert_eq!(index.attention().take().namespaces.len(), 1);
        assert_eq!(index.get("a").labels["team"], "b");
        assert!(index.revision() > revision);
        let mut seen = Vec::new();
        index.each(&mut |name, labels| seen.push((name.to_owned(), labels.len())));
        seen.sort();
        assert_eq!(seen, [("a".to_owned(), 1), ("ordinary".to_owned(), 0)]);
    }

    #[test]
    fn labels_that_somebody_has_read_count_unless_others_came_between() {
        let labels = |team: &str| Arc::new(Labels::from([("team".to_owned(), team.to_owned())]));
        let labelled = |team: &str| Namespace {
            labels: labels(team),
            ..Namespace::default()
        };
        let index = NamespaceIndex::with_labels();
        index.relabel("a", &Arc::default(), &labels("b"));
        assert!(index.known("a").is_none());
        index.apply("a", labelled("a"));
        let before = index.get("a").labels.clone();
        let drawn = || index.attention().take().namespaces.len();
        assert_eq!(drawn(), 1);
        let revision = index.revision();
        index.relabel("a", &before, &labels("a"));
        assert_eq!((drawn(), index.revision()), (0, revision));

        index.relabel("a", &before, &labels("b"));
        assert_eq!((&*index.get("a").labels["team"], drawn()), ("b", 1));
        assert!(index.revision() > revision);
        // The watch says so too, in the end.
        index.apply("a", labelled("b"));
        assert_eq!(drawn(), 0);

        let before = index.get("a").labels.clone();
        for team in ["a", "b"] {
            index.apply("a", labelled(team));
        }
        index.relabel("a", &before, &labels("a"));
        assert_eq!(index.get("a").labels["team"], "b");
    }

    #[test]
    fn pins_draw_attention_when_they_change_and_not_when_something_else_does() {
        let index = NamespaceIndex::default();
        let pinning = |list: &str, inject| Namespace {
            inject,
            pins: Pins::of(list),
            ..Namespace::default()
        };
        let drawn = || index.attention().take().namespaces.len();
        index.apply("a", pinning("one.example", true));
        assert_eq!(drawn(), 1);
        index.apply("a", pinning("one.example", false));
        assert_eq!(drawn(), 0);
        index.apply("a", pinning("one.example,two.example", false));
        assert_eq!((drawn(), index.pinning().len()), (1, 1));
        index.apply("a", Namespace::default());
        assert_eq!((drawn(), index.pinning().len()), (0, 0));
    }
}
