//! The versions of all policies as they are now, asked for once on behalf of all who wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::sleep;

use super::live::{LiveReads, PolicyVersions};
use crate::secret::StoreError;

/// How long others may join: one policy that goes can take entries out of thousands of namespaces.
const GATHERING: Duration = Duration::from_millis(200);

type Answer = Result<Option<Arc<PolicyVersions>>, StoreError>;
type Asking = Shared<BoxFuture<'static, Answer>>;

/// Asks for the versions of all policies.
pub(super) struct Census {
    live: Arc<dyn LiveReads>,
    /// The one that has not begun to ask: what it will hear is news to whoever joins it.
    next: Arc<Mutex<Option<Asking>>>,
}

impl Census {
    pub(super) fn new(live: Arc<dyn LiveReads>) -> Self {
        Self {
            live,
            next: Arc::default(),
        }
    }

    /// What a list says that begins after this call.
    pub(super) async fn take(&self) -> Answer {
        let asking = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.get_or_insert_with(|| self.ask()).clone()
        };
        asking.await
    }

    fn ask(&self) -> Asking {
        let (live, next) = (Arc::clone(&self.live), Arc::clone(&self.next));
        let ask = async move {
            sleep(GATHERING).await;
            // From here on it is too late to join.
            next.lock().unwrap_or_else(PoisonError::into_inner).take();
            Ok(live.policies().await?.map(Arc::new))
        };
        ask.boxed().shared()
    }
}
