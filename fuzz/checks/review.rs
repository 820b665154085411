//! What must hold for any bytes that claim to be an AdmissionReview.

use ecr_admission::review::{Unreadable, parse, parse_front, parse_workload};

/// Panics when a promise about reading reviews is broken.
pub(super) fn review(data: &[u8]) {
    match parse(data) {
        Ok(review) => {
            assert!(!review.envelope.uid().is_empty(), "an answer needs a uid");
            for pod in [&review.object, &review.old_object].into_iter().flatten() {
                assert!(
                    pod.has_image_pull_secrets() || !pod.refers_to("ecr-pull-secret"),
                    "a name in an absent list"
                );
                assert!(
                    pod.images().all(|field| field.image.len() <= data.len()),
                    "an image longer than the body"
                );
            }
            let front = parse_front(data).expect("what parses whole has an envelope");
            assert_eq!(front.uid(), review.envelope.uid());
        }
        Err(Unreadable::Object { envelope, reason }) => {
            assert!(!envelope.uid().is_empty(), "an answer needs a uid");
            assert!(reason.chars().count() < 300, "the reason is too long");
        }
        Err(Unreadable::NotAReview(reason)) => {
            assert!(reason.chars().count() < 300, "the reason is too long");
            assert!(
                parse_front(data).is_none(),
                "an envelope that was thrown away"
            );
        }
    }
    // Whatever it says of a template, it says so without a panic.
    let _ = parse_workload(data, &["spec", "template", "spec"]);
}
