//! The part of the AWS double that is STS: what becomes of each role.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

/// What STS does when somebody asks for a session of a role.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Assume {
    /// Gives one of this length.
    Session(SignedDuration),
    /// Refuses with this HTTP status, error code and message.
    Refuse(u16, &'static str, &'static str),
    /// Never answers.
    Hang,
}

/// Roles by their names; all give a session of an hour unless told otherwise.
#[derive(Default)]
pub(super) struct Sts {
    always: Mutex<Option<Assume>>,
    roles: Mutex<HashMap<String, Assume>>,
    /// The forms of signed calls: of AssumeRole.
    forms: Mutex<Vec<String>>,
}

/// What is to be said.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Sts {
    pub(super) fn always(&self, assume: Assume) {
        *self.always.lock().unwrap() = Some(assume);
    }

    pub(super) fn role(&self, name: &str, assume: Assume) {
        let mut roles = self.roles.lock().unwrap();
        roles.insert(name.to_owned(), assume);
    }

    pub(super) fn forms(&self) -> Vec<String> {
        self.forms.lock().unwrap().clone()
    }

    /// Answers a form; `signed` when it is AssumeRole's, which bears a signature.
    pub(super) async fn answer(&self, form: &str, signed: bool, now: Timestamp) -> Said {
        let action = ["AssumeRoleWithWebIdentity", "AssumeRole"]
            .into_iter()
            .find(|action| form.contains(&format!("Action={action}&")));
        let Some(action) = action else {
            return Said {
                status: 400,
                kind: "text/plain",
                body: "unknown action".to_owned(),
            };
        };
        let name = role_name(form);
        let mut key = "AKIDROLE".to_owned();
        if signed {
            self.forms.lock().unwrap().push(form.to_owned());
            key = format!("AKID{name}");
        }
        match self.decided(&name) {
            Assume::Hang => std::future::pending().await,
            Assume::Refuse(status, code, message) => Said {
                status,
                kind: "text/xml",
                body: format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                     </ErrorResponse>"
                ),
            },
            Assume::Session(life) => Said {
                status: 200,
                kind: "text/xml",
                body: session(action, &key, now + life),
            },
        }
    }

    fn decided(&self, role: &str) -> Assume {
        let of_role = self.roles.lock().unwrap().get(role).copied();
        of_role
            .or(*self.always.lock().unwrap())
            .unwrap_or(Assume::Session(SignedDuration::from_hours(1)))
    }
}

/// The last part of the ARN in a form.
fn role_name(form: &str) -> String {
    let arn = form.split("RoleArn=").nth(1).unwrap_or_default();
    let arn = arn.split('&').next().unwrap_or_default();
    arn.rsplit("%2F").next().unwrap_or_default().to_owned()
}

fn session(action: &str, key: &str, ends_at: Timestamp) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>\
         <Expiration>{ends_at}</Expiration></Credentials></{action}Result>\
         </{action}Response>"
    )
}
