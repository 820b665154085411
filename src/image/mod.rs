//! Image references: their grammar, and what an Amazon ECR host says about its registry.

mod grammar;
mod region;

pub mod ecr;
pub mod lookalike;
pub mod reference;

pub mod malformation;

/// `str::split_once` for an ASCII separator, which that one finds by a call for every hit: it adds up on the hot path.
pub(crate) fn split_once_at(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}
