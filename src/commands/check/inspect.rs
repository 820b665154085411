//! One file's bytes → what there is to say about it.

use std::io;
use std::rc::Rc;

use super::policies::Policies;
use super::report::{Check, File, Finding, Report, Subject};
use crate::manifest::{self, Body, Document, Image, Object, Place, Problem};
use crate::policy::{Policy, decide_for};

/// The ServiceAccount of Pods that name none.
const DEFAULT_ACCOUNT: &str = "default";

/// Adds what there is to say about `file` to `report`.
pub(super) fn file(
    file: File,
    bytes: io::Result<Vec<u8>>,
    policies: &Policies,
    report: &mut Report,
) {
    report.files += 1;
    let mut inspection = Inspection {
        file: Rc::new(file),
        source: None,
        subject: None,
        policies,
        report,
    };
    match bytes {
        Err(error) => {
            let message = format!("cannot read this: {error}");
            inspection.say(None, Check::Readable, message);
        }
        Ok(bytes) => {
            for document in manifest::read(&bytes) {
                inspection.document(document);
            }
        }
    }
}

struct Inspection<'a> {
    file: Rc<File>,
    source: Option<Rc<str>>,
    subject: Option<Rc<Subject>>,
    policies: &'a Policies,
    report: &'a mut Report,
}

impl Inspection<'_> {
    fn document(&mut self, document: Document) {
        self.source = document.source.map(Rc::from);
        self.subject = None;
        match document.objects {
            Ok(objects) => {
                self.report.documents += usize::from(!objects.is_empty());
                for object in objects {
                    self.object(object);
                }
            }
            Err(problem) => {
                self.report.documents += 1;
                self.problem(problem);
            }
        }
    }

    fn object(&mut self, object: Object) {
        let Some(kind) = object.kind else {
            self.report.not_objects += 1;
            return;
        };
        let Body::Pod {
            images,
            problems,
            service_account,
        } = object.body
        else {
            let name = qualified(&kind, object.api_version.as_deref());
            *self.report.unknown_kinds.entry(name).or_default() += 1;
            return;
        };
        self.report.pods += 1;
        self.report.images += images.len();
        let policy = self.policies.of(object.namespace.as_deref());
        let service_account = service_account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
        self.subject = Some(Rc::new(Subject {
            api_version: object.api_version,
            kind,
            namespace: object.namespace,
            name: object.name,
        }));
        let first = self.report.findings.len();
        for problem in problems {
            self.problem(problem);
        }
        for image in images {
            self.image(&policy, service_account, &image);
        }
        self.report.findings[first..].sort_by_key(|finding| finding.place);
    }

    fn problem(&mut self, problem: Problem) {
        let check = if problem.is_template {
            Check::Rendered
        } else {
            Check::Readable
        };
        self.say(Some(problem.place), check, problem.message).slot = problem.slot;
    }

    fn image(&mut self, policy: &Policy, service_account: &str, image: &Image) {
        let decision = decide_for(policy, service_account, &image.reference);
        for finding in decision.into_findings() {
            let check = Check::Rule(finding.rule, finding.action);
            let said = self.say(Some(image.place), check, finding.message);
            said.slot = Some(image.slot.clone());
            said.image = Some(image.reference.clone());
        }
    }

    fn say(&mut self, place: Option<Place>, check: Check, message: String) -> &mut Finding {
        self.report.findings.push_mut(Finding {
            file: Rc::clone(&self.file),
            place,
            check,
            message,
            subject: self.subject.clone(),
            slot: None,
            image: None,
            source: self.source.clone(),
        })
    }
}

/// A kind's name as kubectl shows it: with its group, unless that is the core group.
fn qualified(kind: &str, api_version: Option<&str>) -> String {
    match api_version.map_or("", manifest::group) {
        "" => kind.to_owned(),
        group => format!("{kind}.{group}"),
    }
}
