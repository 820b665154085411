//! Objects, one after the other → what they come to.

use std::collections::{BTreeMap, HashMap};

use super::change::Change;
use super::namespace::{Judged, NamespaceReport, Room, Standing, key};
use super::{Options, Report};
use crate::inventory::{Found, Kind, Sight};
use crate::policy::{Action, Policy, decide_for};

/// The ServiceAccount of Pods that name none.
const DEFAULT_ACCOUNT: &str = "default";
/// The most images that are listed in all: some 20 MB.
const MOST_TOLD: usize = 20_000;

/// Judges objects and keeps what came of them: some 300 bytes a namespace, and what is listed.
pub(super) struct Tally {
    options: Options,
    /// The namespaces that are judged.
    namespaces: BTreeMap<String, Found>,
    reports: BTreeMap<String, NamespaceReport>,
    /// What workloads have made that makes Pods itself, and which workload it was.
    made: HashMap<(Kind, String, String), (Kind, String)>,
    /// The namespace of the last object: lists have their objects by namespace.
    last: Option<InNamespace>,
    room: Room,
}

/// What holds in a namespace.
struct InNamespace {
    name: String,
    before: Policy,
    after: Policy,
}

impl Tally {
    /// Of objects in these namespaces.
    pub(super) fn new(options: Options, namespaces: Vec<Found>) -> Self {
        let room = Room {
            left: MOST_TOLD,
            most: options.most,
        };
        let mut tally = Self {
            options,
            namespaces: namespaces
                .into_iter()
                .map(|found| (found.name.clone(), found))
                .collect(),
            reports: BTreeMap::new(),
            made: HashMap::new(),
            last: None,
            room,
        };
        tally.reports = tally
            .namespaces
            .values()
            .map(|found| {
                let here = tally.in_namespace(found);
                let (before, after) = (&here.before.combined, &here.after.combined);
                let (before, after) = (Standing::of(before), Standing::of(after));
                (found.name.clone(), NamespaceReport::new(before, after))
            })
            .collect();
        tally
    }

    fn in_namespace(&self, found: &Found) -> InNamespace {
        let Options { before, after, .. } = &self.options;
        InNamespace {
            name: found.name.clone(),
            before: before.in_namespace(&found.name, &found.labels),
            after: after.in_namespace(&found.name, &found.labels),
        }
    }

    /// Adds an object. Those that make others must come before what they make.
    pub(super) fn add(&mut self, kind: Kind, sight: Sight) {
        let Some(found) = self.namespaces.get(&sight.namespace) else {
            return;
        };
        let owner = sight.owner.as_ref().map(|owner| {
            let (kind, name) = owner;
            let made = (*kind, sight.namespace.clone(), name.clone());
            self.made.get(&made).unwrap_or(owner).clone()
        });
        if kind != Kind::Pod
            && let Some(owner) = owner
        {
            // The owner's template is told; what is left of an older one has no Pods.
            if !sight.idle {
                let made = (kind, sight.namespace, sight.name);
                self.made.insert(made, owner);
            }
            return;
        }
        let here = match self.last.take() {
            Some(last) if last.name == sight.namespace => last,
            _ => self.in_namespace(found),
        };
        if let Some(report) = self.reports.get_mut(&sight.namespace) {
            judge(kind, &sight, owner.as_ref(), &here, report, &mut self.room);
        }
        self.last = Some(here);
    }

    /// What it came to.
    pub(super) fn finish(self, skipped: BTreeMap<String, &'static str>) -> Report {
        Report {
            namespaces: self.reports,
            skipped,
        }
    }
}

fn judge(
    kind: Kind,
    sight: &Sight,
    owner: Option<&(Kind, String)>,
    here: &InNamespace,
    report: &mut NamespaceReport,
    room: &mut Room,
) {
    let account = sight.service_account.as_deref();
    let account = account.unwrap_or(DEFAULT_ACCOUNT);
    let own = (kind, sight.name.as_str());
    let subject = owner.map_or(own, |(kind, name)| (*kind, name.as_str()));
    let (mut broken, mut changes) = (Vec::new(), Vec::new());
    let mut strictest: Option<Action> = None;
    for (slot, image) in &sight.images {
        let after = decide_for(&here.after, account, image);
        let before = decide_for(&here.before, account, image);
        if let Some(change) = Change::between(&before, &after)
            && !changes.contains(&change)
        {
            report.add_change(change.clone(), kind, room);
            changes.push(change);
        }
        report.exempt += usize::from(!after.exempt.is_empty());
        let judged = Judged {
            kind,
            subject,
            slot,
            image,
        };
        for finding in after.into_findings() {
            strictest = strictest.max(Some(finding.action));
            let rule = key(&finding);
            let is_first = !broken.contains(&rule);
            report.add(&judged, finding, is_first, room);
            broken.push(rule);
        }
    }
    report.fates.add(kind, strictest);
    report.owned += usize::from(owner.is_some());
}
