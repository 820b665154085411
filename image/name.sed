# What stays of a function's name from one build to the next: a crate is told from its namesakes by a hash, at the end of a
# name (https://doc.rust-lang.org/rustc/symbol-mangling/legacy.html) or, in the standard library, within it (…/v0.html);
# aws-lc's begin with its version.
s/17h[0-9a-f]{16}E.*$//
/^_R/s/Cs[0-9A-Za-z]+_/Cs_/g
s/^aws_lc_[0-9_]+_/aws_lc_/
