//! Our clock as the SDK's time source.

use std::time::SystemTime;

use aws_smithy_async::time::TimeSource;

use crate::clock::Clock;

/// Gives the SDK the wall-clock time that the rest of the program sees, for signing and for expiry.
#[derive(Debug)]
pub(super) struct SdkTime(pub(super) Clock);

impl TimeSource for SdkTime {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}
