//! Amazon ECR registry hosts: account, partition, region.

pub use super::region::Partition;
use super::split_once_at;

/// The hosts of the public registry; the second answers over IPv6 too. Nobody needs a credential for them.
/// Source: amazon-ecr-credential-helper 0.12.0.
pub const PUBLIC_HOSTS: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// The region in which the API of the public registry answers.
const PUBLIC_API_REGION: &str = "us-east-1";

/// A DNS label has at most 63 bytes (RFC 1035, section 2.3.4), and a region is one.
const REGION_BYTES_MAX: usize = 63;

/// What a private registry host can end in.
pub struct Suffix {
    /// The DNS name behind the region.
    pub name: &'static str,
    /// Whether such hosts answer over IPv6 too; they are spelled `dkr-ecr`, the others `dkr.ecr`.
    pub dual_stack: bool,
    /// The partition of a region whose name says nothing.
    partition: Partition,
}

/// Every suffix of private registry hosts.
///
/// Dual-stack hosts are known for the commercial, GovCloud and China partitions. Whether those of the European
/// Sovereign Cloud and the isolated partitions exist, and under which names, is unverified. A token goes only to hosts
/// that a published source names, so hosts of such a shape are not ECR here.
///
/// Source: the host pattern of amazon-ecr-credential-helper and of cloud-provider-aws.
pub const SUFFIXES: [Suffix; 9] = [
    Suffix::new("amazonaws.com", false, Partition::Aws),
    Suffix::new("on.aws", true, Partition::Aws),
    Suffix::new("amazonaws.com.cn", false, Partition::AwsCn),
    Suffix::new("on.amazonwebservices.com.cn", true, Partition::AwsCn),
    Suffix::new("amazonaws.eu", false, Partition::AwsEusc),
    Suffix::new("c2s.ic.gov", false, Partition::AwsIso),
    Suffix::new("sc2s.sgov.gov", false, Partition::AwsIsoB),
    Suffix::new("cloud.adc-e.uk", false, Partition::AwsIsoE),
    Suffix::new("csp.hci.ic.gov", false, Partition::AwsIsoF),
];

impl Suffix {
    const fn new(name: &'static str, dual_stack: bool, partition: Partition) -> Self {
        Self {
            name,
            dual_stack,
            partition,
        }
    }

    /// The suffix of a partition's hosts, if such hosts are known.
    pub fn of(partition: Partition, dual_stack: bool) -> Option<&'static Self> {
        // GovCloud shares the commercial suffixes.
        let partition = match partition {
            Partition::AwsUsGov => Partition::Aws,
            other => other,
        };
        SUFFIXES
            .iter()
            .find(|suffix| suffix.partition == partition && suffix.dual_stack == dual_stack)
    }

    /// The partition of a region on hosts of this suffix, and whether the region is known. An unknown shape takes the
    /// suffix's own.
    ///
    /// # Errors
    /// The region's partition, when its name proves that it belongs elsewhere.
    fn partition_of(&self, region: &str) -> Result<(Partition, bool), Partition> {
        if self.partition.knows(region) {
            return Ok((self.partition, true));
        }
        let partition = self.partition_by_name(region)?;
        Ok((partition, partition.knows(region)))
    }

    fn partition_by_name(&self, region: &str) -> Result<Partition, Partition> {
        match Partition::of_region(region) {
            None => Ok(self.partition),
            Some(own) if own == self.partition => Ok(own),
            Some(Partition::AwsUsGov) if self.partition == Partition::Aws => {
                Ok(Partition::AwsUsGov)
            }
            Some(foreign) => Err(foreign),
        }
    }
}

/// The host of a private ECR registry, such as `123456789012.dkr.ecr.eu-west-1.amazonaws.com`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EcrHost<'a> {
    /// The whole host, as credentials name it.
    pub host: &'a str,
    /// The AWS account that owns the registry: twelve digits.
    pub account: &'a str,
    /// The partition, which follows from the suffix.
    pub partition: Partition,
    /// The region of the registry, and of the API that makes its tokens.
    pub region: &'a str,
    /// Whether this is the FIPS endpoint.
    pub fips: bool,
    /// Whether this is the endpoint that answers over IPv6 too.
    pub dual_stack: bool,
    /// Whether this version knows the region.
    pub known_region: bool,
}

impl<'a> EcrHost<'a> {
    /// Reads a host as private ECR; `None` when it is anything else, an upper-case letter or a port included.
    pub fn parse(host: &'a str) -> Option<Self> {
        match Host::classify(host) {
            Host::Private(host) => Some(host),
            Host::Public(_) | Host::ForeignRegion(_) | Host::Other => None,
        }
    }
}

/// What an exact, lower-case host without a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A private ECR registry.
    Private(EcrHost<'a>),
    /// The public ECR registry.
    Public(&'a str),
    /// Shaped like a private registry, but region and suffix are of different partitions.
    ForeignRegion(ForeignRegion<'a>),
    /// Not ECR.
    Other,
}

/// A host whose region provably belongs to another partition than its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignRegion<'a> {
    /// The region in the host.
    pub region: &'a str,
    /// The partition that the region belongs to.
    pub region_partition: Partition,
    /// The partition that the suffix belongs to.
    pub host_partition: Partition,
}

impl<'a> Host<'a> {
    /// Tells what a host is. Compares exactly: credentials are matched exactly too.
    pub fn classify(host: &'a str) -> Self {
        if let Some(shape) = Shape::parse(host) {
            return match shape.suffix.partition_of(shape.region) {
                Ok((partition, known_region)) => Self::Private(EcrHost {
                    host,
                    account: shape.account,
                    partition,
                    region: shape.region,
                    fips: shape.fips,
                    dual_stack: shape.suffix.dual_stack,
                    known_region,
                }),
                Err(region_partition) => Self::ForeignRegion(ForeignRegion {
                    region: shape.region,
                    region_partition,
                    host_partition: shape.suffix.partition,
                }),
            };
        }
        if PUBLIC_HOSTS.contains(&host) {
            return Self::Public(host);
        }
        Self::Other
    }

    /// The region whose API answers for the registry.
    pub fn api_region(&self) -> Option<&'a str> {
        match self {
            Self::Private(host) => Some(host.region),
            Self::Public(_) => Some(PUBLIC_API_REGION),
            Self::ForeignRegion(_) | Self::Other => None,
        }
    }
}

/// The parts of a host that is shaped like a private registry.
struct Shape<'a> {
    account: &'a str,
    fips: bool,
    region: &'a str,
    suffix: &'static Suffix,
}

impl<'a> Shape<'a> {
    fn parse(host: &'a str) -> Option<Self> {
        let (account, rest) = split_once_at(host, b'.')?;
        if !is_account(account) {
            return None;
        }
        let (dual_stack, rest) = match rest.strip_prefix("dkr.ecr") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix("dkr-ecr")?),
        };
        let (fips, rest) = match rest.strip_prefix("-fips") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (region, suffix) = split_once_at(rest.strip_prefix('.')?, b'.')?;
        if !is_region(region) {
            return None;
        }
        let suffix = SUFFIXES
            .iter()
            .find(|known| known.name == suffix && known.dual_stack == dual_stack)?;
        Some(Self {
            account,
            fips,
            region,
            suffix,
        })
    }
}

/// Whether a text can be an AWS account id: twelve digits.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text can be a region's name: a lower-case DNS label.
fn is_region(text: &str) -> bool {
    (1..=REGION_BYTES_MAX).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
