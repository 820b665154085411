//! One tenant's failure is nobody else's.

use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::token::{Metrics, MintErrorKind, TokenCache, TokenKey, Urgency};
use futures_util::future::join_all;
use jiff::SignedDuration;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::source;
use super::tenants::{of_tenant, settings};
use crate::support::ecr::{Answer, EcrDouble};
use crate::support::sts::Assume;

struct Tenants {
    ecr: EcrDouble,
    cache: TokenCache,
}

impl Tenants {
    async fn new() -> Self {
        let ecr = EcrDouble::start().await;
        let source = Arc::new(source(&settings(&ecr)).await);
        let metrics = Metrics::register(&mut Registry::default());
        let cache = TokenCache::new(source, Clock::system(), metrics);
        let told = Answer::Token("of-KEY".to_owned(), SignedDuration::from_hours(12));
        ecr.always(told);
        Self { ecr, cache }
    }

    async fn token(&self, tenant: &str) -> Result<String, MintErrorKind> {
        let key = of_tenant(tenant, &json!({}), "eu-west-1");
        let token = self.cache.get(&key, Urgency::Admission).await;
        token
            .map(|token| token.password().to_owned())
            .map_err(|error| error.kind)
    }

    /// Somebody asks for tokens of team-a in more regions than may be asked for at once.
    fn flood(&self) -> JoinHandle<()> {
        let cache = self.cache.clone();
        tokio::spawn(async move {
            let keys = (1..20).map(|n| of_tenant("team-a", &json!({}), &format!("eu-west-{n}")));
            let keys: Vec<TokenKey> = keys.collect();
            let asked = keys.iter().map(|key| cache.get(key, Urgency::Admission));
            join_all(asked).await;
        })
    }
}

#[tokio::test]
async fn a_tenant_whose_role_is_denied_throttled_or_expired_fails_alone() {
    let trouble = [
        (Some((403, "AccessDenied")), MintErrorKind::Denied),
        (Some((400, "Throttling")), MintErrorKind::Throttled),
        (None, MintErrorKind::ExpiredCredentials),
    ];
    for (refusal, kind) in trouble {
        let tenants = Tenants::new().await;
        match refusal {
            Some((status, code)) => tenants
                .ecr
                .role("team-a", Assume::Refuse(status, code, "no")),
            None => tenants.ecr.always_for(
                "AKIDteam-a",
                Answer::Error(400, "ExpiredTokenException", "expired"),
            ),
        }
        tenants.flood().await.unwrap();
        assert_eq!(tenants.token("team-a").await, Err(kind));
        assert_eq!(
            tenants.token("team-b").await.as_deref(),
            Ok("of-AKIDteam-b")
        );
        let trouble = tenants.cache.trouble().unwrap();
        assert!(trouble.contains("role/team-a"), "{trouble}");
        assert!(!trouble.contains("role/team-b"), "{trouble}");
    }
}

/// Whether another tenant's token is there while every call for the first one still hangs.
async fn another_is_served_meanwhile() -> bool {
    let tenants = Tenants::new().await;
    tenants.ecr.role("team-a", Assume::Hang);
    let flood = tenants.flood();
    let mut hanging = 0;
    while hanging < 6 {
        sleep(Duration::from_millis(10)).await;
        hanging = tenants.ecr.assumed().len();
    }
    let served = tenants.token("team-b").await;
    let meanwhile = !flood.is_finished();
    // Six places for keys that never gave a token: no more of the hanging ones have begun.
    let bounded = tenants.ecr.assumed().len() == 6 + 1;
    flood.abort();
    served.as_deref() == Ok("of-AKIDteam-b") && meanwhile && bounded
}

#[tokio::test]
async fn a_tenant_for_whom_sts_hangs_delays_nobody() {
    for _ in 0..4 {
        // The mint ends after 15 s; a machine that stands still for so long shows nothing, so it is tried again.
        if another_is_served_meanwhile().await {
            return;
        }
    }
    panic!("the other tenant waited each time");
}
