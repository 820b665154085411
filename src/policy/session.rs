//! What AWS is told of a session: its name, which CloudTrail and the registry's owner see, and its tags.

/// What every name of ours begins with.
const PROGRAM: &str = "ecr-admission";
/// The longest name that AWS takes, in characters (AssumeRole, `RoleSessionName`: 2 to 64 of `[\w+=,.@-]`).
const LONGEST_NAME: usize = 64;
/// What a policy's name gets of it at least, however long the cluster's is.
const LEAST_OF_POLICY: usize = 25;
/// The longest value of a tag of ours: AWS takes 256, and much counts against the packed size of a session.
pub(super) const LONGEST_CLUSTER: usize = 100;

/// The tag that holds the cluster's name, where it has one.
pub(super) const CLUSTER_TAG: &str = "ecr-admission-cluster";
/// The tag that holds the policy's name.
pub(super) const POLICY_TAG: &str = "ecr-admission-policy";

/// The name of a session: `ecr-admission@CLUSTER,POLICY`, or `ecr-admission,POLICY` where the cluster has no name. What
/// AWS does not take becomes `-`, and what is too long is cut, both names by their ends.
pub(super) fn name(cluster: &str, policy: &str) -> String {
    let (cluster, policy) = (sanitised(cluster), sanitised(policy));
    let separators = if cluster.is_empty() { 1 } else { 2 };
    let room = LONGEST_NAME - PROGRAM.len() - separators;
    let left = room.saturating_sub(cluster.len()).max(LEAST_OF_POLICY);
    let policy = &policy[..policy.len().min(left)];
    if cluster.is_empty() {
        return format!("{PROGRAM},{policy}");
    }
    let cluster = &cluster[..cluster.len().min(room - policy.len())];
    format!("{PROGRAM}@{cluster},{policy}")
}

/// ASCII only, so that it can be cut anywhere.
fn sanitised(text: &str) -> String {
    let fits = |char: char| char.is_ascii_alphanumeric() || "_+=.@-".contains(char);
    let chars = text.chars().map(|char| if fits(char) { char } else { '-' });
    chars.collect()
}

/// Whether a text can be a cluster's name, in a tag as it is: short, and of what AWS takes in tags, spaces left out.
pub fn is_cluster_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/=+-@".contains(&byte);
    text.len() <= LONGEST_CLUSTER && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_program_cluster_and_policy_in_what_aws_takes() {
        insta::assert_snapshot!(name("", "team-a"), @"ecr-admission,team-a");
        insta::assert_snapshot!(name("prod-eu", "team-a"), @"ecr-admission@prod-eu,team-a");
        insta::assert_snapshot!(
            name("arn:aws:eks:eu-west-1:123456789012:cluster/prod", "team-a"),
            @"ecr-admission@arn-aws-eks-eu-west-1-123456789012-cluster-,team-a"
        );
        insta::assert_snapshot!(
            name(&"c".repeat(100), &"p".repeat(63)),
            @"ecr-admission@cccccccccccccccccccccccc,ppppppppppppppppppppppppp"
        );
        insta::assert_snapshot!(
            name("c", &"p".repeat(63)),
            @"ecr-admission@c,pppppppppppppppppppppppppppppppppppppppppppppppp"
        );
    }

    #[test]
    fn no_name_is_too_long_or_holds_what_aws_refuses() {
        for (cluster, policy) in [
            ("", "a"),
            ("ü,b c", "x.y"),
            ("c", "p"),
            (
                "cluster-of-some-length",
                "policy-of-some-length.that-is-cut",
            ),
        ] {
            for times in [1, 5, 20] {
                let name = name(&cluster.repeat(times), &policy.repeat(times));
                let taken = |char: char| char.is_ascii_alphanumeric() || "_+=,.@-".contains(char);
                assert!((2..=LONGEST_NAME).contains(&name.len()), "{name}");
                assert!(name.chars().all(taken), "{name}");
            }
        }
    }

    #[test]
    fn a_clusters_name_fits_into_a_tag() {
        for good in [
            "",
            "prod-eu",
            "arn:aws:eks:eu-west-1:123456789012:cluster/prod",
        ] {
            assert!(is_cluster_name(good), "{good}");
        }
        for bad in ["two words", "é", "a,b", "line\n", &"x".repeat(101)] {
            assert!(!is_cluster_name(bad), "{bad}");
        }
    }
}
