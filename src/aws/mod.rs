//! Amazon ECR through the AWS SDK: authorization tokens, and the credentials to ask for them.

mod answer;
mod chain;
mod codes;
mod credentials;
mod ecr;
mod ecr_failure;
mod failure;
mod http;
mod registry;
mod role;
mod role_failure;
mod settings;
mod time;
mod transport;

pub use answer::TokenLife;
pub use ecr::EcrTokenSource;
pub use registry::{Reading, Registry};
pub use settings::{AwsSettings, SetupError};
