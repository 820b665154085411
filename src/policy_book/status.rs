//! What the status of a policy is to say.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::policy::{Conflict, Isolation};

/// The conditions that are ours; others in the list are kept as they are: a newer version of us may write them.
const OURS: [&str; 4] = ["Ready", "Isolated", "Conflict", "RoleAssumable"];
/// The fields of a status that are ours.
const OUR_FIELDS: [&str; 3] = ["conditions", "namespaces", "observedGeneration"];
/// The longest message, in characters.
const LONGEST_MESSAGE: usize = 2_000;
/// The most conflicts that are told.
const MOST_CONFLICTS: usize = 5;

/// What is known of a policy.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Which spec this is about.
    pub generation: i64,
    /// Whether it is in force.
    pub standing: Standing<'a>,
    /// How many namespaces it selects.
    pub namespaces: usize,
    /// How far its tokens are out of others' reach.
    pub isolation: &'a Isolation,
    /// The policies that win over part of it.
    pub conflicts: &'a [Conflict],
    /// Whether its roles can be assumed.
    pub assumable: Assumable,
}

/// Whether a policy is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is.
    InForce,
    /// It is, but for rules that need to see images which nobody asks us about.
    PartlyBlind,
    /// It is not: why, in a word and a sentence.
    Lost(&'static str, &'a str),
}

/// What people are told about [`Standing::PartlyBlind`].
pub(super) const PARTLY_BLIND: &str = "the policy is in force, but its rules about all images (allowedImages, onlyEcr) see only \
    Pods that also name an image of ECR: the API server asks about no others, until all Pods are registered \
    (webhooks.allImages of the chart)";

/// Whether the roles of a policy can be assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assumable {
    /// It names none.
    NoRoles,
    /// Not all have been tried here.
    Unknown,
    /// All of them can be.
    Yes {
        /// Whether that was seen since it was last told.
        is_news: bool,
    },
    /// One cannot.
    No {
        /// Which and why, in a sentence.
        why: String,
        /// The same.
        is_news: bool,
    },
}

struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// What the status is to be, as fields to be replaced; `None` where it is so already. `before` is what it is, and may be
/// anything.
pub fn wanted(facts: &Facts<'_>, before: &Value, now: Timestamp) -> Option<Value> {
    let conditions = before["conditions"].as_array();
    let mut conditions: Vec<Value> = conditions.cloned().unwrap_or_default();
    conditions.retain(Value::is_object);
    for kind in OURS {
        let place = conditions.iter().position(|found| found["type"] == kind);
        let found = place.map(|place| &conditions[place]);
        let new = condition(kind, facts, found).map(|new| new.render(facts, found, now));
        match (place, new.unwrap_or_else(|| kept(kind, facts, found))) {
            (Some(place), Value::Null) => drop(conditions.remove(place)),
            (Some(place), new) => conditions[place] = new,
            (None, Value::Null) => {}
            (None, new) => conditions.push(new),
        }
    }
    let status = json!({
        "conditions": conditions,
        "namespaces": facts.namespaces,
        "observedGeneration": facts.generation,
    });
    let is_right = OUR_FIELDS
        .iter()
        .all(|field| before[field] == status[field]);
    (!is_right).then_some(status)
}

/// What is ours of a status, as it compares with others: when it changed is left out.
pub(super) fn essence(status: &Value) -> Value {
    let conditions = status["conditions"].as_array();
    let mut conditions: Vec<Value> = conditions.cloned().unwrap_or_default();
    for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
        condition.remove("lastTransitionTime");
    }
    json!([
        conditions,
        status["namespaces"],
        status["observedGeneration"]
    ])
}

/// The condition of that kind; `None` where nothing new is known.
fn condition(kind: &'static str, facts: &Facts<'_>, found: Option<&Value>) -> Option<Condition> {
    let (status, reason, message) = match (kind, facts.standing) {
        ("Ready", standing) => Some(ready(standing)),
        (_, Standing::Lost(..)) => None,
        ("Isolated", _) => isolated(facts.isolation),
        ("Conflict", _) => Some(conflict(facts.conflicts)),
        _ => assumable(&facts.assumable, knows(facts, found)),
    }?;
    Some(Condition {
        kind,
        status,
        reason,
        message: message.chars().take(LONGEST_MESSAGE).collect(),
    })
}

/// Status, reason and message of a condition.
type Said = (&'static str, &'static str, String);

fn ready(standing: Standing<'_>) -> Said {
    match standing {
        Standing::InForce => ("True", "Compiled", "the policy is in force".to_owned()),
        Standing::PartlyBlind => ("False", "NotRegistered", PARTLY_BLIND.to_owned()),
        Standing::Lost(reason, message) => {
            let until = "until this is mended, its namespaces are granted nothing";
            ("False", reason, format!("{message}; {until}"))
        }
    }
}

fn isolated(isolation: &Isolation) -> Option<Said> {
    match isolation {
        Isolation::NothingGranted => None,
        Isolation::Isolated => {
            let message = "no other policy grants its roles".to_owned();
            Some(("True", "OwnRoles", message))
        }
        Isolation::Shared(why) => Some(("False", "SharedIdentity", why.clone())),
    }
}

fn conflict(found: &[Conflict]) -> Said {
    if found.is_empty() {
        let message = "no other policy wins over part of it".to_owned();
        ("False", "NoConflict", message)
    } else {
        ("True", "OtherPolicyWins", conflicts(found))
    }
}

/// `is_known` says whether somebody has said something definite already: perhaps another replica knows more.
fn assumable(assumable: &Assumable, is_known: bool) -> Option<Said> {
    let (said, is_news) = match assumable {
        Assumable::NoRoles => return None,
        Assumable::Unknown => {
            let message = "no image has needed a token of each of its roles yet".to_owned();
            (("Unknown", "NotTried", message), false)
        }
        Assumable::Yes { is_news } => {
            let message = "tokens were made with all of its roles".to_owned();
            (("True", "TokenMade", message), *is_news)
        }
        Assumable::No { why, is_news } => (("False", "TokenRefused", why.clone()), *is_news),
    };
    (is_news || !is_known).then_some(said)
}

/// What stays where nothing new is known.
fn kept(kind: &str, facts: &Facts<'_>, found: Option<&Value>) -> Value {
    let is_kept = kind == "RoleAssumable"
        && facts.assumable != Assumable::NoRoles
        && !matches!(facts.standing, Standing::Lost(..));
    found.filter(|_| is_kept).cloned().unwrap_or_default()
}

/// Whether somebody has already said something definite about this spec.
fn knows(facts: &Facts<'_>, found: Option<&Value>) -> bool {
    found.is_some_and(|found| {
        let generation = &found["observedGeneration"];
        matches!(found["status"].as_str(), Some("True" | "False"))
            && *generation == facts.generation
    })
}

impl Condition {
    /// As it stands in the status; the time is that of the last change of `status`.
    fn render(&self, facts: &Facts<'_>, found: Option<&Value>, now: Timestamp) -> Value {
        let same = found.filter(|found| found["status"] == self.status);
        let since = same.and_then(|same| same["lastTransitionTime"].as_str());
        let since = since.map_or_else(|| format!("{now:.0}"), str::to_owned);
        json!({
            "type": self.kind,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": since,
            "observedGeneration": facts.generation,
        })
    }
}

/// The conflicts in one sentence.
pub(super) fn conflicts(conflicts: &[Conflict]) -> String {
    let told = conflicts.iter().take(MOST_CONFLICTS);
    let mut told: Vec<String> = told
        .map(|conflict| format!("policy {:?} wins: {}", conflict.winner, conflict.about))
        .collect();
    if conflicts.len() > MOST_CONFLICTS {
        told.push(format!("and {} more", conflicts.len() - MOST_CONFLICTS));
    }
    told.join("; ")
}
