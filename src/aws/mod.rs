//! Amazon ECR through the AWS SDK: authorization tokens, and the credentials to ask for them.

mod answer;
mod chain;
mod credentials;
mod ecr;
mod failure;
mod http;
mod role;
mod settings;
mod time;
mod transport;

pub use answer::TokenLife;
pub use ecr::EcrTokenSource;
pub use settings::{AwsSettings, SetupError};
