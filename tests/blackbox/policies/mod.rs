//! EcrPolicy: what is one, how several combine, and what becomes of an image under them.

mod bad;
mod book;
mod check;
mod cluster;
mod combination;
mod definition;
mod serving;
mod status;
mod verdicts;
