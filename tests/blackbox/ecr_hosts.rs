//! Which hosts are ECR, and what they say about their registry.

use ecr_admission::image::ecr::{EcrHost, Host, Partition, SUFFIXES};

#[test]
fn hosts_of_every_partition_are_read() {
    let hosts = [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
        "123456789012.dkr-ecr.eu-west-1.on.aws",
        "123456789012.dkr-ecr-fips.us-east-2.on.aws",
        "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com",
        "123456789012.dkr-ecr.us-gov-west-1.on.aws",
        "123456789012.dkr-ecr-fips.us-gov-west-1.on.aws",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
        "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
        "123456789012.dkr.ecr-fips.eusc-de-east-1.amazonaws.eu",
        "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
        "123456789012.dkr.ecr-fips.us-iso-west-1.c2s.ic.gov",
        "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
        "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
        "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
    ];
    let read: Vec<String> = hosts
        .iter()
        .map(|host| {
            let ecr = EcrHost::parse(host).unwrap();
            assert_eq!(ecr.host, *host);
            assert_eq!(Host::classify(host).api_region(), Some(ecr.region));
            assert!(ecr.known_region);
            format!(
                "{:11} {:15} {} {:4} {:5} {host}",
                ecr.partition.name(),
                ecr.region,
                ecr.account,
                if ecr.fips { "FIPS" } else { "" },
                if ecr.dual_stack { "dual" } else { "IPv4" },
            )
        })
        .collect();
    insta::assert_snapshot!(read.join("\n"),
        @"
    aws         eu-west-1       123456789012      IPv4  123456789012.dkr.ecr.eu-west-1.amazonaws.com
    aws         us-east-1       123456789012 FIPS IPv4  123456789012.dkr.ecr-fips.us-east-1.amazonaws.com
    aws         eu-west-1       123456789012      dual  123456789012.dkr-ecr.eu-west-1.on.aws
    aws         us-east-2       123456789012 FIPS dual  123456789012.dkr-ecr-fips.us-east-2.on.aws
    aws-us-gov  us-gov-west-1   123456789012      IPv4  123456789012.dkr.ecr.us-gov-west-1.amazonaws.com
    aws-us-gov  us-gov-east-1   123456789012 FIPS IPv4  123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com
    aws-us-gov  us-gov-west-1   123456789012      dual  123456789012.dkr-ecr.us-gov-west-1.on.aws
    aws-us-gov  us-gov-west-1   123456789012 FIPS dual  123456789012.dkr-ecr-fips.us-gov-west-1.on.aws
    aws-cn      cn-north-1      123456789012      IPv4  123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn
    aws-cn      cn-northwest-1  123456789012      dual  123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn
    aws-eusc    eusc-de-east-1  123456789012      IPv4  123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu
    aws-eusc    eusc-de-east-1  123456789012 FIPS IPv4  123456789012.dkr.ecr-fips.eusc-de-east-1.amazonaws.eu
    aws-iso     us-iso-east-1   123456789012      IPv4  123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov
    aws-iso     us-iso-west-1   123456789012 FIPS IPv4  123456789012.dkr.ecr-fips.us-iso-west-1.c2s.ic.gov
    aws-iso-b   us-isob-east-1  123456789012      IPv4  123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov
    aws-iso-e   eu-isoe-west-1  123456789012      IPv4  123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk
    aws-iso-f   us-isof-south-1 123456789012      IPv4  123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov
    ");
}

#[test]
fn both_public_hosts_are_known() {
    for host in ["public.ecr.aws", "ecr-public.aws.com"] {
        assert_eq!(Host::classify(host), Host::Public(host));
        assert_eq!(Host::classify(host).api_region(), Some("us-east-1"));
    }
}

#[test]
fn every_region_is_ecr_under_its_own_suffixes_only() {
    for partition in Partition::ALL {
        for region in partition.known_regions() {
            let mut own = 0;
            for suffix in &SUFFIXES {
                let mark = if suffix.dual_stack {
                    "dkr-ecr"
                } else {
                    "dkr.ecr"
                };
                let host = format!("123456789012.{mark}.{region}.{}", suffix.name);
                match Host::classify(&host) {
                    Host::Private(host) => {
                        assert_eq!((host.partition, host.region), (partition, *region));
                        own += 1;
                    }
                    Host::ForeignRegion(foreign) => {
                        assert_eq!(foreign.region_partition, partition, "{host}");
                        assert_ne!(foreign.host_partition, partition, "{host}");
                    }
                    other => panic!("{host}: {other:?}"),
                }
            }
            let has_dual_stack = matches!(
                partition,
                Partition::Aws | Partition::AwsUsGov | Partition::AwsCn
            );
            assert_eq!(own, if has_dual_stack { 2 } else { 1 }, "{region}");
        }
    }
}

#[test]
fn an_unknown_region_takes_the_partition_of_the_suffix() {
    for (host, partition) in [
        ("dkr.ecr.nz-north-1.amazonaws.com", Partition::Aws),
        ("dkr.ecr.us-gov-north-9.amazonaws.com", Partition::AwsUsGov),
        ("dkr.ecr.eusc-fr-west-1.amazonaws.eu", Partition::AwsEusc),
        ("dkr.ecr.x.c2s.ic.gov", Partition::AwsIso),
    ] {
        let host = format!("123456789012.{host}");
        let parsed = EcrHost::parse(&host).unwrap();
        assert_eq!(parsed.partition, partition, "{host}");
        assert!(!parsed.known_region, "{host}");
    }
}

#[test]
fn every_other_host_is_not_ecr() {
    let long_region = format!("123456789012.dkr.ecr.{}.amazonaws.com", "r".repeat(64));
    for host in [
        "",
        ".",
        "amazonaws.com",
        "123456789012",
        "dkr.ecr.eu-west-1.amazonaws.com",
        ".dkr.ecr.eu-west-1.amazonaws.com",
        "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
        "1234567890123.dkr.ecr.eu-west-1.amazonaws.com",
        "12345678901a.dkr.ecr.eu-west-1.amazonaws.com",
        "٣٣٣٣٣٣.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.DKR.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.EU-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.co",
        "123456789012.dkr.ecr.eu-west-1.xamazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.on.aws",
        "123456789012.dkr-ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr_ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr_fips.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fipsx.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fips-fips.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr..amazonaws.com",
        "123456789012.dkr.ecr.amazonaws.com",
        "123456789012.dkr.ecr.-x.amazonaws.com",
        "123456789012.dkr.ecr.x-.amazonaws.com",
        "123456789012.dkr.ecr.eu_west_1.amazonaws.com",
        "123456789012.dkr.ecr.a.b.amazonaws.com",
        "123456789012.ecr.eu-west-1.amazonaws.com",
        "x.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        // Unverified: no source names dual-stack hosts of these partitions.
        "123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu",
        "123456789012.dkr-ecr.us-iso-east-1.c2s.ic.gov",
        "PUBLIC.ecr.aws",
        "public.ecr.aws.",
        "x.public.ecr.aws",
        "gallery.ecr.aws",
        &long_region,
    ] {
        assert_eq!(Host::classify(host), Host::Other, "{host}");
    }
}
