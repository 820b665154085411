//! Listing: how fresh it must be, and what becomes of its items.

use std::collections::HashSet;
use std::sync::Arc;

use kube::api::{ListParams, VersionMatch};
use kube::core::Request;

use super::super::list::page;
use super::super::wire::PartialObject;
use super::{Kind, Watch};
use crate::watch::Mirror;

/// Objects a page of a consistent list.
const PAGE: u32 = 500;

/// Which data the next list may answer with.
pub(super) enum Freshness {
    /// Whatever the API server has at hand.
    Any,
    /// Nothing older than this version, which has been seen.
    NotOlderThan(String),
    /// A consistent read.
    Latest,
}

/// What a list collects while its items go to the mirror one by one.
struct Listing<T> {
    kind: Arc<Kind<T>>,
    mirror: Arc<dyn Mirror<T>>,
    keys: HashSet<String>,
}

impl<T: Send + 'static> Watch<T> {
    /// Delivers a whole list to the mirror and returns its version.
    pub(super) async fn list(&self, freshness: &Freshness) -> kube::Result<String> {
        let mut params = ListParams {
            field_selector: self.kind.field_selector.clone(),
            ..ListParams::default()
        };
        match freshness {
            Freshness::Any => params = params.match_any(),
            Freshness::NotOlderThan(version) => {
                params = params.at(version);
                params.version_match = Some(VersionMatch::NotOlderThan);
            }
            // With a limit the API server reads etcd even where its cache would do, so only where it must anyway.
            Freshness::Latest => params = params.limit(PAGE),
        }
        let mut listing = Listing {
            kind: Arc::clone(&self.kind),
            mirror: Arc::clone(&self.mirror),
            keys: HashSet::new(),
        };
        loop {
            let request = Request::new(&*self.kind.path);
            let request = if self.kind.whole {
                request.list(&params)
            } else {
                request.list_metadata(&params)
            };
            let request = request.map_err(kube::Error::BuildRequest)?;
            let fold = |listing: &mut Listing<T>, object: PartialObject| {
                let key = (listing.kind.key)(&object.metadata).into_owned();
                listing.mirror.apply(&key, (listing.kind.project)(object));
                listing.keys.insert(key);
            };
            let (all, meta) = page(&self.client, request, self.pace.silence, listing, fold).await?;
            listing = all;
            let Some(token) = meta.next_page() else {
                self.mirror.listed(&listing.keys, &meta.resource_version);
                self.heard();
                return Ok(meta.resource_version);
            };
            params.continue_token = Some(token.to_owned());
        }
    }
}

/// A version that is gone (a page token too, after five minutes), or that this API server has not reached yet ("Too
/// large resource version", 504), is not asked for again.
pub(super) fn after_failed_list(before: Freshness, error: &kube::Error) -> Freshness {
    match error {
        kube::Error::Api(status) if matches!(status.code, 410 | 504) => Freshness::Latest,
        _ => before,
    }
}
