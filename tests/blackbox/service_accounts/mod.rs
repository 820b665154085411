//! Our Secret in the `imagePullSecrets` of ServiceAccounts.

mod editing;
mod keeping;
