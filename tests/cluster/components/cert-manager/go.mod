// Only for its CustomResourceDefinitions, which are files: no package is built, so `go mod tidy` would empty this.
module ecr-admission/tests/cluster/cert-manager

go 1.26.0

require github.com/cert-manager/cert-manager v1.21.2
