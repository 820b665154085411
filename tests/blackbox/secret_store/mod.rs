//! Both stores under one contract: in memory, and over the API of a double. (The cluster suite asks it of the real one.)

mod api;
pub(crate) mod contract;
mod memory;
mod pods;

macro_rules! ask_both {
    ($($promise:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $promise() {
                super::contract::$promise(&super::memory::InMemory::start().await).await;
            })*
        }
        mod over_the_api {
            $(#[tokio::test]
            async fn $promise() {
                super::contract::$promise(&super::api::OverApi::start().await).await;
            })*
        }
    };
}
contract::every_promise!(ask_both);
