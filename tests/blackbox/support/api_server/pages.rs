//! Where the next page of a list begins.

use serde_json::json;

use super::Shared;
use super::status::Status;

/// What a token begins with that goes on with the list as it is by now.
const AS_IT_IS: &str = "as-it-is:";

/// The position that a token names. One that has expired is refused with another that goes on without being consistent.
pub(super) fn position<'t>(shared: &Shared, token: &'t str) -> Result<&'t str, Status> {
    if let Some(token) = token.strip_prefix(AS_IT_IS) {
        return Ok(token);
    }
    if token.is_empty() || !shared.tokens_expired() {
        return Ok(token);
    }
    let message = "The provided continue parameter is too old to display a consistent list result.";
    let mut expired = Status::new(410, "Expired", message);
    expired.body["metadata"]["continue"] = json!(format!("{AS_IT_IS}{token}"));
    Err(expired)
}
