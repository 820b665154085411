//! AWS partitions and the regions in them.

use std::fmt;

/// An AWS partition: a world of its own accounts, regions and endpoints.
/// Source: the partitions of aws-sdk-ecr's `endpoint_lib.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    /// Commercial regions.
    Aws,
    /// GovCloud (US).
    AwsUsGov,
    /// China.
    AwsCn,
    /// European Sovereign Cloud.
    AwsEusc,
    /// Isolated, US (C2S).
    AwsIso,
    /// Isolated, US (SC2S).
    AwsIsoB,
    /// Isolated, Europe.
    AwsIsoE,
    /// Isolated, US (HCI).
    AwsIsoF,
}

impl Partition {
    /// Every partition.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsUsGov,
        Self::AwsCn,
        Self::AwsEusc,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
    ];

    /// The partition's name in ARNs and in AWS documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsCn => "aws-cn",
            Self::AwsEusc => "aws-eusc",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
        }
    }

    /// The partition whose pattern a region's name has, known region or not: `eu-north-9` is commercial although no
    /// such region is known. `None` for a name of no known shape.
    /// Source: each partition's `regionRegex` in aws-sdk-ecr 1.138.0.
    pub fn of_region(region: &str) -> Option<Self> {
        let mut parts = region.split('-');
        let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
        let (fourth, rest) = (parts.next(), parts.next());
        match (first, second, third, fourth, rest) {
            (area, place, number, None, _) if is_word(place) && is_number(number) => match area {
                "us" | "eu" | "ap" | "sa" | "ca" | "me" | "af" | "il" | "mx" => Some(Self::Aws),
                "cn" => Some(Self::AwsCn),
                _ => None,
            },
            (area, cloud, place, Some(number), None) if is_word(place) && is_number(number) => {
                match (area, cloud) {
                    ("us", "gov") => Some(Self::AwsUsGov),
                    ("eusc", "de") => Some(Self::AwsEusc),
                    ("us", "iso") => Some(Self::AwsIso),
                    ("us", "isob") => Some(Self::AwsIsoB),
                    ("eu", "isoe") => Some(Self::AwsIsoE),
                    ("us", "isof") => Some(Self::AwsIsoF),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// The regions of each partition, in alphabetical order.
macro_rules! known_regions {
    ($($partition:ident: $($region:literal),*;)*) => {
        impl Partition {
            /// Whether this version knows a region of that name.
            pub fn knows(self, region: &str) -> bool {
                // Every image is asked about, and this compares with no more than those of the same length.
                match self {
                    $(Self::$partition => matches!(region, $($region)|*),)*
                }
            }

            /// The regions that this version knows, in alphabetical order. AWS opens more every year, so a name that is
            /// missing here proves nothing.
            /// Source: the partitions of aws-sdk-ecr 1.138.0.
            pub const fn known_regions(self) -> &'static [&'static str] {
                match self {
                    $(Self::$partition => &[$($region),*],)*
                }
            }
        }
    };
}

known_regions! {
    Aws:
        "af-south-1", "ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3",
        "ap-south-1", "ap-south-2", "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4",
        "ap-southeast-5", "ap-southeast-6", "ap-southeast-7", "ca-central-1", "ca-west-1", "eu-central-1",
        "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3",
        "il-central-1", "me-central-1", "me-south-1", "mx-central-1", "sa-east-1", "us-east-1", "us-east-2",
        "us-west-1", "us-west-2";
    AwsUsGov: "us-gov-east-1", "us-gov-west-1";
    AwsCn: "cn-north-1", "cn-northwest-1";
    AwsEusc: "eusc-de-east-1";
    AwsIso: "us-iso-east-1", "us-iso-west-1";
    AwsIsoB: "us-isob-east-1", "us-isob-west-1";
    AwsIsoE: "eu-isoe-west-1";
    AwsIsoF: "us-isof-east-1", "us-isof-south-1";
}

fn is_word(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_region_has_the_pattern_of_its_partition() {
        for partition in Partition::ALL {
            let regions = partition.known_regions();
            assert!(regions.is_sorted(), "{partition}");
            for region in regions {
                assert_eq!(Partition::of_region(region), Some(partition), "{region}");
            }
        }
    }

    #[test]
    fn a_region_opened_tomorrow_is_placed_by_its_pattern() {
        for (region, partition) in [
            ("eu-north-9", Partition::Aws),
            ("ap-southeast-12", Partition::Aws),
            ("us-gov-south-1", Partition::AwsUsGov),
            ("cn-south-1", Partition::AwsCn),
            ("eusc-de-west-2", Partition::AwsEusc),
            ("us-isob-north-3", Partition::AwsIsoB),
        ] {
            assert_eq!(Partition::of_region(region), Some(partition), "{region}");
        }
    }

    #[test]
    fn other_shapes_belong_to_no_partition() {
        for region in [
            "",
            "-",
            "--",
            "eu",
            "eu-west",
            "eu-west-",
            "eu-west-1a",
            "euwest-1",
            "nz-north-1",
            "eu--1",
            "us-gov--1",
            "eusc-fr-west-1",
            "eu-west-1-x",
            "eu-west-1-1",
            "us-gov-west-1-1",
            "EU-west-1",
        ] {
            assert_eq!(Partition::of_region(region), None, "{region}");
        }
    }
}
