//! Tokens for what a namespace needs, and the write that puts them into its Secret and takes out what is granted no more:
//! both only as far as the cluster says so at that moment.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::ensure::{HEAD_START, Inner, Purpose};
use super::need::Need;
use crate::rulebook::Unconfirmed;
use crate::secret::{Known, Put, Revocation, WriteError};
use crate::token::{MintError, Token, Urgency};

impl Inner {
    /// The repair of a Secret that somebody else edited drops all of its data, so it puts back what other Pods use, as
    /// far as tokens for that can be had soon.
    pub(super) async fn restored(
        &self,
        namespace: &str,
        known: &Known,
        needs: &[Need],
    ) -> Vec<(Need, Arc<Token>)> {
        let ruling = self.rulebook.ruling(namespace);
        let Some(policy) = ruling.filter(|_| !known.is_trusted(self.clock.monotonic())) else {
            return Vec::new();
        };
        let others = known.keys().filter_map(|key| Need::of_entry(&policy, key));
        let others: Vec<Need> = others.filter(|other| !needs.contains(other)).collect();
        let tokens = self.tokens(&others, Purpose::Background, HEAD_START).await;
        let restored = others.into_iter().zip(tokens);
        restored
            .filter_map(|(need, token)| Some((need, token?.ok()?)))
            .collect()
    }

    /// What came of asking for each token; `None` where that takes longer than `patience`.
    pub(super) async fn tokens(
        &self,
        needs: &[Need],
        purpose: Purpose,
        patience: Duration,
    ) -> Vec<Option<Result<Arc<Token>, MintError>>> {
        let urgency = match purpose {
            Purpose::Admission | Purpose::DryRun => Urgency::Admission,
            Purpose::Background => Urgency::Background,
        };
        let asked = needs.iter().map(|need| async move {
            let token = self.tokens.get(need.token(), urgency);
            timeout(patience, token).await.ok()
        });
        join_all(asked).await
    }

    /// Writes what may be written; tells whether it had to write, and why something was left as it is.
    pub(super) async fn put(
        &self,
        namespace: &Arc<str>,
        puts: &[(Need, Arc<Token>)],
    ) -> Result<(bool, Option<Unconfirmed>), WriteError> {
        let lock = self.lock(namespace);
        let _alone = lock.mutex.lock().await;
        let (revoked, disputed, overtaken) = self.revoked(namespace).await?;
        let wanted = puts
            .iter()
            .map(|(need, _)| (&**need.key(), &need.token().identity));
        let unconfirmed = self.rulebook.confirm(namespace, wanted).await.err();
        let set = self.rulebook.set();
        let may = |need: &Need| {
            // Nor is what may be somebody else's by right replaced.
            let is_confirmed =
                unconfirmed.is_none() || set.grants_everywhere(&need.token().identity);
            is_confirmed && !disputed.names(need.key())
        };
        let now = self.clock.reckoned();
        let puts: Vec<Put<'_>> = puts
            .iter()
            .filter(|(need, _)| may(need))
            .map(|(need, token)| Put {
                wanted: need.wanted(),
                token,
                used_at: need.last_use(now),
            })
            .collect();
        let written = self.writer.put(namespace, &puts, &revoked).await?;
        Ok((written, unconfirmed.or(overtaken)))
    }

    /// What is to be taken out of a namespace's Secret; or else what looks so, and why it stays.
    async fn revoked(
        &self,
        namespace: &str,
    ) -> Result<(Revocation, Revocation, Option<Unconfirmed>), WriteError> {
        let nothing = Revocation::default;
        let Some(known) = self.writer.known(namespace).await? else {
            return Ok((nothing(), nothing(), None));
        };
        let granted = self.rulebook.grants(namespace);
        let revoked = self.writer.revocation(&known, &granted);
        if revoked.is_empty() {
            return Ok((revoked, nothing(), None));
        }
        let confirmed = self
            .rulebook
            .confirm_ungranted(namespace, revoked.entries());
        Ok(match confirmed.await {
            Ok(()) => (revoked, nothing(), None),
            Err(unconfirmed) => (nothing(), revoked, Some(unconfirmed)),
        })
    }
}
