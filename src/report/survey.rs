//! Going through the cluster, kind by kind and page by page.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scope::Scope;
use super::tally::Tally;
use super::{Options, Report};
use crate::inventory::{Census, Found, Inventory, Kind};
use crate::secret::StoreError;

/// Asks a cluster.
pub struct Survey {
    /// Tells of namespaces.
    pub inventory: Arc<dyn Inventory>,
    /// Tells of what is in them.
    pub census: Arc<dyn Census>,
}

/// Why there is no report. A part of one would tell of fewer refusals than there would be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SurveyError {
    /// A namespace was named that is not there.
    #[error("there is no namespace {0:?}")]
    NoNamespace(String),
    /// The cluster cannot be read; the sentence says what.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Survey {
    /// Judges what is there. Holds a page of objects at a time, and what is to be told. Where namespaces are named, nothing
    /// outside of them is asked for.
    ///
    /// # Errors
    /// [`SurveyError`]
    pub async fn run(&self, scope: &Scope, options: Options) -> Result<Report, SurveyError> {
        let mut skipped = BTreeMap::new();
        let mut judged = Vec::new();
        for found in self.namespaces(scope).await? {
            match scope.left_out(&found) {
                Some(reason) => _ = skipped.insert(found.name, reason),
                None => judged.push(found),
            }
        }
        let places: Vec<Option<String>> = match (judged.is_empty(), scope.names.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec![None],
            (false, false) => judged
                .iter()
                .map(|found| Some(found.name.clone()))
                .collect(),
        };
        let mut tally = Tally::new(options, judged);
        for kind in Kind::ALL {
            for place in &places {
                self.all(kind, place.as_deref(), &mut tally).await?;
            }
        }
        Ok(tally.finish(skipped))
    }

    async fn namespaces(&self, scope: &Scope) -> Result<Vec<Found>, SurveyError> {
        if scope.names.is_empty() {
            let selector = scope.selector.as_deref();
            return Ok(self.inventory.namespaces(selector).await?);
        }
        let mut found = Vec::new();
        for name in &scope.names {
            match self.inventory.namespace(name).await? {
                Some(namespace) => found.push(namespace),
                None => return Err(SurveyError::NoNamespace(name.clone())),
            }
        }
        Ok(found)
    }

    async fn all(
        &self,
        kind: Kind,
        place: Option<&str>,
        tally: &mut Tally,
    ) -> Result<(), SurveyError> {
        let mut next = None;
        loop {
            let page = self.census.page(kind, place, next.as_deref()).await?;
            for sight in page.objects {
                tally.add(kind, sight);
            }
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }
}
