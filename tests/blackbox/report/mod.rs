//! `ecr-admission report`: what today's Pods would come to.

mod command;
mod here;
mod survey;
