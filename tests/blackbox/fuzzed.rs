//! The fuzz targets' checks over their fixed corpus.

use std::path::Path;
use std::{fs, io};

#[path = "../../fuzz/checks/reference.rs"]
mod reference;
#[path = "../../fuzz/checks/review.rs"]
mod review;

/// Runs a check over each file of a corpus; gives the number of files.
fn run_over(corpus: &str, check: impl Fn(&[u8])) -> io::Result<usize> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(corpus);
    let mut inputs = 0;
    for file in fs::read_dir(folder)? {
        check(&fs::read(file?.path())?);
        inputs += 1;
    }
    Ok(inputs)
}

#[test]
fn the_corpus_of_references_breaks_no_promise() {
    let inputs = run_over("reference", reference::reference).unwrap();
    assert!(inputs > 0, "the corpus is empty");
}

#[test]
fn the_corpus_of_reviews_breaks_no_promise() {
    let inputs = run_over("review", review::review).unwrap();
    assert!(inputs > 0, "the corpus is empty");
}
