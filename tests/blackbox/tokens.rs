//! One token for everybody who needs the same.

use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::image::ecr::Partition;
use ecr_admission::policy::{Identity, RoleIdentity};
use ecr_admission::token::{Metrics, MintErrorKind, TokenCache, TokenKey, Urgency};
use futures_util::future::join_all;
use jiff::SignedDuration;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::sleep;

use crate::support::mint::{Behaviour, LIFE, Mint, PASSWORD};
use crate::support::service::START;

const MINUTE: Duration = Duration::from_mins(1);

struct Setup {
    clock: Clock,
    mint: Arc<Mint>,
    cache: TokenCache,
    registry: Registry,
}

fn setup() -> Setup {
    let clock = Clock::simulated(START, 1);
    let mint = Arc::new(Mint::new(&clock));
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let cache = TokenCache::new(Arc::clone(&mint) as Arc<_>, clock.clone(), metrics);
    Setup {
        clock,
        mint,
        cache,
        registry,
    }
}

fn key(region: &str) -> TokenKey {
    TokenKey {
        identity: Identity::Controller,
        partition: Partition::Aws,
        region: region.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_while_a_mint_is_under_way_shares_it() {
    let Setup { mint, cache, .. } = setup();
    mint.always(Behaviour::Slow(Duration::from_secs(2)));
    let key = key("eu-west-1");
    let asked = (0..1_000).map(|_| cache.get(&key, Urgency::Admission));
    let tokens = join_all(asked).await;
    let first = tokens[0].as_ref().unwrap();
    assert!(
        tokens
            .iter()
            .all(|token| Arc::ptr_eq(token.as_ref().unwrap(), first))
    );
    assert_eq!(mint.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_admission_gets_an_aging_token_at_once_and_the_background_waits_for_the_new_one() {
    let Setup {
        mint, cache, clock, ..
    } = setup();
    let key = key("eu-west-1");
    let first = cache.get(&key, Urgency::Admission).await.unwrap();
    sleep(LIFE / 2).await;
    mint.always(Behaviour::Slow(Duration::from_secs(2)));
    let before = clock.monotonic();
    for _ in 0..10 {
        let token = cache.get(&key, Urgency::Admission).await.unwrap();
        assert!(Arc::ptr_eq(&token, &first));
    }
    assert_eq!(clock.monotonic(), before);
    let renewed = cache.get(&key, Urgency::Background).await.unwrap();
    assert!(!Arc::ptr_eq(&renewed, &first));
    assert_eq!(mint.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_keeps_serving_until_the_floor() {
    let Setup { mint, cache, .. } = setup();
    let key = key("eu-west-1");
    let first = cache.get(&key, Urgency::Admission).await.unwrap();
    mint.always(Behaviour::Fail(MintErrorKind::Throttled));
    sleep(LIFE / 2).await;
    for urgency in [Urgency::Admission, Urgency::Background] {
        let token = cache.get(&key, urgency).await.unwrap();
        assert!(Arc::ptr_eq(&token, &first));
        sleep(MINUTE).await;
    }
    sleep(5 * 60 * MINUTE).await;
    let error = cache.get(&key, Urgency::Admission).await.unwrap_err();
    assert_eq!(error.kind, MintErrorKind::Throttled);
}

#[tokio::test(start_paused = true)]
async fn a_failure_holds_admissions_off_for_a_minute_and_the_background_only_for_its_back_off() {
    let Setup {
        mint, cache, clock, ..
    } = setup();
    let key = key("eu-west-1");
    mint.always(Behaviour::Fail(MintErrorKind::Unreachable));
    cache.get(&key, Urgency::Admission).await.unwrap_err();
    for _ in 0..10 {
        cache.get(&key, Urgency::Admission).await.unwrap_err();
        cache.get(&key, Urgency::Background).await.unwrap_err();
    }
    assert_eq!(mint.count(), 1);
    let retry = cache.retry_at(&key).unwrap() - clock.monotonic();
    assert!(retry >= Duration::from_secs(2) && retry <= Duration::from_secs(3));
    sleep(Duration::from_secs(3)).await;
    cache.get(&key, Urgency::Admission).await.unwrap_err();
    assert_eq!(mint.count(), 1);
    mint.always(Behaviour::Give(LIFE));
    cache.get(&key, Urgency::Background).await.unwrap();
    // The success is everybody's.
    cache.get(&key, Urgency::Admission).await.unwrap();
    assert_eq!(mint.count(), 2);
    assert!(cache.retry_at(&key).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_back_off_doubles_with_jitter_to_five_minutes_and_starts_at_one_where_a_person_must_mend()
 {
    let waits = async |kind: MintErrorKind| {
        let Setup {
            mint, cache, clock, ..
        } = setup();
        let key = key("eu-west-1");
        mint.always(Behaviour::Fail(kind));
        let mut waits = Vec::new();
        for _ in 0..40 {
            cache.get(&key, Urgency::Background).await.unwrap_err();
            let wait = cache.retry_at(&key).unwrap() - clock.monotonic();
            waits.push(wait.as_secs_f64());
            sleep(wait).await;
        }
        waits
    };
    let quick = waits(MintErrorKind::Unreachable).await;
    let slow = waits(MintErrorKind::Denied).await;
    for (waits, first) in [(&quick, 2.0), (&slow, 60.0)] {
        let mut base: f64 = first;
        for wait in waits {
            assert!(*wait >= base && *wait <= base * 1.5, "{wait} after {base}");
            base = (base * 2.0).min(300.0);
        }
    }
    let last: std::collections::HashSet<String> = quick[30..].iter().map(f64::to_string).collect();
    assert!(last.len() > 5, "no jitter: {last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_or_hangs_fails_that_mint_and_no_other() {
    let Setup {
        mint, cache, clock, ..
    } = setup();
    let key = key("eu-west-1");
    mint.always(Behaviour::Panic);
    let error = cache.get(&key, Urgency::Admission).await.unwrap_err();
    insta::assert_snapshot!(error, @"making the ECR token ended unexpectedly; see the log of ecr-admission");
    sleep(MINUTE).await;
    mint.always(Behaviour::Slow(Duration::from_hours(1)));
    let before = clock.monotonic();
    let error = cache.get(&key, Urgency::Admission).await.unwrap_err();
    assert_eq!(clock.monotonic() - before, Duration::from_secs(15));
    insta::assert_snapshot!(error, @"ECR in eu-west-1 gave no token within 15s; check the network path to AWS");
    sleep(MINUTE).await;
    mint.always(Behaviour::Give(LIFE));
    cache.get(&key, Urgency::Admission).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_without_life_is_a_failure_and_not_asked_for_at_each_admission() {
    let Setup { mint, cache, .. } = setup();
    mint.always(Behaviour::Give(Duration::ZERO));
    for _ in 0..10 {
        let error = cache
            .get(&key("eu-west-1"), Urgency::Admission)
            .await
            .unwrap_err();
        assert_eq!(error.kind, MintErrorKind::Service);
    }
    assert_eq!(mint.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn giving_up_waiting_does_not_cancel_the_mint() {
    let Setup { mint, cache, .. } = setup();
    mint.always(Behaviour::Slow(Duration::from_secs(5)));
    let key = key("eu-west-1");
    let asked = tokio::time::timeout(Duration::from_secs(1), cache.get(&key, Urgency::Admission));
    assert!(asked.await.is_err());
    sleep(Duration::from_secs(5)).await;
    cache.get(&key, Urgency::Admission).await.unwrap();
    assert_eq!(mint.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn invented_regions_cannot_grow_the_cache_or_a_label_or_push_out_a_token() {
    let Setup {
        mint,
        cache,
        registry,
        ..
    } = setup();
    let real = cache
        .get(&key("eu-west-1"), Urgency::Admission)
        .await
        .unwrap();
    mint.always(Behaviour::Fail(MintErrorKind::UnknownRegion));
    for n in 0..1_000 {
        let invented = key(&format!("eu-west-{n}0"));
        cache.get(&invented, Urgency::Admission).await.unwrap_err();
    }
    let token = cache
        .get(&key("eu-west-1"), Urgency::Admission)
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&token, &real));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let mut series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    series.sort_unstable();
    insta::assert_snapshot!(series.join("\n"), @r#"
    token_mints_total{region="eu-west-1",result="ok"} 1
    token_mints_total{region="other",result="unknown_region"} 1000
    "#);
    assert!(cache.trouble().is_none(), "Pods can invent regions");

    mint.always(Behaviour::Slow(Duration::from_secs(14)));
    let keys: Vec<_> = (0..600).map(|n| key(&format!("ap-east-{n}0"))).collect();
    let asked = keys.iter().map(|key| {
        let token = cache.get(key, Urgency::Admission);
        async move { tokio::time::timeout(Duration::from_secs(1), token).await }
    });
    let refused = join_all(asked).await.into_iter().flatten();
    let refused: Vec<_> = refused.map(|token| token.unwrap_err().kind).collect();
    assert!(
        refused.len() >= 600 - 256 && refused.iter().all(|kind| *kind == MintErrorKind::Throttled)
    );
}

#[tokio::test(start_paused = true)]
async fn the_regions_that_one_tenant_invents_take_no_room_from_another() {
    let Setup { mint, cache, .. } = setup();
    mint.always(Behaviour::Slow(Duration::from_secs(14)));
    let of = |tenant: &str, region: &str| {
        let role = json!({"arn": format!("arn:aws:iam::123456789012:role/{tenant}")});
        let role = serde_json::from_value(role).unwrap();
        TokenKey {
            identity: Identity::Role(RoleIdentity::new(&role, tenant, None)),
            ..key(region)
        }
    };
    let keys: Vec<_> = (0..600)
        .map(|n| of("team-a", &format!("ap-east-{n}0")))
        .collect();
    let asked = keys.iter().map(|key| {
        let token = cache.get(key, Urgency::Admission);
        async move { tokio::time::timeout(Duration::from_secs(1), token).await }
    });
    let refused = join_all(asked).await.into_iter().flatten();
    let refused: Vec<String> = refused.map(|token| token.unwrap_err().message).collect();
    assert_eq!(refused.len(), 600 - 64);
    insta::assert_snapshot!(refused[0], @"64 ECR regions are being asked for a token by role arn:aws:iam::123456789012:role/team-a; try again in a moment");
    for n in 0..64 {
        let other = of(&format!("team-{n}"), "eu-west-1");
        let token = cache.get(&other, Urgency::Admission);
        let waiting = tokio::time::timeout(Duration::from_millis(1), token).await;
        assert!(waiting.is_err(), "refused at once");
    }
    cache
        .get(&of("team-b", "eu-west-1"), Urgency::Admission)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_region_is_called_less_than_twenty_times_a_second_and_an_identity_has_few_calls_under_way()
 {
    let Setup { mint, cache, .. } = setup();
    mint.always(Behaviour::Slow(Duration::from_millis(100)));
    let partitions = Partition::ALL;
    // The same region under different keys shares the region's pace.
    let keys: Vec<_> = (0..64)
        .map(|n| TokenKey {
            partition: partitions[n % partitions.len()],
            ..key("eu-west-1")
        })
        .chain((0..60).map(|n| key(&format!("eu-west-{n}1"))))
        .collect();
    join_all(keys.iter().map(|key| cache.get(key, Urgency::Admission))).await;
    let calls = mint.calls();
    let same: Vec<_> = calls
        .iter()
        .filter(|(key, _)| &*key.region == "eu-west-1")
        .collect();
    assert_eq!(same.len(), partitions.len());
    for pair in same.windows(2) {
        assert!(pair[1].1 - pair[0].1 >= Duration::from_millis(50));
    }
    assert!(mint.most_under_way() <= 8, "{}", mint.most_under_way());
}

#[tokio::test(start_paused = true)]
async fn neither_clock_can_make_an_expired_token_usable() {
    for (jump, passes) in [(13, Duration::ZERO), (-13, LIFE), (13, LIFE), (0, LIFE)] {
        let Setup {
            mint, cache, clock, ..
        } = setup();
        let first = cache
            .get(&key("eu-west-1"), Urgency::Admission)
            .await
            .unwrap();
        clock.jump(SignedDuration::from_hours(jump));
        sleep(passes).await;
        let second = cache
            .get(&key("eu-west-1"), Urgency::Admission)
            .await
            .unwrap();
        assert!(!Arc::ptr_eq(&first, &second), "{jump} h");
        // And the new one is taken as new, whatever the clock says.
        cache
            .get(&key("eu-west-1"), Urgency::Admission)
            .await
            .unwrap();
        assert_eq!(mint.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_shows_its_password_to_nobody() {
    let Setup { cache, .. } = setup();
    let token = cache
        .get(&key("eu-west-1"), Urgency::Admission)
        .await
        .unwrap();
    assert!(token.password().starts_with(PASSWORD));
    assert!(!format!("{token:?}").contains(PASSWORD));
}
