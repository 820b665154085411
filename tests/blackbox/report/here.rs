//! A cluster in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ecr_admission::inventory::{Census, Found, Inventory, Kind, Sight, SightPage};
use ecr_admission::manifest::Slot;
use ecr_admission::report::{Options, Report, Scope, Survey, SurveyError};
use ecr_admission::secret::StoreError;
use futures_util::future::{BoxFuture, ready};

/// Small, so that there are many.
const PAGE: usize = 2;

/// A cluster, and what was asked of it.
#[derive(Default)]
pub(super) struct Here {
    pub(super) namespaces: BTreeMap<&'static str, Found>,
    pub(super) objects: BTreeMap<Kind, Vec<Sight>>,
    pub(super) asked: Mutex<Vec<(Kind, Option<String>)>>,
    pub(super) refusal: Option<StoreError>,
}

impl Here {
    pub(super) fn namespace(mut self, name: &'static str, labels: &[(&str, &str)]) -> Self {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let found = Found {
            name: name.to_owned(),
            labels: labels.collect(),
            ..Found::default()
        };
        self.namespaces.insert(name, found);
        self
    }

    pub(super) fn object(mut self, kind: Kind, sight: Sight) -> Self {
        self.objects.entry(kind).or_default().push(sight);
        self
    }

    pub(super) async fn report(self, scope: &Scope, options: Options) -> Report {
        Arc::new(self).survey(scope, options).await.unwrap()
    }

    pub(super) async fn survey(
        self: &Arc<Self>,
        scope: &Scope,
        options: Options,
    ) -> Result<Report, SurveyError> {
        let survey = Survey {
            inventory: Arc::clone(self) as Arc<_>,
            census: Arc::clone(self) as Arc<_>,
        };
        survey.run(scope, options).await
    }
}

impl Inventory for Here {
    fn namespaces<'a>(
        &'a self,
        _selector: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(ready(Ok(self.namespaces.values().cloned().collect())))
    }

    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        Box::pin(ready(Ok(self.namespaces.get(name).cloned())))
    }

    fn images<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        panic!("a report asks for objects")
    }
}

impl Census for Here {
    fn page<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
        next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<SightPage, StoreError>> {
        let asked = (kind, namespace.map(str::to_owned));
        self.asked.lock().unwrap().push(asked);
        if let Some(refusal) = self.refusal.clone().filter(|_| kind == Kind::Pod) {
            return Box::pin(ready(Err(refusal)));
        }
        let from: usize = next.map_or(0, |next| next.parse().unwrap());
        let all = self.objects.get(&kind).into_iter().flatten();
        let all: Vec<&Sight> = all
            .filter(|sight| namespace.is_none_or(|namespace| sight.namespace == namespace))
            .collect();
        let objects = all
            .iter()
            .skip(from)
            .take(PAGE)
            .map(|sight| (*sight).clone());
        let page = SightPage {
            objects: objects.collect(),
            next: (from + PAGE < all.len()).then(|| (from + PAGE).to_string()),
        };
        Box::pin(ready(Ok(page)))
    }
}

pub(super) fn sight(namespace: &str, name: &str, images: &[&str]) -> Sight {
    let images = images.iter().enumerate();
    let images = images.map(|(at, image)| (Slot::Container(format!("c{at}")), (*image).to_owned()));
    Sight {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        owner: None,
        service_account: None,
        images: images.collect(),
        idle: false,
    }
}

pub(super) fn made_by(kind: Kind, owner: &str, sight: Sight) -> Sight {
    Sight {
        owner: Some((kind, owner.to_owned())),
        ..sight
    }
}
