//! From ECR's answer to a token that a Secret may hold.

use std::time::Duration;

use aws_sdk_ecr::operation::get_authorization_token::GetAuthorizationTokenOutput;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::clock;
use crate::token::{Token, USERNAME};

/// The longest password taken: real ones have 1,800 to 2,800 bytes, and a Secret of 64 entries holds 1 MiB.
const PASSWORD_BYTES_MAX: usize = 8 * 1024;

/// How long a token is taken to live when AWS's answer cannot be believed.
#[derive(Clone, Copy, Debug)]
pub struct TokenLife {
    /// When it has expired already, or no expiry is given (doubles of ECR are known to answer 2015).
    pub when_past: Duration,
    /// At most: what AWS documents.
    pub max: Duration,
}

impl Default for TokenLife {
    fn default() -> Self {
        Self {
            when_past: Duration::from_hours(1),
            max: Duration::from_hours(12),
        }
    }
}

impl TokenLife {
    /// When a token that was made at `issued_at` expires, and whether `stated` could not be believed because it is
    /// missing or past. All by AWS's clock.
    fn expiry(self, issued_at: Timestamp, stated: Option<Timestamp>) -> (Timestamp, bool) {
        match stated {
            Some(at) if at > issued_at => (at.min(clock::add(issued_at, self.max)), false),
            _ => (clock::add(issued_at, self.when_past), true),
        }
    }
}

/// A token out of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) token: Token,
    /// Whether the expiry is ours, because the answer's cannot be believed.
    pub(super) expiry_assumed: bool,
}

/// What is wrong with an answer, as the end of a sentence that begins with "ECR's answer". Never quotes the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads an answer that was made at `issued_at`. The password must be printable ASCII of sane length: whatever else
/// reaches a dockerconfigjson could break every image of a Pod.
pub(super) fn read(
    output: GetAuthorizationTokenOutput,
    issued_at: Timestamp,
    life: TokenLife,
) -> Result<Answer, Malformed> {
    let data = output.authorization_data.into_iter().flatten().next();
    let data = data.ok_or(Malformed("holds no authorization data"))?;
    let encoded = Zeroizing::new(data.authorization_token.unwrap_or_default());
    let password = password(&encoded)?;
    let stated = data
        .expires_at
        .and_then(|at| Timestamp::new(at.secs(), 0).ok());
    let (expires_at, expiry_assumed) = life.expiry(issued_at, stated);
    Ok(Answer {
        token: Token::new(password, issued_at, expires_at),
        expiry_assumed,
    })
}

fn password(encoded: &str) -> Result<SecretString, Malformed> {
    if encoded.is_empty() {
        return Err(Malformed("holds no token"));
    }
    let decoded = BASE64_STANDARD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| Malformed("holds a token that is not base64"))?;
    let password = decoded
        .strip_prefix(USERNAME.as_bytes())
        .and_then(|rest| rest.strip_prefix(b":"))
        .ok_or(Malformed("holds a token that does not begin with \"AWS:\""))?;
    if password.is_empty() {
        return Err(Malformed("holds an empty password"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Malformed("holds a password of more than 8 KiB"));
    }
    match str::from_utf8(password) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(SecretString::from(text))
        }
        _ => Err(Malformed(
            "holds a password with spaces or characters that cannot be printed",
        )),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::primitives::DateTime;
    use aws_sdk_ecr::types::AuthorizationData;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn answer(token: Option<&str>, expires_in: Option<i64>) -> Result<Answer, Malformed> {
        let data = AuthorizationData::builder()
            .set_authorization_token(token.map(|token| BASE64_STANDARD.encode(token)))
            .set_expires_at(expires_in.map(|by| DateTime::from_secs(NOW.as_second() + by)))
            .build();
        let output = GetAuthorizationTokenOutput::builder()
            .authorization_data(data)
            .build();
        read(output, NOW, TokenLife::default())
    }

    fn life(expires_in: Option<i64>) -> (i64, bool) {
        let answer = answer(Some("AWS:secret"), expires_in).unwrap();
        let token = answer.token;
        assert_eq!(token.password(), "secret");
        assert_eq!(token.issued_at, NOW);
        let life = token.expires_at.duration_since(NOW).as_secs();
        (life, answer.expiry_assumed)
    }

    #[test]
    fn a_tokens_life_is_clamped_by_awss_own_clock() {
        assert_eq!(life(Some(12 * 3600)), (12 * 3600, false));
        assert_eq!(life(Some(1)), (1, false));
        assert_eq!(life(Some(365 * 86_400)), (12 * 3600, false));
        assert_eq!(life(Some(0)), (3600, true));
        assert_eq!(life(Some(-86_400)), (3600, true));
        assert_eq!(life(None), (3600, true));
        assert_eq!(life(Some(i64::MIN / 2)), (3600, true));
        assert_eq!(life(Some(i64::MAX / 2)), (3600, true));
    }

    #[test]
    fn a_password_that_could_break_a_docker_config_is_no_token() {
        let long = format!("AWS:{}", "x".repeat(PASSWORD_BYTES_MAX + 1));
        for token in [
            "",
            "AWS",
            "AWS:",
            "aws:secret",
            "secret",
            "AWS:two words",
            "AWS:line\n",
            "AWS:nul\0",
            "AWS:é",
            &long,
        ] {
            let error = answer(Some(token), Some(60)).unwrap_err();
            assert!(error.0.starts_with("holds "), "{error:?}");
        }
        assert!(answer(None, Some(60)).is_err());
    }

    #[test]
    fn an_answer_without_data_or_with_garbage_for_base64_is_no_token() {
        let empty = GetAuthorizationTokenOutput::builder().build();
        assert!(read(empty, NOW, TokenLife::default()).is_err());
        assert_eq!(
            password("AWS:secret!").unwrap_err(),
            Malformed("holds a token that is not base64")
        );
    }
}
