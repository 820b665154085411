//! EcrPolicy: what is one, how several combine, and what becomes of an image under them.

mod bad;
mod check;
mod combination;
mod definition;
mod verdicts;
